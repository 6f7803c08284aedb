"""Members of a tar from anyone, in order, without unpacking it: names and offsets, and no more."""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from data_pipelines.ingest.locations import as_text

_END = bytes(1024)
"""What ends every tar."""
_LONGEST_HEADER = 1 << 16
"""Bytes; an extended header holds a long name and little else."""


class DamagedTar(Exception):
    """The tar can't be read on, from a place that the message names."""


class _Headers:
    """A file for ``tarfile``, which takes sizes as they come: nothing large is read, and nothing beyond the end."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = file.seek(0, 2)
        file.seek(0)
        self.tell = file.tell

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _LONGEST_HEADER:
            raise tarfile.ReadError(f"a header of {size} bytes is forged")
        return self._file.read(size)

    def seek(self, position: int) -> int:
        if not 0 <= position <= self.size:
            raise tarfile.ReadError(f"the next header would be at byte {position} of {self.size}")
        return self._file.seek(position)


@dataclass(frozen=True)
class TarMember:
    """A regular file in a tar: its name, and where its content lies, in bytes.

    ``problem`` is a reason code for one that isn't to be touched, with the reason in words in ``detail``.
    """

    name: str
    offset: int
    size: int
    problem: str = ""
    detail: str = ""


def tar_members(file: BinaryIO) -> Iterator[TarMember]:
    """Every member but folders, in order; only headers are read.

    Names that are absolute or have ``..`` are ``unsafe_member``; links, devices and files with holes are
    ``not_a_file_member``. Nothing is ever written under a member's name, so this is a second fence.

    Raises:
        DamagedTar: if the tar is compressed, cut off, or something else. The members before are good.
    """
    headers = _Headers(file)
    try:
        tar = tarfile.TarFile(fileobj=headers, mode="r", encoding="utf-8", errors="surrogateescape")  # type: ignore
    except (tarfile.TarError, ValueError) as error:
        raise DamagedTar(
            f"it is no plain tar ({error}); tars within gzip and the like have to be unpacked first"
        ) from error
    before = -1
    while True:
        try:
            info = tar.next()
        except (tarfile.TarError, ValueError) as error:
            raise DamagedTar(f"it can't be read on from byte {tar.offset}: {error}") from error
        if info is None:
            break
        tar.members = []  # type: ignore[attr-defined]  # it keeps them all
        # A forged size may lead back to a member that was there already.
        if info.size < 0 or tar.offset <= before:
            raise DamagedTar(f"a header before byte {info.offset_data} is forged")
        before = tar.offset
        if info.offset_data + (info.size if info.isreg() and not info.issparse() else 0) > headers.size:
            raise DamagedTar(f"it ends in the middle of {as_text(info.name)}")
        if not info.isdir():
            yield _checked(info)
    file.seek(tar.offset)
    if file.read(len(_END)) != _END:
        raise DamagedTar(f"it has no end-of-archive mark at byte {tar.offset}, so it may be cut off")


def _checked(info: tarfile.TarInfo) -> TarMember:
    name = as_text(info.name).removeprefix("./")
    problem = detail = ""
    if name.startswith("/") or ".." in name.replace("\\", "/").split("/"):
        problem, detail = "unsafe_member", "its name is absolute or leads out of the folder through '..'"
    elif not info.isreg() or info.issparse():
        problem, detail = "not_a_file_member", "it is a link, a device or a file with holes"
    return TarMember(name, info.offset_data, info.size, problem, detail)
