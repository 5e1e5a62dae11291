import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

import attribution

ROOT = Path(__file__).parents[1]
PACKAGE = Path(attribution.__file__).parent
LATE = ("plotly", "duckdb", "polars", "pyspark", "networkx", "scipy.optimize", "scipy.stats")


@pytest.fixture(scope="module")
def loaded():
    code = "import sys, attribution; print(*sys.modules, sep='\\n')"
    path = [str(PACKAGE.parent), *sys.path]
    code = f"import sys; sys.path[:] = {path!r}; {code}"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stderr == ""
    return set(ran.stdout.split())


@pytest.mark.parametrize("name", LATE)
def test_import_does_not_load(loaded, name):
    assert "attribution.models.markov" in loaded
    assert name not in loaded


def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_version_is_that_of_the_project():
    assert attribution.__version__ == project()["version"]


def test_installed_version_is_that_of_the_project():
    try:
        installed = version(project()["name"])
    except PackageNotFoundError:
        pytest.skip("run from a checkout, not installed")
    assert installed == project()["version"]


def test_public_names_exist_and_are_listed_once():
    names = attribution.__all__
    assert len(names) == len(set(names))
    assert [name for name in names if not hasattr(attribution, name)] == []


def test_public_names_are_all_that_is_public():
    public = {
        name
        for name, value in vars(attribution).items()
        if not name.startswith("_") and not isinstance(value, type(sys))
    }
    assert public == set(attribution.__all__) - {"__version__", "budget", "datasets", "simulate"}


def modules():
    return {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py")}


def architecture():
    return (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")


def test_architecture_has_at_most_100_lines():
    assert len(architecture().splitlines()) <= 100


def test_architecture_names_every_module_and_no_other():
    named = set(re.findall(r"`(\w[\w/]*\.py)`", architecture()))
    assert modules() - named == set()
    assert named - modules() == set()


def test_every_module_says_what_it_is_for():
    silent = [
        name
        for name in modules()
        if not (PACKAGE / name).read_text(encoding="utf-8").startswith('"""')
    ]
    assert silent == []
