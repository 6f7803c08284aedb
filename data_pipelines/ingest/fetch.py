"""A video as a local file, wherever it is: in place, in a tar, or behind a URL."""

import tempfile
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import fsspec

from data_pipelines.ingest.locations import is_http, local_path, parse_member, suffix
from recot.data.schema import VIDEO_EXTENSIONS
from recot.errors import DataError, VideoError

_CHUNK = 1 << 20


@contextmanager
def local_copy(uri: str, scratch: Path, *, max_bytes: int) -> Iterator[Path]:
    """The path of a local file with the content of ``uri``, to be used within the block.

    A local file is its own copy. A tar member or a remote file is copied into ``scratch`` under a random name with the
    extension of the video, and deleted when the block ends; only a killed process leaves it there.

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
    copy = None
    try:
        try:
            scratch.mkdir(parents=True, exist_ok=True)
            ending = f".{extension}" if extension in VIDEO_EXTENSIONS else ""
            with tempfile.NamedTemporaryFile(dir=scratch, prefix="copy-", suffix=ending, delete=False) as file:
                copy = Path(file.name)
                with closing(_content(uri, max_bytes)) as chunks:
                    for chunk in chunks:
                        file.write(chunk)
        except OSError as error:
            raise DataError(f"{scratch}: a copy of {uri} can't be written there: {error}.") from error
        yield copy
    finally:
        if copy is not None:
            copy.unlink(missing_ok=True)


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
