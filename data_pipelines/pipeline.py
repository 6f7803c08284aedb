"""The road from raw videos to shards: read, inspect, compare, decide, write."""

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tqdm import tqdm

from data_pipelines.audit import write_audit
from data_pipelines.config import PruneConfig
from data_pipelines.existing import existing_summary, hash_input
from data_pipelines.inspection import Inspection, inspect_video
from data_pipelines.policy import SignalRow, Threshold, Verdict, decide, judge
from data_pipelines.records import Records, VideoRecord, read_records
from data_pipelines.summary import Summary, Tally, count_reasons
from data_pipelines.supervised import Failure, SupervisedPool
from data_pipelines.writing import Kept, merge_copies, split, write_split
from recot.atomic import new_folder
from recot.errors import DataError
from recot.video_io import VideoLimits

_MIB = 2**20


def prune(config: PruneConfig) -> Summary:
    """Make ``config.output`` from ``config.source``: shards, ``audit.parquet``, ``summary.json``.

    The output appears whole at the end. One that exists, made with the same config from the same input, is left as
    it is.

    Raises:
        ConfigError: for impossible values.
        DataError: if the source or the output can't be used, or if no video is left.
    """
    config.check()
    source, output = Path(config.source), Path(config.output)
    records = read_records(source, None if config.video_root is None else Path(config.video_root))
    input_hash = hash_input(source, records)
    existing = existing_summary(config, output, input_hash)
    if existing is not None:
        sys.stdout.write(f"{output} is up to date: same input, same config. Nothing to do.\n{existing.table(output)}\n")
        return existing
    with new_folder(output, replace=config.overwrite) as folder:
        inspections, signals = _inspect(records.videos, config)
        verdicts = judge(signals, _thresholds(config))
        verdicts += judge(_compare(inspections, decide(verdicts)), _thresholds(config))
        reasons = decide(verdicts)
        kept = merge_copies(records.videos, inspections, reasons)
        if not kept:
            raise _nothing_kept(config, records, verdicts, reasons)
        splits = split(kept, config.val_fraction)
        for name, members in splits.items():
            write_split(folder / name, members, config)
        write_audit(folder, judge(_rejected_rows(records), {}) + verdicts, config.hash())
        summary = _summarize(config, input_hash, records, reasons, splits)
        summary.write(folder)
    sys.stdout.write(f"{summary.table(output)}\n")
    return summary


def _inspect(videos: list[VideoRecord], config: PruneConfig) -> tuple[dict[str, Inspection], list[SignalRow]]:
    """Look at every video in supervised children; inspections by video id, of those that could be opened."""
    limits = config.limits
    video_limits = VideoLimits(limits.max_side, limits.max_duration_s, limits.max_pixels, limits.timeout_s)
    inspections: dict[str, Inspection] = {}
    rows: list[SignalRow] = []
    pool: SupervisedPool[Path, Inspection | Failure] = SupervisedPool(
        partial(inspect_video, limits=video_limits, max_bytes=limits.max_file_mib * _MIB),
        workers=min(config.worker_count(), len(videos)),
        timeout_s=limits.timeout_s,
        memory_bytes=limits.memory_mib * _MIB,
        recycle_after=limits.recycle_after,
    )
    with pool, tqdm(total=len(videos), desc="inspecting", unit="video") as progress:
        outcomes = pool.map(record.path for record in videos)
        for record, outcome in zip(videos, outcomes, strict=True):
            found = outcome.result if outcome.failure is None else outcome.failure
            assert found is not None
            rows.extend(_signals(record.video_id, found, round(outcome.elapsed_s * 1000)))
            if isinstance(found, Inspection):
                inspections[record.video_id] = found
            progress.update()
    return inspections, rows


def _signals(video_id: str, found: Inspection | Failure, elapsed_ms: int) -> Iterator[SignalRow]:
    if isinstance(found, Failure):
        yield SignalRow(
            video_id,
            "inspect",
            "decodable",
            status="error",
            reason_code=found.reason,
            error_class=found.error_class,
            elapsed_ms=elapsed_ms,
            detail=found.message,
        )
        return
    yield SignalRow(video_id, "inspect", "decodable", 1.0, elapsed_ms=elapsed_ms)
    yield SignalRow(video_id, "inspect", "health", found.health)
    yield SignalRow(video_id, "inspect", "frames", float(found.decoded))


def _compare(inspections: dict[str, Inspection], reasons: dict[str, list[str]]) -> list[SignalRow]:
    """For every video that is good so far, how many good ones before it have the same content."""
    rows = []
    copies: dict[str, list[str]] = {}
    for video_id, inspection in inspections.items():
        if reasons[video_id]:
            continue
        earlier = copies.setdefault(inspection.key, [])
        detail = f"same content as {earlier[0]}" if earlier else ""
        rows.append(SignalRow(video_id, "compare", "earlier_copies", float(len(earlier)), detail=detail))
        earlier.append(video_id)
    return rows


def _rejected_rows(records: Records) -> list[SignalRow]:
    return [
        SignalRow(row.where, "read", "annotation_row", status="error", reason_code=row.reason, detail=row.message)
        for row in records.rejected
    ]


def _thresholds(config: PruneConfig) -> dict[str, Threshold]:
    health, frames = config.thresholds.min_health, config.thresholds.min_frames
    return {
        "health": Threshold(health, False, "low_health", "thresholds.min_health"),
        "frames": Threshold(frames, False, "too_few_frames", "thresholds.min_frames"),
        "earlier_copies": Threshold(0, True, "duplicate_content", "one copy of each content"),
    }


def _nothing_kept(
    config: PruneConfig, records: Records, verdicts: list[Verdict], reasons: dict[str, list[str]]
) -> DataError:
    counted = ", ".join(f"{count} x {reason}" for reason, count in count_reasons(reasons).items())
    first = next(verdict for verdict in verdicts if verdict.reason_code is not None)
    detail = first.row.detail or f"{first.row.signal} is {first.row.value}"
    return DataError(
        f"source={config.source}: none of {len(records.videos)} videos can be used ({counted}). "
        f"First one: {first.row.sample_id}: {detail}. Check the paths (video_root={config.video_root}) and files."
    )


def _summarize(
    config: PruneConfig,
    input_hash: str,
    records: Records,
    reasons: dict[str, list[str]],
    splits: dict[str, list[Kept]],
) -> Summary:
    kept = [member for members in splits.values() for member in members]
    lost = [r for r in records.videos if reasons[r.video_id] not in ([], ["duplicate_content"])]
    return Summary(
        config_hash=config.hash(),
        input_hash=input_hash,
        videos=Tally(len(records.videos), len(kept), sum(1 for found in reasons.values() if found)),
        rows=Tally(records.rows, records.rows - len(records.rejected), len(records.rejected)),
        questions=Tally(
            sum(len(r.qa) for r in records.videos), sum(len(k.qa) for k in kept), sum(len(r.qa) for r in lost)
        ),
        splits={name: len(members) for name, members in splits.items()},
        video_reasons=count_reasons(reasons),
        row_reasons=count_reasons({row.where: [row.reason] for row in records.rejected}),
        ignored_files=records.ignored_files,
    )
