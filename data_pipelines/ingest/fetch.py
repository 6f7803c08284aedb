"""A video as a local file, wherever it is: in place, in a tar, or behind a URL."""

import fcntl
import tempfile
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

import fsspec

from data_pipelines.ingest.locations import is_http, local_path, parse_member, suffix
from recot.data.schema import VIDEO_EXTENSIONS
from recot.errors import DataError, VideoError

_CHUNK = 1 << 20
_COPY = "copy-"  # what the names of copies start with


class ChangedVideoError(DataError):
    """A video isn't what it was when it was inspected.

    Attributes:
        uri: of the video.
        what: is different, as a verb and what follows it.
    """

    def __init__(self, uri: str, what: str) -> None:
        super().__init__(uri, what)
        self.uri = uri
        self.what = what

    def __str__(self) -> str:
        return (
            f"{self.uri} changed after it was inspected: it {self.what}. Run the same command again once it is "
            "complete: it is inspected again then."
        )


@contextmanager
def local_copy(uri: str, scratch: Path, *, max_bytes: int) -> Iterator[Path]:
    """The path of a local file with the content of ``uri``, to be used within the block.

    A local file is its own copy. A tar member or a remote file is copied into ``scratch`` under a random name with the
    extension of the video, and deleted when the block ends; ``clear_copies`` deletes what a killed process leaves.

    Args:
        uri: as in ``VideoRecord.uri``.
        scratch: folder for copies, made if it isn't there.
        max_bytes: largest copy that is made. A local file may have any size.

    Raises:
        VideoError: ``not_found``, ``too_large_file``, or ``fetch_failed`` for anything else that happens on the way: it
            may well work the next time, so it says nothing of the video.
        DataError: if the copy can't be written, as on a full disk: that is nothing of the video either.
    """
    member = parse_member(uri)
    path = local_path(uri) if member is None else None
    if path is not None:
        yield path
        return
    extension = suffix(uri) if member is None else member.name.rpartition(".")[2].lower()
    held, copy = None, None
    try:
        try:
            scratch.mkdir(parents=True, exist_ok=True)
            ending = f".{extension}" if extension in VIDEO_EXTENSIONS else ""
            held, copy = _new_copy(scratch, ending)
            with closing(_content(uri, max_bytes)) as chunks:
                for chunk in chunks:
                    held.write(chunk)
            held.flush()
        except OSError as error:
            raise DataError(
                f"{scratch}: a copy of {uri} can't be written there: {error.strerror or error}. Make room, or choose "
                "another folder for scores, and run the same command again."
            ) from error
        yield copy
    finally:
        if copy is not None:
            copy.unlink(missing_ok=True)
        if held is not None:
            with suppress(OSError):  # what couldn't be written on a full disk is tried once more
                held.close()


def clear_copies(scratch: Path) -> None:
    """Delete the copies that killed processes left in ``scratch``; those in use stay, whoever made them."""
    for copy in scratch.glob(f"{_COPY}*"):
        with suppress(OSError), copy.open("r+b") as file:  # to write, as NFS wants; another process may be at it too
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            copy.unlink()


def _new_copy(scratch: Path, ending: str) -> tuple[BinaryIO, Path]:
    """An empty file, and its path. As long as this process lives, the file's lock keeps it from being cleared."""
    while True:
        descriptor, name = tempfile.mkstemp(dir=scratch, prefix=_COPY, suffix=ending)
        file = open(descriptor, "wb")  # noqa: SIM115, PTH123, it stays open as long as the copy is used
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            if Path(name).exists():  # else it was cleared before it was locked
                return file, Path(name)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            file.close()
            raise
        file.close()


@contextmanager
def open_anywhere(uri: str) -> Iterator[BinaryIO]:
    """A file, local or remote, to be read from any offset. Errors are those of its file system."""
    path = local_path(uri)
    if path is not None:
        with path.open("rb") as file:
            yield file
        return
    system, name = fsspec.core.url_to_fs(uri)
    with system.open(name, "rb") as remote:
        yield cast(BinaryIO, remote)


def _content(uri: str, max_bytes: int) -> Generator[bytes, None, None]:
    """The bytes of a file or member in pieces; every error is a ``VideoError``."""
    try:
        yield from _member_content(uri, max_bytes) if parse_member(uri) else _file_content(uri, max_bytes)
    except VideoError:
        raise
    except Exception as error:  # each file system has errors of its own
        if isinstance(error, FileNotFoundError) and _is_answer(uri, error):
            raise VideoError(uri, "not_found", "there is no such file") from error
        raise VideoError(uri, "fetch_failed", f"{type(error).__name__}: {error}") from error


def _file_content(uri: str, max_bytes: int) -> Iterator[bytes]:
    system, name = fsspec.core.url_to_fs(uri)
    size = system.info(name).get("size")
    _check_size(uri, size or 0, max_bytes)
    # Over HTTP, one plain request: not every server can be asked for a part of a file.
    options: dict[str, Any] = {"block_size": 0, "size": size} if is_http(uri) else {}
    read = 0
    with system.open(name, "rb", **options) as file:
        while chunk := file.read(_CHUNK):
            read += len(chunk)
            _check_size(uri, read, max_bytes)
            yield chunk
    if size is not None and read != size:
        raise VideoError(uri, "fetch_failed", f"{read} bytes came of {size}")


def _member_content(uri: str, max_bytes: int) -> Iterator[bytes]:
    member = parse_member(uri)
    assert member is not None
    _check_size(uri, member.size, max_bytes)
    left = member.size
    with open_anywhere(member.tar) as file:
        file.seek(member.offset)
        while left:
            chunk = file.read(min(left, _CHUNK))
            if not chunk:
                raise VideoError(uri, "fetch_failed", f"the tar ends {left} bytes early; was it changed meanwhile?")
            left -= len(chunk)
            yield chunk


def _check_size(uri: str, size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise VideoError(uri, "too_large_file", f"{size / 2**20:.0f} MiB; at most {max_bytes / 2**20:.0f} MiB")


def _is_answer(uri: str, error: FileNotFoundError) -> bool:
    """Whether the other side said that there is no such file. fsspec says so of any failure over HTTP."""
    if not is_http(uri) or error.__cause__ is None:
        return True
    return getattr(error.__cause__, "status", None) in (404, 410)
