"""``MediaScores`` as one row of plain columns, and back."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from data_pipelines.media import MediaScores
from data_pipelines.signals.signal import Signal
from recot.data.schema import Media

SIGNALS = (
    "health",
    "frames",
    "duration_s",
    "min_side",
    "packet_activity",
    "dark",
    "blank",
    "blur",
    "static",
    "motion",
    "cuts_per_min",
)

ROW_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("extension", pa.string()),
        ("container", pa.string()),
        ("codec", pa.string()),
        ("width", pa.int64()),
        ("height", pa.int64()),
        ("fps", pa.float64()),
        ("is_vfr", pa.bool_()),
        ("media_duration_s", pa.float64()),  # duration_s and frames are signals as well
        ("media_frames", pa.int64()),
        ("rotation", pa.int64()),
        ("missing_frames", pa.list_(pa.int64())),
        ("packet_md5", pa.string()),
        ("hash_times_s", pa.list_(pa.float64())),
        ("hashes", pa.list_(pa.uint64())),
        ("mirrored_hashes", pa.list_(pa.uint64())),
        ("frame_size", pa.int64()),
        ("frame_times_s", pa.list_(pa.float64())),
        *((name, pa.float64()) for name in SIGNALS),
        *((f"{name}_status", pa.string()) for name in SIGNALS),
        *((f"{name}_detail", pa.string()) for name in SIGNALS),
        ("pictures", pa.list_(pa.binary())),  # last: the table step reads all columns but this one
    ]
)
"""Columns of a row."""

_OF_MEDIA = {"duration_s": "media_duration_s", "frames": "media_frames"}
"""Field of ``Media`` -> column, where the names differ."""


def to_row(scores: MediaScores) -> dict[str, Any]:
    """Values for the columns of ``ROW_SCHEMA``. Equal scores give equal rows."""
    row: dict[str, Any] = {_OF_MEDIA.get(name, name): value for name, value in asdict(scores.media).items()}
    for name in SIGNALS:
        signal = scores.signals[name]
        row |= {name: signal.value, f"{name}_status": signal.status, f"{name}_detail": signal.detail}
    plain = ("key", "extension", "packet_md5", "hash_times_s", "hashes", "mirrored_hashes", "frame_size")
    row |= {name: getattr(scores, name) for name in (*plain, "frame_times_s", "pictures")}
    return {name: row[name] for name in ROW_SCHEMA.names}


def from_row(row: Mapping[str, Any]) -> MediaScores:
    """The scores of a row; ``to_row`` of them gives the same row again."""
    media = {name: row[_OF_MEDIA.get(name, name)] for name in Media.__dataclass_fields__}
    signals = {name: Signal(row[name], row[f"{name}_status"], row[f"{name}_detail"]) for name in SIGNALS}
    own = {name: row[name] for name in MediaScores.__dataclass_fields__ if name not in ("media", "signals")}
    return MediaScores(media=Media(**media), signals=signals, **own)
