"""Files that are whole or not there, and folders of spill files that do not outlive their owner.

Who owns a partial file or a folder holds a lock on a file, so a number of a process that is used
again never matters. What nobody holds was left behind by a killed process.
"""

from __future__ import annotations

import errno
import glob
import os
import secrets
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Self

from attribution.errors import InputError, StorageError

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows refuses to remove open files instead
    fcntl = None  # type: ignore[assignment]

PREFIX = "attribution-spill-"
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def disk_errors(path: str | Path, hint: str) -> Iterator[None]:
    """Turn the errors of a full disk into one that names the path and the way out.

    Raises
    ------
    StorageError
        If the disk is full, or a file larger than it may be.
    """
    try:
        yield
    except StorageError:  # names the file itself
        raise
    except OSError as error:
        if error.errno in FULL or any(os.strerror(number) in str(error) for number in FULL):
            raise StorageError(
                f"The disk of {str(path)!r} is full ({error.strerror or error}). Hint: {hint}."
            ) from error
        raise


@contextmanager
def written_whole(path: str | Path) -> Iterator[Path]:
    """Yield the path of a partial file that becomes `path` only once the block has succeeded.

    What a killed process left behind for the same path is removed first. A link stays one: the
    file it leads to is replaced.

    Raises
    ------
    StorageError
        If the disk is full; an older file under that name stays as it was.
    """
    target = Path(os.path.realpath(path))
    with disk_errors(path, "make room, or write to another disk"):
        for old in target.parent.glob(f".{glob.escape(target.name)}.*.partial"):
            _remove_unless_owned(old)
        lock = _owned_file(target.parent, f".{target.name}.", ".partial", 0o666)
        partial = Path(lock.name)
        try:
            with lock if fcntl is None else nullcontext():  # Windows moves no open file
                yield partial
                with open(partial, "rb+") as file:
                    os.fsync(file.fileno())
            os.replace(partial, target)
        except BaseException:
            with suppress(OSError):
                partial.unlink()
            raise
        finally:
            lock.close()


class Scratch:
    """A folder for spill files; it goes when closed, collected, or when the process ends.

    Folders whose owner was killed are removed when the next one is made in the same place. The
    lock is a file beside the folder and there before it, so nobody sees a folder without owner.

    Parameters
    ----------
    parent
        Where to make it; None: where the system keeps temporary files.

    Attributes
    ----------
    path
        The folder.

    Raises
    ------
    InputError
        If there is no such place.
    StorageError
        If its disk is full.
    """

    def __init__(self, parent: str | Path | None = None) -> None:
        place = Path(tempfile.gettempdir() if parent is None else parent)
        if not place.is_dir():
            raise InputError(
                f"There is no folder spill_folder={str(place)!r}. Hint: make it first, or name one "
                "on a disk with room."
            )
        place = place.absolute()
        for lock_file in place.glob(f"{PREFIX}*.lock"):
            _remove_unless_owned(lock_file, lock_file.with_suffix(""))
        with disk_errors(place, "give spill_folder= a folder on another disk"):
            lock = _owned_file(place, PREFIX, ".lock", 0o600)
            self.path = Path(lock.name).with_suffix("")
            self._finalizer = weakref.finalize(self, _clean, self.path, lock, os.getpid())
            self.path.mkdir(mode=0o700)

    def close(self) -> None:
        """Remove the folder and all that is in it."""
        self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _clean(folder: Path, lock: FileIO, owner: int) -> None:
    """Remove a folder, unless this is a forked child that only inherited it."""
    if os.getpid() != owner:
        lock.close()
        return
    shutil.rmtree(folder, ignore_errors=True)
    lock.close()
    if not folder.exists():
        Path(lock.name).unlink(missing_ok=True)


def _owned_file(folder: Path, prefix: str, suffix: str, mode: int) -> FileIO:
    """Make a file and hold it until it is closed."""
    while True:
        path = str(folder / f"{prefix}{secrets.token_hex(8)}{suffix}")
        file = FileIO(path, "x+", opener=lambda name, flags: os.open(name, flags, mode))
        if _held(file):
            return file
        file.close()


def _held(file: FileIO) -> bool:
    """Lock a new file; tell whether it is ours, and nobody took it for left behind before."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks, where nothing is ever taken for left behind
        return True
    return os.fstat(file.fileno()).st_nlink > 0


def _remove_unless_owned(path: Path, folder: Path | None = None) -> None:
    """Remove a file that no living process holds, and the folder that it stands for."""
    with suppress(OSError):  # held, gone meanwhile, or another user's
        if fcntl is None:  # Windows removes no open file
            path.unlink()
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)
            return
        with FileIO(str(path), "r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if folder is not None and folder.exists():
                shutil.rmtree(folder)
            path.unlink()
