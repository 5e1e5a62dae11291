"""The notebooks run from top to bottom, and are committed without output."""

from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


def test_there_are_notebooks():
    assert NOTEBOOKS


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_notebook_is_without_output(file):
    nbformat = pytest.importorskip("nbformat", reason="needs nbformat (extra notebooks)")
    cells = nbformat.read(file, as_version=4).cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    assert [cell.source for cell in code if cell.outputs or cell.execution_count] == []


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_notebook_runs(file):
    pytest.importorskip("plotly", reason="needs plotly (extra notebooks)")
    nbformat = pytest.importorskip("nbformat", reason="needs nbformat (extra notebooks)")
    nbclient = pytest.importorskip("nbclient", reason="needs nbclient (extra notebooks)")
    pytest.importorskip("ipykernel", reason="needs ipykernel (extra notebooks)")
    notebook = nbformat.read(file, as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
