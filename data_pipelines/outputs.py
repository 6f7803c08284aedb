"""What an output holds beside the shards: tables of everything that was measured and decided, and a report of it."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from omegaconf import OmegaConf

from data_pipelines.audit import write_audit
from data_pipelines.config import PruneConfig
from data_pipelines.decisions import Decisions
from data_pipelines.engine import StageRun
from data_pipelines.evaluation_sets import EvaluationSet
from data_pipelines.ingest.records import Records
from data_pipelines.ledger import Ledger
from data_pipelines.manifest import write_manifest
from data_pipelines.media_pictures import decode_picture
from data_pipelines.report.render import ReportInput, StageTime, write_report
from data_pipelines.scoring import PICTURES, Scored
from recot.atomic import write_file

TIMINGS_NAME = "timings.json"
_FRAMES = {"media": "frames", "embed": "embedding_frames"}
"""Stage -> the column that counts a video's frames there."""


def write_tables(
    folder: Path, config: PruneConfig, records: Records, scored: Scored, decisions: Decisions, places: pa.Table
) -> None:
    """Write ``manifest.parquet`` and ``audit.parquet``; the same input and config give the same bytes."""
    write_manifest(
        folder,
        videos=scored.videos,
        samples=scored.samples,
        decided_videos=decisions.videos,
        decided_samples=decisions.samples,
        places=places,
        config_hash=config.hash(),
    )
    write_audit(folder, decisions.verdicts(config.hash()), records.rejected, config.hash())


def write_pictures(
    folder: Path,
    config: PruneConfig,
    records: Records,
    scored: Scored,
    decisions: Decisions,
    media: Ledger,
    compared: Sequence[EvaluationSet],
) -> None:
    """Write ``report.html`` and ``timings.json``, which tell what this run took and so are never the same twice."""
    timings = {stage: asdict(run) for stage, run in scored.runs.items()}
    write_file(folder / TIMINGS_NAME, (json.dumps(timings, indent=2) + "\n").encode())
    video_ids = scored.videos["video_id"].combine_chunks()
    sample_ids = scored.samples["sample_id"].combine_chunks()
    item_of = dict(zip(video_ids.to_pylist(), scored.media_items, strict=True))
    # Some of their results are forgotten already, for the next run to try again.
    without_pictures = set(video_ids.filter(pc.is_null(scored.videos["key"].combine_chunks())).to_pylist())

    def thumbnails(video_id: str) -> list[np.ndarray] | None:
        if video_id in without_pictures:
            return None
        stored = media.read(item_of[video_id], ["frame_size", PICTURES])
        return [decode_picture(code, stored["frame_size"]) for code in stored[PICTURES]]

    report = ReportInput(
        source=config.source,
        config=OmegaConf.to_yaml(OmegaConf.create(asdict(config))),
        config_hash=config.hash(),
        videos=scored.videos,
        samples=scored.samples,
        decided_videos=decisions.videos,
        decided_samples=decisions.samples,
        video_verdicts=(check.verdicts(video_ids, config.hash()) for check in decisions.video_checks),
        sample_verdicts=(check.verdicts(sample_ids, config.hash()) for check in decisions.sample_checks),
        rows=records.rows,
        rejected=records.rejected,
        compared=[entry.line() for entry in compared],
        times=[
            StageTime(name, run.wall_s, run.ran, run.items - run.ran, _frames(name, run, scored.videos))
            for name, run in scored.runs.items()
        ],
    )
    write_report(folder, report, thumbnails)


def _frames(stage: str, run: StageRun, videos: pa.Table) -> int | None:
    """Frames that a stage worked on; None where nobody knows how many of them were done before."""
    column = _FRAMES.get(stage)
    if column is None or run.ran < run.items:
        return None
    return int(pc.sum(videos[column]).as_py() or 0)
