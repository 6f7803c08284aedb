"""Shards of what the decisions keep: original files, or frames sampled from them."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pyarrow as pa

from data_pipelines.config import PruneConfig
from data_pipelines.decisions import Decisions
from data_pipelines.frames_media import FramesSetting, FramesTask, store_frames
from data_pipelines.manifest import PLACES
from data_pipelines.scoring import Scored
from data_pipelines.writing import Kept, KeptVideo, frames_payload, kept_videos, original_payload, split, write_split
from recot.errors import DataError
from recot.video_io import VideoLimits

_MIB = 2**20


def write_shards(folder: Path, config: PruneConfig, scored: Scored, decisions: Decisions, scratch: Path) -> pa.Table:
    """Write ``train/`` and, if a fraction is asked for, ``val/`` into ``folder``.

    Returns:
        Where each kept video is: ``manifest.PLACES``.

    Raises:
        DataError: if a video changed or can't be read any more, none is left for ``train``, or the disk is full.
    """
    kept = kept_videos(scored.videos, scored.samples, decisions.videos, decisions.samples)
    members = split(kept.keys, config.val_fraction)
    payload = _frames(kept, config) if config.media.kind == "frames" else _original(config, scratch)
    places = [
        write_split(
            folder / name,
            kept,
            rows,
            payload,
            config_hash=config.hash(),
            max_samples=config.shards.max_samples,
            max_bytes=config.shards.max_mib * _MIB,
            fps=config.sampling.fps,
            tokens_per_group=config.sampling.tokens_per_group,
        )
        for name, rows in members.items()
    ]
    return pa.concat_tables(places)


def _original(config: PruneConfig, scratch: Path) -> Callable[[KeptVideo], tuple[bytes, str]]:
    return partial(original_payload, scratch=scratch, max_bytes=config.limits.max_file_mib * _MIB)


def _frames(kept: Kept, config: PruneConfig) -> Callable[[KeptVideo], tuple[bytes, str]]:
    limits = config.limits
    height, width = config.media.frame_size
    setting = FramesSetting(
        fps=config.media.fps,
        frame_size=(height, width),
        limits=VideoLimits(limits.max_side, limits.max_duration_s, limits.max_pixels, limits.timeout_s),
        max_bytes=limits.max_file_mib * _MIB,
    )
    folder = Path(config.scores) / "frames"
    chosen = kept.videos.take(pa.array(kept.rows)).select(["uri", "key", "missing_frames"]).to_pylist()
    failures = store_frames(
        [FramesTask(row["uri"], row["key"], tuple(row["missing_frames"])) for row in chosen],
        setting,
        folder=folder,
        workers=config.worker_count(),
        timeout_s=limits.timeout_s,
        memory_bytes=limits.memory_mib * _MIB,
        recycle_after=limits.recycle_after,
    )
    if failures:
        key, failure = next(iter(failures.items()))
        uri = next(row["uri"] for row in chosen if row["key"] == key)
        raise DataError(
            f"{len(failures)} of {len(chosen)} videos could be decoded when they were inspected, but not now that "
            f"frames are sampled from them. First one: {uri}: {failure.message} [{failure.reason}]. Run the same "
            "command again; if that doesn't help, use media.kind=original."
        )
    return partial(frames_payload, folder=folder, setting=setting)


def no_places(scored: Scored, decisions: Decisions) -> pa.Table:
    """``manifest.PLACES`` of the kept videos where no shards are written: nulls."""
    kept = kept_videos(scored.videos, scored.samples, decisions.videos, decisions.samples)
    nulls = {name: pa.nulls(len(kept.keys), PLACES.field(name).type) for name in PLACES.names if name != "key"}
    return pa.table({"key": pa.array(kept.keys, pa.string()), **nulls}, schema=PLACES)
