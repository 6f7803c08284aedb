"""Indexes a folder of recot's tars that has no ``shards.json``, by reading the tars once."""

import json
import re
import tarfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO

from recot.data.schema import PAYLOAD_EXTENSIONS, REFUSED_EXTENSIONS, VideoSample
from recot.data.shard_index import ShardFile, sample_columns, sha256_of_file, shard_name
from recot.errors import DataError

_END_BLOCKS = 1024  # bytes of zeros that end every tar
_CHUNK = 1 << 20
_OURS = re.compile(r"shard-\d{6}\.tar")


def shard_paths(folder: Path) -> list[Path]:
    """The tars of ``folder``, sorted by name.

    Raises:
        DataError: if there is none, or if a number between the first and the last shard is missing.
    """
    paths = sorted(folder.glob("*.tar"))
    numbered = [path.name for path in paths if _OURS.fullmatch(path.name)]
    for number in range(len(numbered)):
        if numbered[number] != shard_name(number):
            raise DataError(
                f"{folder / shard_name(number)} is missing, but {numbered[-1]} is there. "
                "Copy the missing shard back, or make the folder again."
            )
    return paths


def scan_folder(paths: list[Path]) -> tuple[list[dict[str, Any]], list[ShardFile], str]:
    """Read every tar once.

    Returns:
        Index rows, shard files, and the kind: ``videos`` or ``features``.

    Raises:
        DataError: for a tar that is truncated or wasn't written by recot, a key that occurs twice, a
            pickle-like member, or a folder that mixes videos and features.
    """
    rows: list[dict[str, Any]] = []
    shards: list[ShardFile] = []
    first_shard_of: dict[str, str] = {}
    for path in paths:
        found = _scan_tar(path)
        for row in found:
            if row["key"] in first_shard_of:
                raise DataError(
                    f"{path}: key {row['key']} occurs twice (also in {first_shard_of[row['key']]}). "
                    "Is one shard a copy of another? Delete the copy, or make the folder again."
                )
            first_shard_of[row["key"]] = path.name
        rows.extend(found)
        shards.append(ShardFile(path.name, path.stat().st_size, sha256_of_file(path), len(found)))
    kinds = {"features" if row["member"].endswith(".safetensors") else "videos" for row in rows}
    if len(kinds) > 1:
        raise DataError(f"{paths[0].parent} mixes shards of videos and of cached features. Give each its own folder.")
    return rows, shards, kinds.pop()


def _not_ours(path: Path, why: str) -> DataError:
    return DataError(
        f"{path} was not written by recot: {why}. Make shards from your videos with "
        "`python data_pipelines/prune.py source=<annotations or folder> output=<folder>`."
    )


def _scan_tar(path: Path) -> list[dict[str, Any]]:
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            members = tar.getmembers()
            file.seek(members[-1].offset_data + -(-members[-1].size // 512) * 512 if members else 0)
            if file.read(_END_BLOCKS) != bytes(_END_BLOCKS):  # tarfile itself takes any end of file for an end
                raise tarfile.ReadError("it has no end-of-archive mark")
            rows = _pair(path, file, members)
    except (tarfile.TarError, EOFError) as error:
        raise DataError(
            f"{path} is truncated or is not a plain tar: {error} (the file has {path.stat().st_size} bytes). "
            "Copy the shard again from where it came, or make the folder again."
        ) from error
    return rows


def _pair(path: Path, file: BinaryIO, members: list[tarfile.TarInfo]) -> list[dict[str, Any]]:
    """Index rows from members that alternate ``<key>.json``, ``<key>.<extension>``."""
    if not members:
        raise _not_ours(path, "it holds no members")
    for member in members:
        extension = member.name.partition(".")[2]
        if extension.rpartition(".")[2] in REFUSED_EXTENSIONS:
            raise DataError(
                f"{path}: member {member.name} is refused: recot never unpickles data, and its own shards hold no such "
                "files. Make the shard again without it."
            )
        if not member.isreg():
            raise _not_ours(path, f"{member.name} is not a regular file")
        if extension != "json" and not any(extension in known for known in PAYLOAD_EXTENSIONS.values()):
            raise _not_ours(path, f"member {member.name} has an extension that recot doesn't write")
    if len(members) % 2:
        raise _not_ours(path, "its members don't come in pairs of <key>.json and <key>.<video>")
    return [_row(path, file, *pair) for pair in zip(members[::2], members[1::2], strict=True)]


def _row(path: Path, file: BinaryIO, info: tarfile.TarInfo, payload: tarfile.TarInfo) -> dict[str, Any]:
    key, _, json_extension = info.name.partition(".")
    if json_extension != "json" or payload.name.partition(".")[0] != key:
        raise _not_ours(path, f"{info.name} and {payload.name} are not <key>.json and <key>.<video>")
    file.seek(info.offset_data)
    text = file.read(info.size)
    try:
        data = json.loads(text)
    except ValueError as error:
        raise _not_ours(path, f"{info.name} is not JSON ({error})") from error
    sample = VideoSample.from_json(data, f"{path}: {info.name}")
    return {
        "key": key,
        "shard": path.name,
        "member": payload.name,
        "offset": payload.offset_data,
        "size": payload.size,
        "crc32": _crc32(file, payload),
        "json_offset": info.offset_data,
        "json_size": info.size,
        "json_crc32": zlib.crc32(text),
        **sample_columns(sample),
    }


def _crc32(file: BinaryIO, member: tarfile.TarInfo) -> int:
    file.seek(member.offset_data)
    crc, left = 0, member.size
    while left:
        chunk = file.read(min(left, _CHUNK))
        if not chunk:
            raise EOFError(f"{member.name} ends {left} bytes early")
        crc = zlib.crc32(chunk, crc)
        left -= len(chunk)
    return crc
