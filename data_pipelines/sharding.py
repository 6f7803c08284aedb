"""Shards of what the decisions keep: original files, or frames sampled from them."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from data_pipelines.config import PruneConfig
from data_pipelines.decisions import Decisions
from data_pipelines.frames_media import FramesSetting, FramesTask, store_frames
from data_pipelines.manifest import PLACES
from data_pipelines.scoring import Scored
from data_pipelines.supervised import Failure
from data_pipelines.writing import KeptVideo, frames_payload, kept_videos, original_payload, split, write_split
from recot.video_io import VideoLimits

_MIB = 2**20


def write_shards(folder: Path, config: PruneConfig, scored: Scored, decisions: Decisions, scratch: Path) -> pa.Table:
    """Write ``train/`` and, if a fraction is asked for, ``val/`` into ``folder``; frames come from ``sample_kept``.

    Returns:
        Where each kept video is: ``manifest.PLACES``.

    Raises:
        DataError: if a video changed or can't be read any more, none is left for ``train``, or the disk is full.
    """
    kept = kept_videos(scored.videos, scored.samples, decisions.videos, decisions.samples)
    members = split(kept.keys, config.val_fraction)
    payload = _payload(config, scratch)
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


def sample_kept(config: PruneConfig, scored: Scored, decisions: Decisions) -> dict[str, Failure]:
    """See to it that the frames of what is kept are there, where shards are to hold these.

    Returns:
        Key -> reason, of kept videos of which that failed. It isn't noted anywhere, so the next run tries again.

    Raises:
        DataError: if a video changed or can't be read any more, or the disk is full.
    """
    if not config.write_shards or config.media.kind != "frames":
        return {}
    kept = kept_videos(scored.videos, scored.samples, decisions.videos, decisions.samples)
    chosen = kept.videos.take(pa.array(kept.rows)).select(["uri", "key", "missing_frames"]).to_pylist()
    limits = config.limits
    return store_frames(
        [FramesTask(row["uri"], row["key"], tuple(row["missing_frames"])) for row in chosen],
        frames_setting(config),
        folder=_frames_folder(config),
        workers=config.worker_count(),
        timeout_s=limits.timeout_s,
        memory_bytes=limits.memory_mib * _MIB,
        recycle_after=limits.recycle_after,
    )


def without(scored: Scored, failures: Mapping[str, Failure]) -> Scored:
    """The corpus, where videos with these keys have an error like those that don't decode."""
    videos = scored.videos
    which = pc.index_in(videos["key"], value_set=pa.array(list(failures), pa.string()), skip_nulls=True)
    told = {
        "error_reason": [failure.reason for failure in failures.values()],
        "error_class": [failure.error_class for failure in failures.values()],
        "error_detail": [f"frames can't be sampled: {failure.message}" for failure in failures.values()],
    }
    for name, texts in told.items():
        column = pc.coalesce(videos[name], pa.array(texts, pa.string()).take(which))
        videos = videos.set_column(videos.column_names.index(name), name, column)
    return replace(scored, videos=videos)


def frames_setting(config: PruneConfig) -> FramesSetting:
    """What ``media`` says of stored frames.

    Raises:
        ConfigError: for impossible values.
    """
    limits = config.limits
    height, width = config.media.frame_size
    return FramesSetting(
        fps=config.media.fps,
        frame_size=(height, width),
        limits=VideoLimits(limits.max_side, limits.max_duration_s, limits.max_pixels, limits.timeout_s),
        max_bytes=limits.max_file_mib * _MIB,
    )


def _frames_folder(config: PruneConfig) -> Path:
    return Path(config.scores) / "frames"


def _payload(config: PruneConfig, scratch: Path) -> Callable[[KeptVideo], tuple[bytes, str]]:
    if config.media.kind == "frames":
        return partial(frames_payload, folder=_frames_folder(config), setting=frames_setting(config))
    return partial(original_payload, scratch=scratch, max_bytes=config.limits.max_file_mib * _MIB)


def no_places(scored: Scored, decisions: Decisions) -> pa.Table:
    """``manifest.PLACES`` of the kept videos where no shards are written: nulls."""
    kept = kept_videos(scored.videos, scored.samples, decisions.videos, decisions.samples)
    nulls = {name: pa.nulls(len(kept.keys), PLACES.field(name).type) for name in PLACES.names if name != "key"}
    return pa.table({"key": pa.array(kept.keys, pa.string()), **nulls}, schema=PLACES)
