"""Makes ``report.html`` and its pictures."""

import base64
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from recot.atomic import write_file
from recot.evaluation.evidence import EVIDENCE
from recot.evaluation.report import charts
from recot.evaluation.report.runs import Told, gains
from recot.evaluation.suites import SUITES
from recot.evaluation.tables import interval, lacking_groups, number

REPORT_NAME = "report.html"
_LISTED = 50
"""Failures, and unread replies, that are listed of a run; samples.jsonl has them all."""
_LONGEST = 200  # characters of a reply or message
_TIMELINES = 6
"""Runs of a suite whose timelines are drawn."""
_MOST_GROUPS = 40
"""A grouping of more isn't drawn as bars."""


@dataclass(frozen=True)
class Picture:
    """A PNG in the page."""

    title: str
    uri: str


@dataclass(frozen=True)
class Section:
    """One suite."""

    name: str
    runs: list[Told]
    columns: list[str]  # figures of the table
    groups: list[str]  # figures of the table by group
    data: dict[tuple[str, frozenset[str]], list[str]]  # hash of the data, ids of the questions -> labels of the runs
    pictures: list[Picture]


def write_report(folder: Path, runs: Sequence[Told], unfinished: Sequence[Path]) -> Path:
    """Write ``report.html``, which has everything in it, and ``pictures/``.

    Args:
        folder: where to.
        runs: any, of any suites.
        unfinished: results folders that are only named.

    Returns:
        The page's path.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sections = [_section(name, [told for told in runs if told.suite == name], folder) for name in _names(runs)]
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": number,
        "interval": interval,
        "lacking": lacking_groups,
        "short": _short,
        "json": _pretty,
    }
    page = environment.get_template("report.html.j2").render(
        sections=sections,
        runs=runs,
        gains=gains(runs),
        unfinished=unfinished,
        evidence=EVIDENCE,
        listed=_LISTED,
        unread={told.folder: _unread(told) for told in runs},
        failed={told.folder: list(told.samples.failures.values()) for told in runs},
    )
    path = folder / REPORT_NAME
    write_file(path, page.encode())
    return path


def _section(name: str, runs: list[Told], folder: Path) -> Section:
    measures = {key for told in runs for key in SUITES[told.run["suite"]].summary.measures}
    figures = list(dict.fromkeys(key for told in runs for key in told.figures))
    data: dict[tuple[str, frozenset[str]], list[str]] = {}
    for told in runs:
        data.setdefault((told.run["data_hash"], told.asked), []).append(told.label)
    return Section(
        name=name,
        runs=runs,
        columns=[key for key in figures if key in measures or key in ("unparsed", "circular_options")],
        groups=[key for key in figures if "=" in key and not key.startswith("cell=")],
        data=data,
        pictures=list(_pictures(name, runs, folder / "pictures")),
    )


def _pictures(name: str, runs: list[Told], folder: Path) -> Iterator[Picture]:
    base = re.sub(r"\W+", "_", name)
    ranked = [told for told in runs if told.headline in told.figures]
    for by in ("tokens_kept", "frames"):
        points = [(seen, told) for told in ranked if (seen := told.mean(by)) is not None]
        if points:
            path = folder / f"{base}_{by}.png"
            charts.budget_chart(points, by, path)
            which = ", of the runs that tell it" if len(points) < len(ranked) else ""
            yield _picture(f"{runs[0].headline} against {by.replace('_', ' ')}{which}", path)
    for grouping in SUITES[runs[0].run["suite"]].summary.tables:
        count = len({key for told in ranked for key in told.figures if key.startswith(f"{grouping}=")})
        if grouping != "cell" and 1 <= count <= _MOST_GROUPS:
            path = folder / f"{base}_{grouping}.png"
            charts.bars(ranked, grouping, path)
            left_out = f", the first {charts.MOST_BARS} runs" if len(ranked) > charts.MOST_BARS else ""
            yield _picture(f"mean score by {grouping}{left_out}", path)
    for i, told in enumerate(runs):
        if any(key.startswith("cell=") for key in told.figures):
            path = folder / f"{base}_map_{i}.png"
            charts.needle_map(told, path)
            yield _picture(f"needle: {told.label}", path)
    timed = [told for told in runs if charts.has_timelines(told)]
    left_out = f", the first {_TIMELINES} runs" if len(timed) > _TIMELINES else ""
    for i, told in enumerate(timed[:_TIMELINES]):
        path = folder / f"{base}_timelines_{i}.png"
        charts.timelines(told, path)
        yield _picture(f"kept over time (blue), evidence (red){left_out}: {told.label}", path)


def _names(runs: Sequence[Told]) -> list[str]:
    return list(dict.fromkeys(told.suite for told in runs))


def _picture(title: str, path: Path) -> Picture:
    return Picture(title, "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode())


def _unread(told: Told) -> list[tuple[str, str]]:
    """Ids and replies that no answer could be read from."""
    return [(own.id, own.reply) for own in told.samples.results.values() if own.answer is None]


def _short(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= _LONGEST else words[: _LONGEST - 1] + "…"


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=1, sort_keys=True)
