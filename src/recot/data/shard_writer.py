"""Writes a shard folder: standard WebDataset tars, ``index.parquet``, and ``shards.json`` last."""

import hashlib
import json
import re
import zlib
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from webdataset import TarWriter

from recot.atomic import fsync_path, new_folder, write_file
from recot.data.schema import PAYLOAD_EXTENSIONS, REFUSED_EXTENSIONS, VideoSample
from recot.data.shard_index import (
    INDEX_NAME,
    MANIFEST_NAME,
    SAMPLE_COLUMNS,
    Manifest,
    ShardFile,
    encode_index,
    shard_name,
)
from recot.errors import DataError

_BLOCK = 512  # bytes; tar pads headers and contents to it
_KEY = re.compile(r"[0-9a-f]{32}")


class _OpenShard:
    """A tar being written, hashed and measured on the way so that it needn't be read again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.samples = 0
        self._file = path.open("wb")
        self._sha256 = hashlib.sha256()
        self._size = 0
        # Compression False means a plain tar; encoder False means that bytes are stored as they are.
        self._tar = TarWriter(
            self,
            user="recot",
            group="recot",
            mode=0o444,
            compress=False,
            encoder=False,
            mtime=0,
            format="PAX_FORMAT",
        )

    def write(self, content: bytes) -> int:
        """What the tar writer calls with each piece of the file."""
        self._sha256.update(content)
        self._size += len(content)
        return self._file.write(content)

    @property
    def size(self) -> int:
        """Bytes of the members so far."""
        return int(self._tar.tarstream.offset)

    def append(self, key: str, extension: str, content: bytes) -> int:
        """Write one member and return where its content starts. One a call: TarWriter sorts what it gets."""
        self._tar.write({"__key__": key, extension: content})
        return self.size - -(-len(content) // _BLOCK) * _BLOCK

    def abandon(self) -> None:
        """Close the file, which will be deleted, whether or not the disk takes the rest."""
        with suppress(OSError):
            self._tar.close()
        with suppress(OSError):
            self._file.close()

    def finish(self) -> ShardFile:
        """End the tar and flush it to the disk."""
        self._tar.close()
        self._file.close()
        fsync_path(self.path)
        return ShardFile(self.path.name, self._size, self._sha256.hexdigest(), self.samples)


class ShardWriter:
    """Context manager that writes ``folder``; it appears, whole, when the block ends without an exception.

    Equal samples in equal order give equal bytes: times, owners and modes in the tars are fixed.

    Args:
        folder: where the shards go; must not exist, or be empty.
        config_hash: of the config that made them; readers use it to tell whether they are up to date.
        kind: ``videos`` (payloads are videos or frames) or ``features`` (payloads are cached encoder
            outputs).
        samples_per_shard: a shard has at most so many samples,
        bytes_per_shard: and is closed once it is this large (our choice: 256 MiB).
        meta: anything JSON can hold, kept in ``shards.json``.

    Raises:
        DataError: see ``new_folder``, and at the end if no sample was added.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        config_hash: str,
        kind: str = "videos",
        samples_per_shard: int = 256,
        bytes_per_shard: int = 256 * 2**20,
        meta: dict[str, Any] | None = None,
    ) -> None:
        if kind not in PAYLOAD_EXTENSIONS:
            raise ValueError(f"kind must be one of {', '.join(PAYLOAD_EXTENSIONS)}, got {kind!r}")
        if samples_per_shard < 1 or bytes_per_shard < 1:
            raise ValueError(
                f"samples_per_shard and bytes_per_shard must be at least 1, got {samples_per_shard}, {bytes_per_shard}"
            )
        self.folder = Path(folder)
        self.config_hash = config_hash
        self.kind = kind
        self.samples_per_shard = samples_per_shard
        self.bytes_per_shard = bytes_per_shard
        self.meta = meta or {}
        self._rows: list[dict[str, Any]] = []
        self._keys: set[str] = set()
        self._shards: list[ShardFile] = []
        self._open: _OpenShard | None = None
        self._stack = ExitStack()

    def __enter__(self) -> "ShardWriter":
        self._partial = self._stack.enter_context(new_folder(self.folder))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            if self._open is not None:
                self._open.abandon()
            self._stack.__exit__(kind, error, trace)
            return
        with self._stack:
            self._commit()

    def add(self, key: str, sample_json: dict[str, Any], payload: bytes, extension: str, row: dict[str, Any]) -> None:
        """Append one sample.

        Args:
            key: see ``recot.data.schema.content_key``; features carry the key of their video.
            sample_json: ``VideoSample.to_json()``.
            payload: the video file's bytes, or an npz or safetensors file's.
            extension: without a leading dot, one of ``PAYLOAD_EXTENSIONS[kind]``.
            row: the ``SAMPLE_COLUMNS`` of the index, see ``recot.data.shard_index.sample_columns``.

        Raises:
            DataError: for a key that was added before or isn't 32 hex digits, an extension that isn't
                allowed, or a JSON that readers would refuse.
        """
        self._check(key, extension, row)
        VideoSample.from_json(sample_json, f"{self.folder}: sample {key}")
        try:
            text = json.dumps(sample_json, sort_keys=True, ensure_ascii=False, allow_nan=False).encode()
        except ValueError as error:  # NaN, infinity, or half of a surrogate pair
            raise DataError(f"{self.folder}: the JSON of sample {key} can't be written: {error}") from error
        shard = self._shard_with_room()
        json_offset = shard.append(key, "json", text)
        offset = shard.append(key, extension, payload)
        shard.samples += 1
        self._keys.add(key)
        self._rows.append(
            {
                "key": key,
                "shard": shard.path.name,
                "member": f"{key}.{extension}",
                "offset": offset,
                "size": len(payload),
                "crc32": zlib.crc32(payload),
                "json_offset": json_offset,
                "json_size": len(text),
                "json_crc32": zlib.crc32(text),
                **row,
            }
        )

    def _check(self, key: str, extension: str, row: dict[str, Any]) -> None:
        if not _KEY.fullmatch(key):
            raise DataError(
                f"{self.folder}: key {key!r} must be 32 lower-case hex digits (recot.data.schema.content_key)"
            )
        if key in self._keys:
            raise DataError(f"{self.folder}: key {key} was added twice; merge the samples of one video before writing")
        if extension in REFUSED_EXTENSIONS:
            raise DataError(f"{self.folder}: {key}.{extension} is refused: other readers would unpickle it")
        allowed = PAYLOAD_EXTENSIONS[self.kind]
        if extension not in allowed:
            raise DataError(f"{self.folder}: {key}.{extension}: a shard of {self.kind} holds {', '.join(allowed)}")
        if set(row) != set(SAMPLE_COLUMNS):
            raise ValueError(f"row must have exactly {SAMPLE_COLUMNS}, got {sorted(row)}")

    def _shard_with_room(self) -> _OpenShard:
        shard = self._open
        if shard is not None and (shard.samples >= self.samples_per_shard or shard.size >= self.bytes_per_shard):
            self._shards.append(shard.finish())
            shard = None
        if shard is None:
            shard = self._open = _OpenShard(self._partial / shard_name(len(self._shards)))
        return shard

    def _commit(self) -> None:
        if self._open is None:
            raise DataError(f"{self.folder}: no sample was added, so there is nothing to write")
        self._shards.append(self._open.finish())
        index = encode_index(self._rows)
        write_file(self._partial / INDEX_NAME, index)
        manifest = Manifest(
            kind=self.kind,
            config_hash=self.config_hash,
            samples=len(self._rows),
            shards=self._shards,
            index_sha256=hashlib.sha256(index).hexdigest(),
            meta=self.meta,
        )
        write_file(self._partial / MANIFEST_NAME, manifest.to_bytes())
