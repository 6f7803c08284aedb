"""What is inside a shard sample: the contract between writers and readers.

A sample is one video: ``<key>.json`` and one payload, ``<key>.<extension>``. The key is the first 32 hex
digits of the SHA-256 of the video's content. Cached features carry the key of their video.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin

from recot.errors import DataError

SCHEMA_VERSION = 1
KEY_LENGTH = 32
VIDEO_EXTENSIONS = ("mp4", "mkv", "webm", "mov", "avi", "ts", "m4v", "3gp", "mpg", "mpeg", "flv", "wmv", "ogv")
FEATURES_EXTENSION = "features.safetensors"
FRAMES_EXTENSION = "frames.npz"
PAYLOAD_EXTENSIONS = {"videos": (*VIDEO_EXTENSIONS, FRAMES_EXTENSION), "features": (FEATURES_EXTENSION,)}
"""Kind of shard -> extensions that its payloads may have."""
REFUSED_EXTENSIONS = ("pkl", "pickle", "pyd", "pt", "pth")
"""Members that readers elsewhere would unpickle; refused by name."""

_LARGEST = 2**40  # frames or seconds; guards the index's 64-bit columns against forged numbers
_T = TypeVar("_T")


def content_key(content: bytes) -> str:
    """The sample key of a payload: the first 32 hex digits of its SHA-256."""
    return hashlib.sha256(content).hexdigest()[:KEY_LENGTH]


@dataclass(frozen=True)
class QA:
    """One question about a video, or one turn of a conversation. Times are presentation seconds.

    ``evidence`` lists the ``[t0, t1]`` that have to be seen to answer, where that is known; ``t_start`` and ``t_end``
    hold all of them.
    """

    sample_id: str
    question: str
    answer: str
    task_type: str = "open"
    options: list[str] = field(default_factory=list)
    t_start: float | None = None
    t_end: float | None = None
    evidence: list[list[float]] = field(default_factory=list)


@dataclass(frozen=True)
class Media:
    """Probed facts of a video. Width and height are as shown, after rotation (degrees, 0/90/180/270).

    ``frames`` counts the frames that a player shows; ``missing_frames`` lists, ascending, those among them (0 is the
    first one) that are damaged and don't decode.
    """

    container: str
    codec: str
    width: int
    height: int
    fps: float
    is_vfr: bool
    duration_s: float
    frames: int
    rotation: int
    missing_frames: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class VideoSample:
    """The JSON member of a shard sample."""

    video_id: str
    source: str  # data set or folder it came from
    source_uri: str
    licence: str
    media: Media
    qa: list[QA] = field(default_factory=list)
    schema_version: int = SCHEMA_VERSION

    def to_json(self) -> dict[str, Any]:
        """Plain containers for ``json.dumps``."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Any, where: str) -> "VideoSample":
        """Parse the JSON member; ``where`` names shard and key in errors.

        Raises:
            DataError: on a missing or unknown field, a value of another type, or another schema version.
        """
        if not isinstance(data, dict) or "schema_version" not in data:
            raise DataError(
                f"{where}: the JSON has no schema_version, so this shard was not written by recot. "
                "Make shards from your videos with `python data_pipelines/prune.py source=... output=...`."
            )
        if data["schema_version"] != SCHEMA_VERSION:
            raise DataError(
                f"{where}: schema version {data['schema_version']}, this recot reads {SCHEMA_VERSION}. "
                "Write the shards again with this version's `data_pipelines/prune.py`."
            )
        try:
            media, turns = build_typed(Media, data["media"]), [build_typed(QA, qa) for qa in data["qa"]]
            if not (1 <= media.frames <= _LARGEST and 0 <= media.duration_s <= _LARGEST):
                raise TypeError(f"{media.frames} frames in {media.duration_s} s")
            return build_typed(cls, {**data, "media": media, "qa": turns})
        except (TypeError, KeyError) as error:
            raise DataError(
                f"{where}: the JSON does not have the fields of schema {SCHEMA_VERSION}: {error}"
            ) from error


def build_typed(kind: type[_T], values: Mapping[str, Any]) -> _T:
    """An instance of a dataclass from parsed JSON.

    Raises:
        TypeError: if a field is missing, unknown, or not of the type that it is declared with.
    """
    instance = kind(**values)
    for declared in fields(instance):  # type: ignore[arg-type]
        value = getattr(instance, declared.name)
        if not _fits(value, declared.type):
            raise TypeError(f"{declared.name} is {value!r}, expected {declared.type}")
    return instance


def _fits(value: Any, expected: Any) -> bool:
    origin, inner = _parts(expected)
    if origin is list:
        return isinstance(value, list) and all(_fits(item, inner[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict)
    if origin is UnionType:
        return any(_fits(value, option) for option in inner)
    if expected is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return isinstance(value, expected) and (expected is bool or not isinstance(value, bool))


@cache
def _parts(expected: Any) -> tuple[Any, tuple[Any, ...]]:
    """``list`` and ``(str,)`` for ``list[str]``; cached, because a folder's JSONs ask it millions of times."""
    return get_origin(expected), get_args(expected)
