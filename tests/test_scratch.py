import errno
import gc
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from attribution import scratch
from attribution.errors import AttributionError, InputError, StorageError
from attribution.scratch import Scratch, disk_errors, written_whole

posix = pytest.mark.skipif(os.name != "posix", reason="needs signals, forks and flock")
PAUSE = "print('ready', flush=True); sys.stdin.readline()"


def start(folder, *lines):
    """A Python process in a folder that runs lines; its output is read line by line."""
    code = "\n".join(
        ["import os, sys", "from attribution.scratch import Scratch, written_whole", *lines]
    )
    root = str(Path(scratch.__file__).parents[1])
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": root},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(folder, *lines):
    """Run lines to their end and return what they print."""
    with start(folder, *lines) as process:
        printed, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    return printed


def started(folder, *lines):
    """A process that has reached its first `PAUSE`."""
    process = start(folder, *lines)
    line = process.stdout.readline()
    if line != "ready\n":
        raise AssertionError(process.communicate()[1])
    return process


def kill(process):
    with process:
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL


def let_go(process):
    """Let a paused process run to its end."""
    with process:
        _, errors = process.communicate("\n", timeout=60)
    assert (process.returncode, errors) == (0, "")


def names(folder):
    return sorted(os.listdir(folder))


def spill_folders(place):
    return sorted(path for path in place.iterdir() if path.is_dir())


# --- files that are whole or not there --------------------------------------------------------


def test_the_file_appears_only_after_the_block(tmp_path):
    path = tmp_path / "a.parquet"
    with written_whole(path) as partial:
        assert partial.parent == tmp_path
        assert partial.match(".a.parquet.*.partial")
        partial.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert names(tmp_path) == ["a.parquet"]


def test_the_path_may_be_text(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with written_whole("a") as partial:
        partial.write_text("new")
    assert (tmp_path / "a").read_text() == "new"


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, failure):
    path = tmp_path / "a"
    path.write_text("old")

    def write():
        with written_whole(path) as partial:
            partial.write_text("half")
            raise failure("mine")

    with pytest.raises(failure, match="mine"):
        write()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a"]


def test_contents_reach_the_disk_before_the_name_does(tmp_path, monkeypatch):
    calls = []
    sync, move = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append(os.fstat(fd).st_size), sync(fd)))
    monkeypatch.setattr(os, "replace", lambda a, b: (calls.append("replace"), move(a, b)))
    with written_whole(tmp_path / "a") as partial:
        partial.write_text("12345")
    assert calls[:2] == [5, "replace"]


@posix
def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    real, link = tmp_path / "elsewhere" / "real", tmp_path / "link"
    real.write_text("old")
    link.symlink_to(real)
    with written_whole(link) as partial:
        partial.write_text("new")
    assert link.is_symlink()
    assert real.read_text() == "new"
    assert names(tmp_path / "elsewhere") == ["real"]


def test_a_missing_folder_is_not_a_full_disk(tmp_path):
    with pytest.raises(FileNotFoundError), written_whole(tmp_path / "no" / "a"):
        raise AssertionError("unreachable")


WRITE_HALF = ["with written_whole('a') as partial:", "    partial.write_text('half')"]


@posix
@pytest.mark.parametrize("name", ["a", "[x] *.parquet"])
def test_what_a_killed_writer_left_goes_with_the_next_write(tmp_path, name):
    process = started(
        tmp_path, WRITE_HALF[0].replace("'a'", repr(name)), WRITE_HALF[1], f"    {PAUSE}"
    )
    kill(process)
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(f".{name}.")
    assert left.read_text() == "half"
    with written_whole(tmp_path / name) as partial:
        assert partial != left
        assert not left.exists()
        partial.write_text("whole")
    assert names(tmp_path) == [name]
    assert (tmp_path / name).read_text() == "whole"


@posix
def test_a_write_to_another_name_leaves_them_alone(tmp_path):
    kill(started(tmp_path, *WRITE_HALF, f"    {PAUSE}"))
    (left,) = tmp_path.iterdir()
    with written_whole(tmp_path / "b") as partial:
        partial.write_text("whole")
    assert names(tmp_path) == sorted([left.name, "b"])


@posix
def test_the_partial_file_of_a_living_writer_stays_and_the_last_to_finish_wins(tmp_path):
    process = started(tmp_path, *WRITE_HALF, f"    {PAUSE}", "    partial.write_text('theirs')")
    with written_whole(tmp_path / "a") as partial:
        partial.write_text("mine")
    assert (tmp_path / "a").read_text() == "mine"
    assert len(names(tmp_path)) == 2
    let_go(process)
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_text() == "theirs"


def test_two_writers_in_one_process_do_not_disturb_each_other(tmp_path):
    with written_whole(tmp_path / "a") as outer:
        outer.write_text("outer")
        with written_whole(tmp_path / "a") as inner:
            inner.write_text("inner")
        assert (tmp_path / "a").read_text() == "inner"
    assert (tmp_path / "a").read_text() == "outer"
    assert names(tmp_path) == ["a"]


# --- full disks -------------------------------------------------------------------------------


@posix
def test_a_full_disk_is_named_with_a_way_out_and_the_old_file_stays(tmp_path):
    (tmp_path / "a").write_text("old")
    printed = run(
        tmp_path,
        "import resource",
        "from attribution.errors import StorageError",
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))",
        "try:",
        "    with written_whole('a') as partial:",
        "        partial.write_bytes(bytes(1001))",
        "except StorageError as error:",
        "    print(error)",
    )
    assert "'a'" in printed
    assert "File too large" in printed
    assert "Hint: make room" in printed
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_text() == "old"


@pytest.mark.parametrize(
    "cause",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
        OSError(errno.EFBIG, os.strerror(errno.EFBIG)),
        OSError(errno.ENOSPC, "Kein Platz"),
        OSError(f"Error writing bytes to file. Detail: [errno 28] {os.strerror(errno.ENOSPC)}"),
    ],
    ids=["space", "quota", "size", "another language", "only in the text"],
)
def test_errors_of_a_full_disk_become_one(cause):
    with (
        pytest.raises(StorageError, match=r"'/some/file'.*Hint: buy a disk\.$") as caught,
        disk_errors("/some/file", "buy a disk"),
    ):
        raise cause
    assert caught.value.__cause__ is cause
    assert isinstance(caught.value, OSError)
    assert isinstance(caught.value, AttributionError)


@pytest.mark.parametrize(
    "cause",
    [
        PermissionError(errno.EACCES, "Permission denied"),
        FileNotFoundError(errno.ENOENT, "No such file"),
        OSError("the network is gone"),
        ValueError(os.strerror(errno.ENOSPC)),
        StorageError(f"The disk of 'inner' is full ({os.strerror(errno.ENOSPC)})."),
    ],
    ids=lambda cause: type(cause).__name__,
)
def test_other_errors_pass_as_they_are(cause):
    with pytest.raises(type(cause)) as caught, disk_errors("/some/file", "buy a disk"):
        raise cause
    assert caught.value is cause


# --- folders of spill files -------------------------------------------------------------------


def test_a_folder_lives_until_closed(tmp_path):
    folder = Scratch(tmp_path)
    assert folder.path.parent == tmp_path
    assert folder.path.name.startswith("attribution-spill-")
    (folder.path / "deep").mkdir()
    (folder.path / "deep" / "run").write_text("x")
    folder.close()
    folder.close()
    assert names(tmp_path) == []


@posix
def test_nobody_else_reads_it(tmp_path):
    with Scratch(tmp_path) as folder:
        assert folder.path.stat().st_mode & 0o777 == 0o700


def test_a_folder_goes_with_its_block_also_on_failure(tmp_path):
    def spill():
        with Scratch(str(tmp_path)) as folder:
            (folder.path / "run").write_text("x")
            raise KeyError

    with pytest.raises(KeyError):
        spill()
    assert names(tmp_path) == []


def test_a_folder_goes_when_collected(tmp_path):
    folder = Scratch(tmp_path)
    assert len(spill_folders(tmp_path)) == 1
    del folder
    gc.collect()
    assert names(tmp_path) == []


def test_by_default_it_is_where_the_system_keeps_temporary_files(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with Scratch() as folder:
        assert folder.path.parent == tmp_path


def test_a_relative_place_survives_a_change_of_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = Scratch(".")
    monkeypatch.chdir("/")
    assert folder.path.is_dir()
    folder.close()
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["no", "file"])
def test_a_missing_place_is_refused_by_name(tmp_path, name):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=rf"spill_folder.*{name}'.*Hint"):
        Scratch(tmp_path / name)


@posix
def test_a_full_disk_makes_no_folder(tmp_path, monkeypatch):
    def mkdir(self, mode=0o777):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with pytest.raises(StorageError, match=r"Hint: give spill_folder="):
        Scratch(tmp_path)
    gc.collect()
    assert names(tmp_path) == []


@posix
def test_what_cannot_be_removed_now_is_tried_again(tmp_path, monkeypatch):
    kill(started(tmp_path, "s = Scratch('.')", PAUSE))

    def rmtree(path, ignore_errors=False):
        if not ignore_errors:
            raise PermissionError(errno.EACCES, "in use", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(scratch.shutil, "rmtree", rmtree)
        Scratch(tmp_path).close()
    assert len(spill_folders(tmp_path)) == 2
    Scratch(tmp_path).close()
    assert names(tmp_path) == []


@pytest.mark.parametrize("end", ["", "raise SystemExit(0)"], ids=["end", "exit"])
def test_a_folder_goes_when_its_process_ends(tmp_path, end):
    assert run(tmp_path, "s = Scratch('.')", "print(s.path.is_dir())", end) == "True\n"
    assert names(tmp_path) == []


@posix
def test_what_a_killed_process_left_goes_with_the_next_folder_and_what_is_owned_stays(tmp_path):
    (tmp_path / "other").mkdir()
    make = ["s = Scratch('.')", "(s.path / 'run').write_text('x')", PAUSE, "assert s.path.is_dir()"]
    living, dying = started(tmp_path, *make), started(tmp_path, *make)
    assert len(spill_folders(tmp_path)) == 3
    kill(dying)
    assert len(spill_folders(tmp_path)) == 3
    with Scratch(tmp_path) as mine:
        folders = spill_folders(tmp_path)
        assert len(folders) == 3  # other, the living one and mine
        assert mine.path in folders
        with Scratch(tmp_path):
            assert mine.path.is_dir()
    let_go(living)
    assert names(tmp_path) == ["other"]


@posix
@pytest.mark.parametrize("end", ["", "s.close()", "del s"])
def test_a_forked_child_leaves_the_folder_of_its_parent(tmp_path, end):
    run(
        tmp_path,
        "s = Scratch('.')",
        "pid = os.fork()",
        "if pid == 0:",
        f"    {end or 'pass'}",
        "    sys.exit(0)",
        "assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0",
        "assert s.path.is_dir()",
        "Scratch('.').close()",  # and the parent still owns it
        "assert s.path.is_dir()",
    )
    assert names(tmp_path) == []


@posix
def test_many_processes_share_a_place(tmp_path):
    lines = [
        "for i in range(40):",
        "    with Scratch('.') as s, written_whole('a') as partial:",
        "        (s.path / 'run').write_text('x')",
        "        partial.write_text('whole')",
        "        assert (s.path / 'run').read_text() == 'x'",
    ]
    for process in [start(tmp_path, *lines) for _ in range(4)]:
        let_go(process)
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_text() == "whole"


# --- locks ------------------------------------------------------------------------------------


def taken_before_the_lock(file):
    """Another process found the new file unlocked and has removed it."""
    os.unlink(file.name)


def held_by_who_removes_it(file):
    """Another process is about to."""
    raise BlockingIOError


@posix
@pytest.mark.parametrize("first", [taken_before_the_lock, held_by_who_removes_it])
def test_a_file_lost_before_it_was_locked_is_made_anew(tmp_path, monkeypatch, first):
    lock, before = scratch.fcntl.flock, [first]

    def flock(file, how):
        if before:
            before.pop()(file)
        lock(file, how)

    monkeypatch.setattr(scratch.fcntl, "flock", flock)
    with Scratch(tmp_path) as mine:
        assert not before
        with Scratch(tmp_path):
            assert mine.path.is_dir()


@posix
def test_without_locks_all_works_and_nothing_is_taken_for_left_behind(tmp_path, monkeypatch):
    def flock(file, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(scratch.fcntl, "flock", flock)
    with Scratch(tmp_path) as mine:
        with Scratch(tmp_path), written_whole(tmp_path / "a") as partial:
            partial.write_text("x")
        assert mine.path.is_dir()
    assert names(tmp_path) == ["a"]


@pytest.fixture
def _windows(monkeypatch):
    """No fcntl, and files that are open in this process can be neither removed nor moved."""

    def refuse(path):
        for link in Path("/proc/self/fd").iterdir():
            if link.is_symlink() and os.readlink(link) == str(path):
                raise PermissionError(errno.EACCES, "in use", str(path))

    unlink, move = Path.unlink, os.replace

    def guarded_unlink(self, missing_ok=False):
        refuse(self)
        unlink(self, missing_ok)

    def guarded_move(source, target):
        refuse(source)
        move(source, target)

    monkeypatch.setattr(scratch, "fcntl", None)
    monkeypatch.setattr(Path, "unlink", guarded_unlink)
    monkeypatch.setattr(os, "replace", guarded_move)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs a list of open files")
@pytest.mark.usefixtures("_windows")
def test_where_open_files_cannot_be_removed_that_is_the_lock(tmp_path):
    for line in ("s = Scratch('.')", "w = written_whole('a'); w.__enter__()"):
        kill(started(tmp_path, line, PAUSE))
    assert len(names(tmp_path)) == 3
    with Scratch(tmp_path) as mine:
        assert spill_folders(tmp_path) == [mine.path]
        with Scratch(tmp_path):
            assert mine.path.is_dir()
        with written_whole(tmp_path / "a") as outer:
            outer.write_text("outer")
            with written_whole(tmp_path / "a") as inner:
                inner.write_text("inner")
            assert (tmp_path / "a").read_text() == "inner"
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_text() == "outer"
