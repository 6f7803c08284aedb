"""Reads the frozen encoder's outputs from the folder ``features/`` inside a shard folder.

The frames of a draw are one contiguous run of rows of a safetensors tensor, so only their bytes are read.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from recot.data.shards import ShardFolder
from recot.errors import DataError, VideoError
from recot.video_io import FrameSampling

FEATURES_FOLDER = "features"
MAKE_FEATURES = "python data_pipelines/cache_features.py experiment=..."
_DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F64": torch.float64}
_LENGTH_BYTES = 8  # a safetensors file opens with the length of its JSON header, little-endian
_MAX_HEADER = 2**20  # bytes; ours has two tensors


class _Entry(NamedTuple):
    """Where a tensor lies in a payload."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int  # byte in the payload


class CachedFeatures:
    """Encoder outputs of all sampled frames of all videos of a shard folder.

    Attributes:
        path: their folder.
        encoder: fingerprint of the encoder that made them.
        dtype: what they are stored in, ``float32`` or ``bfloat16``.
        cpu_s_per_frame: CPU seconds that encoding a frame took when they were made.

    Raises:
        DataError: if there are none, they were made with another sampling or frame size, or a video lacks them.
    """

    def __init__(self, videos: ShardFolder, *, sampling: FrameSampling, frame_size: tuple[int, int]) -> None:
        path = videos.path / FEATURES_FOLDER
        if not path.is_dir():
            raise DataError(
                f"{path}: there are no cached features of these videos. Make them with `{MAKE_FEATURES}`, "
                "or set data.features=live to encode the frames in training."
            )
        self.path = path
        self._folder = ShardFolder(path)
        _check_settings(self._folder, {"sampling": asdict(sampling), "frame_size": list(frame_size)})
        meta = self._folder.meta
        self._keys: list[str] = videos.columns["key"].tolist()
        self._failed: dict[str, str] = meta.get("failed", {})
        missing = [key for key in self._keys if self._folder.find(key) is None and key not in self._failed]
        if missing:
            raise DataError(
                f"{path}: {len(missing)} of {len(videos)} videos have no cached features, e.g. {missing[0]}. "
                f"Delete this folder and make it again with `{MAKE_FEATURES}`."
            )
        self.encoder = str(meta["encoder"])
        self.dtype = str(meta["dtype"])
        self.cpu_s_per_frame = float(meta["encode_cpu_s"]) / max(1, int(meta["frames"]))

    def read(self, i: int, n: int, first: int, last: int) -> tuple[Tensor, np.ndarray]:
        """Features of frames ``first..last - 1`` of the ``n`` sampled frames of video ``i``.

        Returns:
            ``(features, times_s)``: (last - first, h, w, C) as stored, and (last - first,) float64 presentation
            seconds.

        Raises:
            VideoError: if the video couldn't be decoded when features were made.
            DataError: if the payload doesn't hold features and times of exactly ``n`` frames.
        """
        key = self._keys[i]
        row = self._folder.find(key)
        if row is None:
            raise VideoError(key, "not_cached", f"left out when features were made: {self._failed[key]}")
        header = self._header(row)
        features, times = header.get("features"), header.get("times_s")
        if features is None or len(features.shape) != 4 or features.shape[0] != n:
            raise self._damaged(row, f"expected a tensor `features` of {n} frames and 4 axes, got {features}")
        if times is None or times.shape != (n,) or times.dtype != torch.float64:
            raise self._damaged(row, f"expected a float64 tensor `times_s` of {n} frames, got {times}")
        return self._rows_of(row, features, first, last), self._rows_of(row, times, first, last).numpy()

    def _header(self, row: int) -> dict[str, _Entry]:
        try:
            length = int.from_bytes(self._folder.payload_slice(row, 0, _LENGTH_BYTES), "little")
            if length > _MAX_HEADER:
                raise ValueError(f"its header has {length} bytes")
            entries: dict[str, Any] = json.loads(self._folder.payload_slice(row, _LENGTH_BYTES, length))
            entries.pop("__metadata__", None)
            return {name: _entry(entry, _LENGTH_BYTES + length) for name, entry in entries.items()}
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise self._damaged(row, f"not a safetensors file of float32, bfloat16 or float64: {error}") from error

    def _rows_of(self, row: int, entry: _Entry, first: int, last: int) -> Tensor:
        shape = (last - first, *entry.shape[1:])
        stride = int(np.prod(entry.shape[1:], dtype=np.int64)) * entry.dtype.itemsize
        try:
            content = self._folder.payload_slice(row, entry.start + first * stride, (last - first) * stride)
        except IndexError as error:
            raise self._damaged(row, str(error)) from error
        return torch.frombuffer(bytearray(content), dtype=entry.dtype).reshape(shape)

    def _damaged(self, row: int, what: str) -> DataError:
        name = f"{self._folder.path / str(self._folder.columns['shard'][row])}: {self._folder.columns['member'][row]}"
        return DataError(f"{name}: {what}. Make the features again with `{MAKE_FEATURES}`.")


def _entry(entry: dict[str, Any], data_start: int) -> _Entry:
    shape = tuple(int(length) for length in entry["shape"])
    return _Entry(_DTYPES[entry["dtype"]], shape, data_start + int(entry["data_offsets"][0]))


def common_encoder(cached: Sequence[CachedFeatures | None]) -> str | None:
    """Fingerprint of the encoder that made all of these features; None if there are none.

    Raises:
        DataError: if they are of several encoders or precisions.
    """
    given = [features for features in cached if features is not None]
    if len({(features.encoder, features.dtype) for features in given}) > 1:
        raise DataError(
            "The cached features of data.train and data.val are of different encoders or precisions: "
            + "; ".join(f"{features.path}: {features.encoder[:12]} in {features.dtype}" for features in given)
            + f". Make all of them with one config: `{MAKE_FEATURES}`."
        )
    return given[0].encoder if given else None


def saving(cached: CachedFeatures | None, frames: int) -> str:
    """What reading cached features saves, in a sentence; ``frames`` is how many an epoch takes."""
    if cached is None:
        return f"{frames} frames an epoch are decoded, and encoded in training."
    return (
        f"features by encoder {cached.encoder[:12]} in {cached.dtype} are read from disk. An epoch's {frames} frames "
        "are neither decoded nor encoded. "
        f"That saves about {cached.cpu_s_per_frame * frames:.1f} CPU seconds of encoding."
    )


def _check_settings(folder: ShardFolder, wanted: dict[str, Any]) -> None:
    if folder.kind != "features":
        raise DataError(f"{folder.path} holds {folder.kind}, not features. Make features with `{MAKE_FEATURES}`.")
    missing = [name for name in (*wanted, "encoder", "dtype", "encode_cpu_s", "frames") if name not in folder.meta]
    if missing:
        raise DataError(
            f"{Path(folder.path)}: its shards.json does not say {', '.join(missing)}, so nobody knows what these "
            f"features are of. Make them again with `{MAKE_FEATURES}`."
        )
    for name, value in wanted.items():
        if folder.meta[name] != value:
            raise DataError(
                f"{folder.path}: these features were made with {name} {folder.meta[name]}, but data.{name} is {value}. "
                f"Set data.{name} back, or make features for it with `{MAKE_FEATURES}` (delete this folder first)."
            )
