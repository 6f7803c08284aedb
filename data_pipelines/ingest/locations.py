"""Names of files, local or remote, as URIs, and what may be read under a name that an annotation gives.

A local file is ``file://`` and its absolute path, percent-encoded, so that any name that a disk can hold is plain
text. Everything else is a URL of fsspec's: ``s3://bucket/a.mp4``, ``https://host/a.mp4``.
"""

import os
import posixpath
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes, urlsplit

import fsspec

from data_pipelines.ingest.records import Rejection
from recot.errors import DataError

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_MEMBER = re.compile(r"(.+)#offset=(\d+)&size=(\d+)&member=([^#]*)", re.DOTALL)
_DOTS = re.compile(r"(?:\.|%2e){2}", re.IGNORECASE)


@dataclass(frozen=True)
class Member:
    """Where the content of a member lies in a tar that isn't compressed: ``size`` bytes from byte ``offset``."""

    tar: str
    offset: int
    size: int
    name: str

    @property
    def uri(self) -> str:
        """The tar's URI and a fragment; ``parse_member`` reads it."""
        name = quote(self.name, safe="/", errors="surrogateescape")
        return f"{self.tar}#offset={self.offset}&size={self.size}&member={name}"


def parse_member(uri: str) -> Member | None:
    """The tar member that ``uri`` names, None if it names a whole file."""
    found = _MEMBER.fullmatch(uri)
    if found is None:
        return None
    tar, offset, size, name = found.groups()
    return Member(tar, int(offset), int(size), _unquoted(name))


def is_url(text: str) -> bool:
    """Whether ``text`` starts with a protocol (``file://`` too) rather than being a path."""
    return _URL.match(text) is not None


def protocol(uri: str) -> str:
    """``https`` of ``https://host/a.mp4``, in lower case."""
    return uri.partition("://")[0].lower()


def is_http(uri: str) -> bool:
    """Whether a web server is asked: names are percent-encoded there, and nobody can tell a folder from a file."""
    return protocol(uri) in ("http", "https")


def file_uri(path: str | Path) -> str:
    """The URI of a local path, made absolute without following links."""
    return "file://" + quote(os.fsencode(os.path.normpath(Path(path).absolute())))


def local_path(uri: str) -> Path | None:
    """The path of a ``file://`` URI, None for a remote one."""
    if not uri.startswith("file://"):
        return None
    return Path(_unquoted(uri.removeprefix("file://")))


def is_remote(uri: str) -> bool:
    """Whether the file, or for a tar member the tar, is on another machine."""
    return local_path(uri) is None


def _unquoted(text: str) -> str:
    return os.fsdecode(unquote_to_bytes(text))


def as_text(name: str) -> str:
    """A file name as UTF-8 can hold it; on disk, names may be any bytes."""
    return name.encode(errors="backslashreplace").decode()


def base_name(uri: str) -> str:
    """The last part of a URI's path, as text: ``a b.mp4`` of ``file:///x/a%20b.mp4``, without a query."""
    path = local_path(uri)
    if path is not None:
        return as_text(path.name)
    return urlsplit(uri).path.rstrip("/").rpartition("/")[2] or urlsplit(uri).netloc


def parent(uri: str) -> str:
    """The URI of the folder that a file lies in, without a trailing slash; a query is dropped."""
    bare = uri.partition("?")[0] if is_http(uri) else uri
    return bare.rstrip("/").rpartition("/")[0]


def suffix(uri: str) -> str:
    """The extension in lower case without the dot, ``mp4``; empty where there is none."""
    return posixpath.splitext(base_name(uri))[1].removeprefix(".").lower()


def normal_url(url: str) -> str:
    """A URL as this pipeline writes it: ``file://`` with an absolute path, or one of fsspec's with a known protocol.

    Raises:
        Rejection: ``unsupported_url``, ``password_in_url``, or ``outside_root`` for a path with ``..``.
    """
    kind, rest = protocol(url), url.partition("://")[2]
    if kind in ("file", "local"):
        path = _unquoted(rest.removeprefix("localhost"))
        if not path.startswith("/") or "\0" in path:
            raise Rejection("unsupported_url", f"{url!r}: expected file:/// and an absolute path")
        return file_uri(path)
    if ":" in rest.partition("/")[0].rpartition("@")[0]:
        raise Rejection(
            "password_in_url",
            f"a {kind}:// URL carries a password, which would be written into manifests. Give it to fsspec in its "
            "configuration (~/.config/fsspec/) or the environment instead",
        )
    if "::" in url:
        raise Rejection("unsupported_url", f"{url!r}: chains of protocols (::) are not read; unpack the file first")
    problem = _problem_of(kind)
    if problem:
        raise Rejection("unsupported_url", f"{url!r}: {problem}")
    if any(_DOTS.fullmatch(part) for part in re.split(r"[/\\?#]|%2f|%5c", rest, flags=re.IGNORECASE)):
        raise Rejection("outside_root", f"{url!r}: a URL with .. in its path is not read; write the path that it means")
    return f"{kind}://{rest}"


@lru_cache
def _problem_of(kind: str) -> str:
    """Why URLs of this protocol can't be read; empty if they can."""
    try:
        fsspec.get_filesystem_class(kind)
    except (ImportError, ValueError) as error:
        return str(error)
    return ""


@dataclass(frozen=True)
class VideoRoot:
    """The folder that the paths in annotations start from.

    Attributes:
        uri: of the folder, without a trailing slash.
        closed: whether the user named it (``video_root``): then annotations may name nothing outside of it.
    """

    uri: str
    closed: bool

    @classmethod
    def of(cls, video_root: str | None, annotations: str) -> "VideoRoot":
        """The root for the annotation file at the URI ``annotations``: its own folder unless there is another.

        Raises:
            DataError: if a local ``video_root`` is no folder, or can't be a URL that is read here.
        """
        if video_root is None:
            return cls(parent(annotations), closed=False)
        try:
            uri = normal_url(video_root) if is_url(video_root) else file_uri(Path(video_root).expanduser())
        except Rejection as error:
            raise DataError(f"video_root={video_root}: {error}") from error
        path = local_path(uri)
        if path is not None and not path.is_dir():
            raise DataError(
                f"video_root={video_root}: there is no such folder. Give the folder that the paths in the annotations "
                "start from."
            )
        return cls(uri.rstrip("/"), closed=True)

    def locate(self, video: str) -> tuple[str, str]:
        """Video id and URI of what an annotation calls ``video``.

        A relative path starts from the root, and may not leave it through ``..``. An absolute path or a URL is taken as
        it is unless the root is ``closed``: then it has to lie below the root. Paths are compared as text; links within
        the root are followed, wherever they lead.

        Raises:
            Rejection: ``outside_root``, or as ``normal_url`` says.
        """
        if is_url(video):
            return self._below(normal_url(video), video)
        name = posixpath.normpath(video)
        if name.startswith("/"):
            return self._below(file_uri("/" + name.lstrip("/")), name)
        if name == ".":
            raise Rejection("no_video", f'"video" must be the path of a video, got {video!r}')
        if name == ".." or name.startswith("../"):
            raise Rejection(
                "outside_root",
                f"{video!r} leaves the folder of videos through '..'. Write paths that start from one folder, and give "
                "that folder as video_root",
            )
        quoted = quote(name) if protocol(self.uri) == "file" or is_http(self.uri) else name
        return name, f"{self.uri}/{quoted}"

    def _below(self, uri: str, given: str) -> tuple[str, str]:
        if uri.startswith(self.uri + "/"):
            below = uri.removeprefix(self.uri + "/")
            return (as_text(_unquoted(below)) if protocol(uri) == "file" or is_http(uri) else below), uri
        if self.closed:
            raise Rejection(
                "outside_root",
                f"{given!r} is not below video_root. Give the folder that holds all videos as video_root, or none, and "
                "absolute paths and URLs are taken as they are",
            )
        return given, uri
