"""A results.json as text for people."""

from collections.abc import Mapping, Sequence
from typing import Any

from recot.evaluation.aggregation import Figure
from recot.evaluation.results import read_figures


def table(name: str, report: Mapping[str, Any]) -> str:
    """Markdown: the figures of a suite with their intervals, and how many samples they are of."""
    samples = report["samples"]
    heading = f"{name}: {samples['scored']} of {samples['all']} questions scored, {samples['failed']} failed"
    rows = [
        f"| {key} | {number(own.value)} | {interval(own)} | {own.units} | {own.videos} |"
        for key, own in read_figures(report).items()
    ]
    lines = [heading, "", "| figure | value | 95 % interval | units | videos |", "|---" * 5 + "|", *rows]
    lacking = lacking_groups(report["unscored"])
    return "\n".join([*lines, *(["", *lacking] if lacking else [])])


def lacking_groups(unscored: Mapping[str, Sequence[str]]) -> list[str]:
    """A sentence for each figure that is a mean over groups and lacks some: the ``unscored`` of a results.json."""
    return [f"{key} leaves out {', '.join(own)}: no score there" for key, own in unscored.items()]


def number(value: float) -> str:
    """As in all tables."""
    return f"{value:.3f}"


def interval(figure: Figure) -> str:
    """Of few videos there is none."""
    if figure.low is None or figure.high is None:
        return ""
    return f"{number(figure.low)} to {number(figure.high)}"
