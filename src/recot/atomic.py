"""Files and folders that appear whole or not at all: made under a temporary name, flushed, then renamed."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from recot.errors import DataError


def fsync_path(path: Path) -> None:
    """Flush a file's content, or a folder's list of names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_file(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path``, replacing what was there, so that no reader ever sees a part of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    fsync_path(path.parent)


@contextmanager
def new_folder(target: Path, *, replace: bool = False, resume: str | None = None) -> Iterator[Path]:
    """A folder to fill, renamed to ``target`` when the block ends without an exception, and deleted otherwise.

    The folder lies beside ``target``, hidden, and is locked: what a killed process left there is cleared. Files inside
    must have been flushed by whoever wrote them.

    Args:
        target: the folder to make.
        replace: a folder that is at ``target`` stays as it is until the end, and is then replaced and deleted.
        resume: names the work. What an earlier block of the same name left is kept, for this one to go on with, and so
            is what this block leaves if it fails.

    Raises:
        DataError: if ``target`` exists, isn't an empty folder and isn't to be replaced, if its parent can't be written,
            or if another process is making ``target`` right now.
    """
    target = target.resolve()  # "." and ".." have no name to put something beside
    if not replace and target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise DataError(f"{target} already exists. Choose another output folder, or delete this one first.")
    partial = target.with_name(f".{target.name}.partial")
    lock = FileLock(partial / ".lock")
    try:
        partial.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise DataError(
            f"Another process is writing {target} (it holds {lock.lock_file}). "
            "Wait until it ends, or choose another output folder."
        ) from error
    except OSError as error:
        raise DataError(
            f"{target} can't be made: {error.strerror or error} ({partial}). "
            "Choose an output folder that you may write to."
        ) from error
    work = partial / ".work"
    try:
        if resume is None or not work.is_file() or work.read_text() != resume:
            _clear(partial, keep=".lock")
        if resume is not None:
            write_file(work, resume.encode())
        yield partial
        work.unlink(missing_ok=True)
        (partial / ".lock").unlink()
        fsync_path(partial)
        if replace and target.exists():
            _swap(partial, target)
        else:
            partial.rename(target)
        fsync_path(target.parent)
    except BaseException:
        if resume is None:
            shutil.rmtree(partial, ignore_errors=True)
        raise
    finally:
        lock.release()


def _swap(new: Path, target: Path) -> None:
    old = target.with_name(f".{target.name}.replaced")
    shutil.rmtree(old, ignore_errors=True)
    target.rename(old)
    new.rename(target)
    shutil.rmtree(old)


def _clear(folder: Path, keep: str) -> None:
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name != keep:
            entry.unlink()
