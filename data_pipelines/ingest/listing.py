"""What files there are: sizes and times, folders with their subfolders, and patterns, local or remote."""

import glob
import os
import re
import stat as stat_module
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import fsspec
from braceexpand import braceexpand

from data_pipelines.ingest.locations import as_text, file_uri, is_http, is_url, local_path, normal_url
from data_pipelines.ingest.records import Rejection
from recot.errors import DataError

_TIMES = ("mtime", "LastModified", "last_modified", "updated", "Last-Modified", "created")
"""What fsspec's file systems call the time of the last change, best first."""


@dataclass(frozen=True)
class Found:
    """A file: its name below the folder that was searched, URI, bytes, and nanoseconds since 1970 (None: unknown)."""

    name: str
    uri: str
    size: int | None = None
    mtime_ns: int | None = None


def expand(source: str) -> list[str]:
    """The URIs that ``source`` means: one, or for a pattern (``*``, ``?``, ``[ab]``, ``{a,b}``, ``{000..012}``) many.

    What exists under the very name isn't a pattern. The order is that of the braces, and within them by name.

    Raises:
        DataError: if a pattern matches nothing, or it is a URL that can't be read.
    """
    if not any(sign in source for sign in "*?[{") or _exists(source):
        return [_uri(source)]
    try:
        patterns = list(braceexpand(source))
    except ValueError as error:
        raise DataError(f"source={source}: {error}. There is no file of that name either.") from error
    uris = [uri for pattern in patterns for uri in _matching(pattern)]
    if not uris:
        raise DataError(
            f"source={source}: the pattern matches no file. Quote it twice, for the shell and for Hydra: "
            f"\"source='{source}'\"."
        )
    return list(dict.fromkeys(uris))


def is_folder(uri: str) -> bool:
    """Whether ``uri`` is a folder. Over HTTP, where nobody can tell, it is one if it ends with a slash.

    Raises:
        DataError: if there is nothing.
    """
    path = local_path(uri)
    if path is not None:
        if not path.exists():
            raise _missing(str(path))
        return path.is_dir()
    if is_http(uri):
        return uri.endswith("/")
    info = _asked(uri)
    if info is None:
        raise _missing(uri)
    return bool(info.get("type") == "directory")


def stat(uri: str) -> tuple[int | None, int | None]:
    """Bytes and time of change (ns since 1970) of a file; None where unknown, and both where there is none."""
    path = local_path(uri)
    if path is None:
        info = _asked(uri) or {}
        return info.get("size"), _time_ns(info)
    try:
        status = os.stat(path)  # noqa: PTH116 (half the time of Path.stat, for every row)
    except (OSError, ValueError):
        return None, None
    return status.st_size, status.st_mtime_ns


def list_files(folder: str, leave_out: Sequence[Path], unreadable: Callable[[str, str], object]) -> list[Found]:
    """All files below a folder, sorted by name, without those whose name or folder starts with a dot.

    Links to folders are followed, but no folder is listed twice: what is there under its own name isn't listed under
    that of a link.

    Args:
        folder: its URI.
        leave_out: local folders; what is in them isn't listed.
        unreadable: told the name and the problem of each subfolder that can't be listed.

    Raises:
        DataError: if the folder itself can't be listed, or anything of a remote one.
    """
    path = local_path(folder)
    if path is None:
        found = _list_remote(folder)
    else:
        found = _list_local(path, {left.resolve() for left in leave_out}, unreadable)
    visible = [file for file in found if not any(part.startswith(".") for part in file.name.split("/"))]
    return sorted(visible, key=lambda file: file.name)


def _list_local(folder: Path, leave_out: set[Path], unreadable: Callable[[str, str], object]) -> Iterator[Found]:
    start, root = file_uri(folder), os.fspath(folder)

    def failed(error: OSError) -> None:
        if error.filename == root:
            raise DataError(f"source={root} can't be listed: {error.strerror}. Check who may read it.") from error
        below = os.fspath(error.filename).removeprefix(root).lstrip("/")
        unreadable(as_text(below), f"the folder can't be listed: {error.strerror}")

    for base, names in _folders(root, leave_out, failed):
        for name in names:
            path = f"{base}/{name}"
            with suppress(OSError):  # a broken link is no file
                status = os.stat(path)  # noqa: PTH116 (half the time of Path.stat, for every file)
                if stat_module.S_ISREG(status.st_mode):
                    below = path.removeprefix(root).lstrip("/")
                    uri = f"{start.rstrip('/')}/{quote(os.fsencode(below))}"
                    yield Found(as_text(below), uri, status.st_size, status.st_mtime_ns)


def _folders(root: str, leave_out: set[Path], failed: Callable[[OSError], None]) -> Iterator[tuple[str, list[str]]]:
    """Each folder once, however many links lead to it, with the names of its files: first all that is there itself."""
    seen, pending = set(), [root]
    while pending:
        for base, folders, names in os.walk(pending.pop(0), onerror=failed):
            status = os.stat(base)  # noqa: PTH116
            if (status.st_dev, status.st_ino) in seen:
                folders.clear()
                continue
            seen.add((status.st_dev, status.st_ino))
            inner = [name for name in sorted(folders) if not name.startswith(".")]
            folders[:] = [name for name in inner if Path(base, name).resolve() not in leave_out]
            pending += [f"{base}/{name}" for name in folders if Path(base, name).is_symlink()]
            yield base, names


def _list_remote(folder: str) -> Iterator[Found]:
    system, path = fsspec.core.url_to_fs(folder)
    try:
        listed = system.find(path, detail=True)
        if not listed:
            system.ls(path)  # find keeps silent about errors
    except Exception as error:  # each file system has errors of its own
        raise DataError(f"source={folder} can't be listed: {type(error).__name__}: {error}") from error
    start = path.rstrip("/") + "/"
    for name, info in listed.items():
        below = name.removeprefix(start)
        below = unquote(below) if is_http(folder) else below
        yield Found(as_text(below), system.unstrip_protocol(name), info.get("size"), _time_ns(info))


def _matching(pattern: str) -> list[str]:
    if not any(sign in pattern for sign in "*?["):
        return [_uri(pattern)]
    if not is_url(pattern):
        return [file_uri(name) for name in sorted(glob.glob(str(Path(pattern).expanduser()), recursive=True))]  # noqa: PTH207
    _uri(pattern)
    try:
        system, path = fsspec.core.url_to_fs(pattern)
        return [system.unstrip_protocol(name) for name in sorted(system.glob(path))]
    except Exception as error:
        raise DataError(f"source={pattern} can't be listed: {type(error).__name__}: {error}") from error


def _exists(source: str) -> bool:
    if not is_url(source):
        return Path(source).expanduser().exists()
    return is_http(source) and "{" not in source and "*" not in source


def _uri(source: str) -> str:
    if not is_url(source):
        return file_uri(Path(source).expanduser())
    try:
        return normal_url(source)
    except Rejection as error:
        shown = re.sub("//[^/@]*@", "//...@", source)
        raise DataError(f"source={shown}: {error}") from error


def _asked(uri: str) -> dict[str, Any] | None:
    """What fsspec knows of a remote file; None if it is not there."""
    try:
        system, path = fsspec.core.url_to_fs(uri)
        return dict(system.info(path))
    except FileNotFoundError:
        return None
    except Exception as error:
        raise DataError(f"{uri} can't be reached: {type(error).__name__}: {error}") from error


def _time_ns(info: dict[str, Any]) -> int | None:
    when = next((info[name] for name in _TIMES if info.get(name)), None)
    if isinstance(when, str):
        try:
            when = parsedate_to_datetime(when) if "," in when else datetime.fromisoformat(when)
        except ValueError:
            return None
    if isinstance(when, datetime):
        when = (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    return None if when is None else round(when * 1e9)


def _missing(name: str) -> DataError:
    return DataError(
        f"source={name}: there is no such file or folder. Expected annotations (.json, .jsonl, .csv, .parquet), a "
        "folder of videos, or WebDataset tars (.tar, a folder or a pattern such as \"source='data/{000..012}.tar'\")."
    )
