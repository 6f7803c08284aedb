"""Makes ``report.html``."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from data_pipelines.ingest.records import RejectedRow
from data_pipelines.report.cards import Cards, clean, without_controls
from data_pipelines.report.charts import number
from data_pipelines.report.facts import check_facts
from data_pipelines.report.funnel import count_reasons, funnel, stages_of_reasons
from data_pipelines.report.pictures import Pictures, Thumbnails
from data_pipelines.report.sections import duplicate_pairs, kept_examples, reason_panels, signal_panels
from recot.atomic import write_file

REPORT_NAME = "report.html"
_PICTURE_BYTES = 6 * 2**20
"""Of the page; the rest takes less than 2 MB whatever the input."""
_REJECTED = 100
"""Rejected rows that are listed; audit.parquet has them all."""
_LONGEST_CONFIG = 200_000  # characters


@dataclass(frozen=True)
class StageTime:
    """What a stage took.

    Attributes:
        stage: its name.
        seconds: wall time.
        items: videos or questions that it worked on now.
        reused: those whose scores were there already.
        frames: decoded or encoded; None where there are none, or some were done before.
    """

    stage: str
    seconds: float
    items: int
    reused: int = 0
    frames: int | None = None


@dataclass(frozen=True)
class ReportInput:
    """Everything that a report tells.

    Attributes:
        source: what was pruned, as the user gave it.
        config: the whole config as text.
        config_hash: of the config.
        videos: one row a video: ``video_id``, media facts, signals with their ``_status``, ``dup_score``.
        samples: one row a question: ``sample_id``, ``video_id``, texts, signals.
        decided_videos: ``decision``, ``reason_codes`` and ``dup_of``, a row for each of ``videos``.
        decided_samples: the same of ``samples``.
        video_verdicts: one table a check (columns as in ``audit.AUDIT_SCHEMA``), a row for each of ``videos``; asked
            for one by one.
        sample_verdicts: the same of ``samples``.
        rows: annotation rows read, the rejected ones among them.
        rejected: rows that couldn't be used.
        times: in order of the stages.
        compared: a line for each evaluation set: how much of it could be compared.
    """

    source: str
    config: str
    config_hash: str
    videos: pa.Table
    samples: pa.Table
    decided_videos: pa.Table
    decided_samples: pa.Table
    video_verdicts: Iterable[pa.Table]
    sample_verdicts: Iterable[pa.Table]
    rows: int
    rejected: Sequence[RejectedRow]
    times: Sequence[StageTime]
    compared: Sequence[str] = ()


def write_report(folder: Path, report: ReportInput, thumbnails: Thumbnails) -> None:
    """Write ``report.html`` into ``folder``: one file of at most about 8 MB, without scripts, that needs no network.

    Args:
        folder: where it goes.
        report: what to tell. Names and texts may be anything: all are escaped.
        thumbnails: ``video_id`` -> frames, see ``pictures.Thumbnails``; called for the videos that are shown.
    """
    pictures = Pictures(thumbnails, _PICTURE_BYTES)
    cards = Cards(report.videos, report.samples, pictures)
    checks = [
        *check_facts("videos", report.video_verdicts),
        *check_facts("questions", report.sample_verdicts),
    ]
    stage_of = stages_of_reasons(checks)
    decided = {"videos": report.decided_videos, "questions": report.decided_samples}
    tables = {"videos": report.videos, "questions": report.samples}
    counts = {kind: count_reasons(table) for kind, table in decided.items()}
    page = _template().render(
        source=clean(report.source, 300),
        config=report.config[:_LONGEST_CONFIG],
        config_hash=report.config_hash,
        funnels={kind: funnel(table, stage_of) for kind, table in decided.items()},
        kept={kind: _kept(table) for kind, table in decided.items()},
        counts=counts,
        stage_of=stage_of,
        signals={
            kind: signal_panels(kind, table, [check for check in checks if check.kind == kind])
            for kind, table in tables.items()
        },
        reasons=reason_panels(checks, counts, cards),
        pairs=duplicate_pairs(report.videos, report.decided_videos, cards),
        examples=kept_examples(report.decided_videos, cards),
        rows=report.rows,
        rejected=[(clean(row.where, 90), row.reason, clean(row.message, 200)) for row in report.rejected[:_REJECTED]],
        rejected_total=len(report.rejected),
        times=report.times,
        compared=[clean(line, 600) for line in report.compared],
        left_out=pictures.left_out,
    )
    write_file(folder / REPORT_NAME, page.encode())


def _kept(decided: pa.Table) -> dict[str, int]:
    found = {row["values"]: row["counts"] for row in decided["decision"].value_counts().to_pylist()}
    return {decision: found.get(decision, 0) for decision in ("keep", "drop", "quarantine")}


def _template():  # type: ignore[no-untyped-def]
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: without_controls(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    environment.filters["percent"] = lambda share: f"{100 * share:.1f} %"
    return environment.get_template("report.html.j2")
