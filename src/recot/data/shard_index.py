"""``index.parquet`` and ``shards.json``: what is where in a shard folder, known without opening a tar."""

import hashlib
import io
import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recot.data.schema import SCHEMA_VERSION, VideoSample, build_typed
from recot.errors import DataError
from recot.grouping import GROUP_SIZE
from recot.video_io import FrameSampling

INDEX_NAME = "index.parquet"
MANIFEST_NAME = "shards.json"

INDEX_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("shard", pa.string()),
        ("member", pa.string()),
        ("offset", pa.int64()),  # of the payload's content in the tar, bytes
        ("size", pa.int64()),  # of the payload, bytes
        ("crc32", pa.uint32()),  # of the payload
        ("json_offset", pa.int64()),
        ("json_size", pa.int64()),
        ("json_crc32", pa.uint32()),
        ("frames", pa.int64()),
        ("duration_s", pa.float64()),
        ("n_qa", pa.int64()),
        ("visual_tokens", pa.int64()),
        ("text_tokens", pa.int64()),
    ]
)
SAMPLE_COLUMNS = ("frames", "duration_s", "n_qa", "visual_tokens", "text_tokens")
"""The index columns that whoever adds a sample gives; the others follow from where it lies."""


def shard_name(number: int) -> str:
    """``shard-000000.tar`` for 0."""
    return f"shard-{number:06d}.tar"


def sample_columns(sample: VideoSample, *, fps: float = 1.0, tokens_per_group: int = 144) -> dict[str, Any]:
    """The ``SAMPLE_COLUMNS`` of a sample. Both token counts are estimates for batching by length (our
    choice).

    Args:
        sample: the JSON member.
        fps: frames a second that training is expected to sample.
        tokens_per_group: compact visual tokens of a group of 4 frames (144 for 384 px: a 12 x 12 map).

    Returns:
        ``visual_tokens`` is groups x ``tokens_per_group``; ``text_tokens`` counts the words between white
        space of all questions, options and answers.
    """
    texts = [text for qa in sample.qa for text in (qa.question, qa.answer, *qa.options)]
    return {
        "frames": sample.media.frames,
        "duration_s": sample.media.duration_s,
        "n_qa": len(sample.qa),
        "visual_tokens": planned_visual_tokens(
            sample.media.frames, sample.media.duration_s, fps=fps, tokens_per_group=tokens_per_group
        ),
        "text_tokens": sum(len(text.split()) for text in texts),
    }


def planned_visual_tokens(frames: int, duration_s: float, *, fps: float, tokens_per_group: int) -> int:
    """Compact tokens of a video with so many shown frames and seconds, if training samples it as expected."""
    return math.ceil(FrameSampling(fps=fps).planned_count(frames, duration_s) / GROUP_SIZE) * tokens_per_group


@dataclass(frozen=True)
class ShardFile:
    """One tar of a folder: name, size in bytes, hex SHA-256 of its content, number of samples."""

    name: str
    size: int
    sha256: str
    samples: int


@dataclass(frozen=True)
class Manifest:
    """``shards.json``. It is written last, so a folder that has one is complete."""

    kind: str  # videos | features
    config_hash: str  # of the config that made the shards
    samples: int
    shards: list[ShardFile]
    index_sha256: str
    meta: dict[str, Any] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    def to_bytes(self) -> bytes:
        """The file's content: equal manifests give equal bytes."""
        return (json.dumps(asdict(self), indent=2, sort_keys=True) + "\n").encode()

    @classmethod
    def from_bytes(cls, content: bytes, path: Path) -> "Manifest":
        """Parse ``shards.json``; ``path`` names it in errors.

        Raises:
            DataError: if it isn't JSON, is of another schema version, or lacks fields.
        """
        remake = f"Delete {path.name} and {INDEX_NAME} there: they are made again from the tars on the next use."
        try:
            data = json.loads(content)
            version = data["schema_version"]
            if version == SCHEMA_VERSION:
                shards = [build_typed(ShardFile, shard) for shard in data["shards"]]
                manifest = build_typed(cls, {**data, "shards": shards})
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(f"{path} is not a shard manifest of recot: {error}. {remake}") from error
        if version != SCHEMA_VERSION:
            raise DataError(f"{path} has schema version {version}, this recot reads {SCHEMA_VERSION}. {remake}")
        return manifest


def encode_index(rows: list[dict[str, Any]]) -> bytes:
    """The content of ``index.parquet``, one row a sample, in order. Equal rows give equal bytes."""
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=INDEX_SCHEMA), buffer, compression="zstd")
    return buffer.getvalue()


def decode_index(content: bytes, path: Path) -> dict[str, np.ndarray]:
    """The columns of ``index.parquet``, each ``(samples,)``; ``path`` names the file in errors.

    Raises:
        DataError: if it isn't parquet or has other columns.
    """
    try:
        # On this thread alone: Arrow's threads may drop their reference to a Python buffer only while the
        # interpreter shuts down, which aborts the process (seen in a third of short-lived readers).
        table = pq.ParquetFile(pa.BufferReader(content), pre_buffer=False).read(use_threads=False)
        if table.schema.names != INDEX_SCHEMA.names:
            raise DataError(f"has columns {table.schema.names}, expected {INDEX_SCHEMA.names}")
        table = table.cast(INDEX_SCHEMA)
    except (pa.ArrowException, DataError, OSError) as error:
        raise DataError(
            f"{path} is not an index that this recot reads: {error}. Delete it and {MANIFEST_NAME} beside "
            "it, and "
            "both are made again from the tars on the next use."
        ) from error
    columns = {}
    for name in table.schema.names:
        values = table[name].to_numpy()
        # Fixed-width strings, so that forked workers don't copy pages by counting references.
        columns[name] = values.astype(np.str_) if pa.types.is_string(table.schema.field(name).type) else values
    return columns


def sha256_of_file(path: Path) -> str:
    """Hex SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
