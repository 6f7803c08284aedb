"""Files and folders that appear whole or not at all: made under a temporary name, flushed, then renamed."""

import contextlib
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
    # Processes of several nodes may have the same number.
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
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
def sole_process(lock: Path, target: Path) -> Iterator[None]:
    """Hold ``lock``, a file that is deleted afterwards, while ``target`` is being made; no other process holds it.

    The kernel frees it if this process dies in any way. It must lie in no folder that is renamed within the block.

    Raises:
        DataError: if another process holds it, or it can't be written.
    """
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        descriptor = _lock(lock)
    except BlockingIOError as error:
        raise DataError(
            f"Another process is writing {target} (it holds {lock}). "
            "Wait until it ends, or choose another output folder."
        ) from error
    except OSError as error:
        raise DataError(
            f"{target} can't be made: {error.strerror or error} ({lock}). "
            "Choose an output folder that you may write to."
        ) from error
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(descriptor)


def _lock(lock: Path) -> int:
    """The descriptor of the locked file that now has this name."""
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Its last holder may have deleted it after we opened it: then others would lock a new file of this name.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(lock.stat(), os.fstat(descriptor)):
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


@contextmanager
def new_folder(target: Path, *, replace: bool = False, resume: str | None = None) -> Iterator[Path]:
    """A folder to fill, renamed to ``target`` when the block ends without an exception, and deleted otherwise.

    The folder lies beside ``target``, hidden, and so does its lock: what a killed process left there is cleared. Files
    inside must have been flushed by whoever wrote them.

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
    if not replace:
        _require_free(target)
    partial = target.with_name(f".{target.name}.partial")
    with sole_process(target.with_name(f".{target.name}.partial.lock"), target):
        work = partial / ".work"
        if not replace:
            _require_free(target)  # another process may have made it before we got the lock
        try:
            partial.mkdir(exist_ok=True)
            if resume is None or not work.is_file() or work.read_text() != resume:
                _clear(partial)
            if resume is not None:
                write_file(work, resume.encode())
            yield partial
            work.unlink(missing_ok=True)
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


def _require_free(target: Path) -> None:
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise DataError(f"{target} already exists. Choose another output folder, or delete this one first.")


def _swap(new: Path, target: Path) -> None:
    old = target.with_name(f".{target.name}.replaced")
    shutil.rmtree(old, ignore_errors=True)
    target.rename(old)
    new.rename(target)
    shutil.rmtree(old)


def _clear(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
