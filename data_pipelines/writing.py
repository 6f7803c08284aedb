"""Writes the videos that are kept into shards."""

import math
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from data_pipelines.config import PruneConfig
from data_pipelines.inspection import Inspection
from data_pipelines.records import VideoRecord
from recot.data.schema import QA, VideoSample, content_key
from recot.data.shard_index import sample_columns
from recot.data.shard_writer import ShardWriter
from recot.errors import DataError


@dataclass(frozen=True)
class Kept:
    """A video that goes into the shards, with the questions of its copies too."""

    record: VideoRecord
    inspection: Inspection
    qa: list[QA]


def merge_copies(
    videos: list[VideoRecord], inspections: dict[str, Inspection], reasons: dict[str, list[str]]
) -> list[Kept]:
    """The videos without a reason to drop them, in order, with the questions of their copies."""
    kept: dict[str, Kept] = {}
    for record in videos:
        inspection = inspections.get(record.video_id)
        if inspection is None:
            continue
        if not reasons[record.video_id]:
            kept[inspection.key] = Kept(record, inspection, list(record.qa))
        elif "duplicate_content" in reasons[record.video_id]:
            kept[inspection.key].qa.extend(record.qa)
    return list(kept.values())


def split(kept: list[Kept], val_fraction: float) -> dict[str, list[Kept]]:
    """``train`` and, if a fraction is asked for, ``val``.

    Validation takes the videos with the smallest keys: a choice that looks random, and never changes for a content.

    Raises:
        DataError: if no video is left for ``train``.
    """
    val_count = math.ceil(val_fraction * len(kept) - 1e-9)  # 0.07 x 100 is more than 7 in binary
    if val_count == len(kept):
        raise DataError(
            f"val_fraction={val_fraction} puts all {len(kept)} usable videos into validation and leaves none to train "
            "on. Give more videos, or val_fraction=0."
        )
    val_keys = set(sorted(k.inspection.key for k in kept)[:val_count])
    splits = {
        "train": [k for k in kept if k.inspection.key not in val_keys],
        "val": [k for k in kept if k.inspection.key in val_keys],
    }
    return {name: members for name, members in splits.items() if members}


def write_split(folder: Path, members: list[Kept], config: PruneConfig) -> None:
    """Write the shard folder ``folder``.

    Raises:
        DataError: if a video changed since it was inspected.
    """
    writer = ShardWriter(
        folder,
        config_hash=config.hash(),
        samples_per_shard=config.shards.max_samples,
        bytes_per_shard=config.shards.max_mib * 2**20,
        meta={"fps": config.sampling.fps, "tokens_per_group": config.sampling.tokens_per_group},
    )
    with writer:
        for member in tqdm(members, desc=f"writing {folder.name}", unit="video"):
            record, inspection = member.record, member.inspection
            sample = VideoSample(
                video_id=record.video_id,
                source=record.source,
                source_uri=record.path.resolve().as_uri(),
                licence=config.licence,
                media=inspection.media,
                qa=member.qa,
            )
            columns = sample_columns(sample, fps=config.sampling.fps, tokens_per_group=config.sampling.tokens_per_group)
            content = _read_unchanged(record.path, inspection.key)
            writer.add(inspection.key, sample.to_json(), content, inspection.extension, columns)


def _read_unchanged(path: Path, key: str) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} was there when it was inspected, and can't be read any more: {error}") from error
    if content_key(content) != key:
        raise DataError(f"{path} changed while it was being read. Run the same command again once it is complete.")
    return content
