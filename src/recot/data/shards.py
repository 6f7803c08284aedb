"""Random access to a shard folder through its index, without a tar reader and without unpickling anything."""

import copy
import hashlib
import json
import os
import zlib
from pathlib import Path

import numpy as np
from filelock import FileLock

from recot.atomic import write_file
from recot.data.schema import PAYLOAD_EXTENSIONS, VideoSample
from recot.data.shard_index import (
    INDEX_NAME,
    MANIFEST_NAME,
    Manifest,
    decode_index,
    encode_index,
    sha256_of_file,
)
from recot.data.tar_scan import scan_folder, shard_paths
from recot.errors import DataError

_LOCK_NAME = ".index.lock"


class ShardFolder:
    """A folder of shards, opened for reading.

    Opening checks the sizes of all shards against ``shards.json`` but reads none of them; a folder of
    recot's tars without ``shards.json`` is indexed first (once: the index is kept unless the folder is
    read-only). Every read is one ``pread`` on a descriptor of its own, so an object can be pickled and
    used by threads and forked or spawned processes at once.

    Attributes:
        path: the folder.
        kind: ``videos`` or ``features``.
        config_hash: of the config that made the shards; ``unknown`` where the index was made from the tars.
        meta: what the writer noted in ``shards.json``.
        columns: the index, each ``(samples,)``: see ``recot.data.shard_index.INDEX_SCHEMA``.

    Raises:
        DataError: if the folder or a shard is missing, a shard is truncated or isn't recot's, or the index
            is of another version; the message says what to do.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            raise DataError(f"{self.path}: there is no such folder of shards. {_how_to_make(self.path)}")
        try:
            manifest, index = self._read_manifest()
        except OSError as error:
            raise DataError(f"{self.path} can't be read: {error}") from error
        self.kind = manifest.kind
        self.config_hash = manifest.config_hash
        self.meta = manifest.meta
        self.columns: dict[str, np.ndarray] = decode_index(index, self.path / INDEX_NAME)
        self._manifest = manifest
        self._check(manifest)
        self._index_of = {key: i for i, key in enumerate(self.columns["key"].tolist())}

    def __len__(self) -> int:
        return len(self.columns["key"])

    def key(self, i: int) -> str:
        """Key of sample ``i``."""
        return str(self.columns["key"][i])

    def find(self, key: str) -> int | None:
        """The number of the sample with this key, or None."""
        return self._index_of.get(key)

    def extension(self, i: int) -> str:
        """Extension of the payload of sample ``i``, without a leading dot, e.g. ``mp4``."""
        return str(self.columns["member"][i]).partition(".")[2]

    def sample(self, i: int) -> VideoSample:
        """The JSON member of sample ``i``.

        Raises:
            DataError: if the bytes aren't those that were written, or not of this schema.
        """
        where = f"{self._shard_path(i)}: {self.key(i)}.json"
        content = self._read_checked(i, "json_", where)
        try:
            data = json.loads(content)
        except ValueError as error:
            raise DataError(f"{where} is not JSON: {error}") from error
        return VideoSample.from_json(data, where)

    def payload(self, i: int) -> bytes:
        """The payload of sample ``i``, checked against its CRC-32.

        Raises:
            DataError: if the bytes aren't those that were written.
        """
        return self._read_checked(i, "", self._payload_name(i))

    def payload_slice(self, i: int, start: int, length: int) -> bytes:
        """``length`` bytes from byte ``start`` of the payload of sample ``i``. Not checked against the
        CRC-32.

        Raises:
            IndexError: if the slice is not within the payload.
        """
        size = int(self.columns["size"][i])
        if start < 0 or length < 0 or start + length > size:
            raise IndexError(f"{self._payload_name(i)}: bytes {start}..{start + length} of {size}")
        return self._read(i, int(self.columns["offset"][i]) + start, length, self._payload_name(i))

    def only(self, samples: np.ndarray) -> "ShardFolder":
        """The folder as if it held these samples alone; (n,) int64, their numbers in the order wanted."""
        view = copy.copy(self)
        view.columns = {name: values[samples] for name, values in self.columns.items()}
        view._index_of = {key: i for i, key in enumerate(view.columns["key"].tolist())}
        return view

    def verify(self) -> None:
        """Read every shard and compare its SHA-256 with ``shards.json``.

        Raises:
            DataError: naming the first shard that differs.
        """
        for shard in self._manifest.shards:
            if sha256_of_file(self.path / shard.name) != shard.sha256:
                raise DataError(
                    f"{self.path / shard.name} is not what was written: its SHA-256 differs from "
                    f"{MANIFEST_NAME}. "
                    "Copy the shard again from where it came, or make the folder again."
                )

    def _read_manifest(self) -> tuple[Manifest, bytes]:
        manifest_path = self.path / MANIFEST_NAME
        if not manifest_path.exists():
            return self._index_tars()
        manifest = Manifest.from_bytes(manifest_path.read_bytes(), manifest_path)
        index_path = self.path / INDEX_NAME
        index = index_path.read_bytes() if index_path.exists() else b""
        if hashlib.sha256(index).hexdigest() != manifest.index_sha256:
            raise DataError(
                f"{index_path} is missing or is not the index that belongs to {MANIFEST_NAME}. Delete "
                f"{MANIFEST_NAME} and {INDEX_NAME} there, and both are made again from the tars on the "
                "next use."
            )
        return manifest, index

    def _index_tars(self) -> tuple[Manifest, bytes]:
        """Index the tars under a lock and keep the index, or hold it in memory if the folder is read-only."""
        paths = shard_paths(self.path)
        if not paths:
            raise DataError(f"{self.path} holds no shards (*.tar). {_how_to_make(self.path)}")
        if not os.access(self.path, os.W_OK):
            return self._scan(paths)
        with FileLock(self.path / _LOCK_NAME):
            if (self.path / MANIFEST_NAME).exists():  # another process was faster
                return self._read_manifest()
            manifest, index = self._scan(paths)
            write_file(self.path / INDEX_NAME, index)
            write_file(self.path / MANIFEST_NAME, manifest.to_bytes())
            return manifest, index

    def _scan(self, paths: list[Path]) -> tuple[Manifest, bytes]:
        rows, shards, kind = scan_folder(paths)
        index = encode_index(rows)
        sha256 = hashlib.sha256(index).hexdigest()
        return Manifest(kind, "unknown", len(rows), shards, sha256, {"indexed": "from the tars"}), index

    def _check(self, manifest: Manifest) -> None:
        for shard in manifest.shards:
            path = self.path / shard.name
            if not path.is_file():
                raise DataError(
                    f"{path} is missing: {MANIFEST_NAME} lists {len(manifest.shards)} shards. "
                    "Copy the missing shard back, or make the folder again."
                )
            if path.stat().st_size != shard.size:
                raise DataError(
                    f"{path} has {path.stat().st_size} bytes, {MANIFEST_NAME} says {shard.size}: it is "
                    "truncated or "
                    "was replaced. Copy the shard again from where it came, or make the folder again."
                )
        self._check_index({shard.name: shard.size for shard in manifest.shards})
        allowed = PAYLOAD_EXTENSIONS.get(manifest.kind, ())
        for member in self.columns["member"].tolist():
            if member.partition(".")[2] not in allowed:
                raise DataError(f"{self.path / INDEX_NAME} lists {member}, not a payload of {manifest.kind}")

    def _check_index(self, size_of: dict[str, int]) -> None:
        """Every sample must lie within a shard that the manifest lists."""
        columns = self.columns
        listed = np.array([size_of.get(name, -1) for name in columns["shard"].tolist()], dtype=np.int64)
        good = len(listed) == self._manifest.samples and (listed >= 0).all()
        for offset, size in (("offset", "size"), ("json_offset", "json_size")):
            good = good and (columns[offset] >= 0).all() and (columns[size] >= 0).all()
            good = good and (columns[size] <= listed - columns[offset]).all()
        if not good:
            raise DataError(
                f"{self.path / INDEX_NAME} doesn't fit the shards that {MANIFEST_NAME} lists. Delete both, and they "
                "are made again from the tars on the next use."
            )

    def _shard_path(self, i: int) -> Path:
        return self.path / str(self.columns["shard"][i])

    def _payload_name(self, i: int) -> str:
        return f"{self._shard_path(i)}: {self.columns['member'][i]}"

    def _read_checked(self, i: int, prefix: str, name: str) -> bytes:
        offset, size, crc32 = (int(self.columns[f"{prefix}{field}"][i]) for field in ("offset", "size", "crc32"))
        content = self._read(i, offset, size, name)
        if zlib.crc32(content) != crc32:
            raise DataError(
                f"{name}: the bytes are not those that were written (CRC-32 differs). "
                "Copy the shard again from where it came, or make the folder again."
            )
        return content

    def _read(self, i: int, offset: int, size: int, name: str) -> bytes:
        try:
            descriptor = os.open(self._shard_path(i), os.O_RDONLY)
        except OSError as error:
            raise DataError(f"{self._shard_path(i)} can't be opened: {error}") from error
        try:
            parts: list[bytes] = []
            while size:
                part = os.pread(descriptor, size, offset)  # may give fewer bytes than asked
                if not part:
                    raise DataError(f"{name}: the shard ends {size} bytes early; it was changed after it was opened")
                parts.append(part)
                offset, size = offset + len(part), size - len(part)
        finally:
            os.close(descriptor)
        return parts[0] if len(parts) == 1 else b"".join(parts)


def _how_to_make(path: Path) -> str:
    output = path.parent if path.name in ("train", "val") else path
    inside = next((path / name for name in ("train", "val") if (path / name / MANIFEST_NAME).is_file()), None)
    if inside is not None:
        return f"Did you mean {inside}?"
    return (
        "Make shards from your videos with "
        f"`python data_pipelines/prune.py source=<annotations or folder> output={output}`."
    )
