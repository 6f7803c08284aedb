"""Writes the frozen encoder's features of a shard folder's videos as shards beside them.

Legend: n sampled frames of a video, H W frame size, h w token grid, C width.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor
from tqdm import tqdm

from recot.data.cached_features import FEATURES_FOLDER, CachedFeatures
from recot.data.dataset import VideoDataset
from recot.data.schema import FEATURES_EXTENSION
from recot.data.shard_index import sample_columns
from recot.data.shard_writer import ShardWriter
from recot.errors import ConfigError, DataError, VideoError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def write_features(videos: VideoDataset, encode: Callable[[np.ndarray], Tensor], *, encoder: str, dtype: str) -> Path:
    """Encode all sampled frames of all videos into ``<folder>/features``; features that fit are left alone.

    A video that can't be decoded is noted with its reason in the folder's ``shards.json`` and left out.

    Args:
        videos: what to encode, under the sampling and frame size that training will use.
        encode: (n, H, W, 3) uint8 -> (n, h, w, C) on the CPU.
        encoder: fingerprint of the encoder.
        dtype: ``float32`` or ``bfloat16``, what is stored.

    Returns:
        The folder.

    Raises:
        ConfigError: for another dtype.
        DataError: if the folder holds features of another encoder, sampling or precision.
    """
    if dtype not in DTYPES:
        raise ConfigError(f"dtype is {dtype!r}: features are stored in one of {', '.join(DTYPES)}")
    target = videos.folder.path / FEATURES_FOLDER
    if target.exists():
        _check_same(videos, target, encoder=encoder, dtype=dtype)
        print(f"{target}: features of this encoder are there already.")
        return target
    settings = {"sampling": asdict(videos.sampling), "frame_size": list(videos.frame_size)}
    meta = {**settings, "encoder": encoder, "dtype": dtype, "encode_cpu_s": 0.0, "frames": 0, "failed": {}}
    with ShardWriter(target, config_hash=videos.folder.config_hash, kind="features", meta=meta) as writer:
        for i in tqdm(range(len(videos)), desc=f"encoding {videos.folder.path}", unit="video", file=sys.stderr):
            _add(writer, videos, i, encode, DTYPES[dtype])
    for key, reason in writer.meta["failed"].items():
        print(f"left out {key}: {reason}")
    seconds = writer.meta["encode_cpu_s"]
    print(f"{target}: {writer.meta['frames']} frames in {dtype}, {seconds:.1f} CPU seconds of encoding.")
    return target


def _add(
    writer: ShardWriter, videos: VideoDataset, i: int, encode: Callable[[np.ndarray], Tensor], dtype: torch.dtype
) -> None:
    key = videos.folder.key(i)
    try:
        frames, times_s = videos.all_frames(i)
    except VideoError as error:
        writer.meta["failed"][key] = f"{error.message} [{error.reason}]"
        return
    start = time.process_time()
    features = encode(frames).to(dtype)
    writer.meta["encode_cpu_s"] += time.process_time() - start
    writer.meta["frames"] += len(frames)
    payload = save({"features": features.contiguous(), "times_s": torch.from_numpy(times_s)})
    sample = videos.folder.sample(i)
    writer.add(key, sample.to_json(), payload, FEATURES_EXTENSION, sample_columns(sample))


def _check_same(videos: VideoDataset, target: Path, *, encoder: str, dtype: str) -> None:
    found = CachedFeatures(videos.folder, sampling=videos.sampling, frame_size=videos.frame_size)
    if (found.encoder, found.dtype) != (encoder, dtype):
        raise DataError(
            f"{target}: holds features of encoder {found.encoder[:12]} in {found.dtype}, not of {encoder[:12]} in "
            f"{dtype}. Delete this folder to write them anew."
        )
