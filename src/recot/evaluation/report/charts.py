"""The report's pictures.

Legend: n runs, R rows of timelines, L lengths, D depths.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from recot.evaluation.aggregation import Figure as Estimate
from recot.evaluation.budgets import BUDGETS
from recot.evaluation.items import Result
from recot.evaluation.pictures import write_png
from recot.evaluation.report.runs import Told

MOST_BARS = 8
"""Runs side by side in a picture of bars; the table has all."""
EXAMPLES = 8
"""Timelines of right, and of wrong answers."""


def budget_chart(runs: Sequence[Told], by: str, path: Path) -> None:
    """The headline figure with its intervals against what was seen; a line for runs that differ in budgets alone.

    Args:
        runs: of one suite, one or more, all with a headline figure.
        by: ``tokens_kept`` or ``frames``: the mean of a run's samples.
        path: the PNG.
    """
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    lines: dict[str, list[Told]] = {}
    for told in runs:
        lines.setdefault(_without_budgets(told.label), []).append(told)
    for label, own in lines.items():
        own = sorted(own, key=lambda told: told.mean(by))
        estimates = [told.figures[told.headline] for told in own]
        x = [told.mean(by) for told in own]
        axes.errorbar(
            x, [e.value for e in estimates], yerr=_errors(estimates), marker="o", capsize=3, label=label, linewidth=1
        )
    if all(told.mean(by) > 0 for told in runs):
        axes.set_xscale("log", base=2)
    axes.set(xlabel=f"{by.replace('_', ' ')} a sample (mean)", ylabel=runs[0].headline, ylim=(0, 1.02))
    axes.grid(alpha=0.3)
    _legend(axes)
    write_png(figure, path)


def bars(runs: Sequence[Told], grouping: str, path: Path) -> None:
    """The mean score in each group of a grouping, a bar a run."""
    runs = runs[:MOST_BARS]
    names = list(dict.fromkeys(name for told in runs for name in told.figures if name.startswith(f"{grouping}=")))
    figure = Figure(figsize=(max(7.0, 0.28 * len(names) * (len(runs) + 1)), 4), layout="constrained")
    axes = figure.add_subplot()
    width = 0.8 / len(runs)
    for i, told in enumerate(runs):
        shown = [(x, told.figures[name]) for x, name in enumerate(names) if name in told.figures]
        estimates = [estimate for _, estimate in shown]
        axes.bar(
            [x + (i - (len(runs) - 1) / 2) * width for x, _ in shown],
            [e.value for e in estimates],
            width,
            yerr=_errors(estimates),
            error_kw={"linewidth": 0.8},
            label=told.label,
        )
    axes.set_xticks(range(len(names)), [name.split("=", 1)[1] for name in names], rotation=30, ha="right")
    axes.set(ylabel="mean score", ylim=(0, 1.02))
    _legend(axes)
    write_png(figure, path)


def needle_map(told: Told, path: Path) -> None:
    """Accuracy by length and depth, (L, D) cells."""
    cells = {name: own.value for name, own in told.figures.items() if name.startswith("cell=")}
    places = {name: name.removeprefix("cell=").split(", ") for name in cells}
    lengths = sorted({int(length) for length, _ in places.values()})
    depths = sorted({int(depth.rstrip("%")) for _, depth in places.values()})
    grid = np.full((len(depths), len(lengths)), np.nan)
    for name, value in cells.items():
        length, depth = places[name]
        grid[depths.index(int(depth.rstrip("%"))), lengths.index(int(length))] = value
    figure = Figure(figsize=(1.6 + 0.75 * len(lengths), 1.4 + 0.36 * len(depths)), layout="constrained")
    axes = figure.add_subplot()
    picture = axes.imshow(grid, vmin=0, vmax=1, cmap="RdYlGn", aspect="auto")
    for (row, column), value in np.ndenumerate(grid):
        if np.isfinite(value):
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize="x-small")
    axes.set_xticks(range(len(lengths)), [str(length) for length in lengths])
    axes.set_yticks(range(len(depths)), [f"{depth}%" for depth in depths])
    axes.set(xlabel="frames", ylabel="depth of the needle", title=told.label)
    figure.colorbar(picture, ax=axes, label="accuracy")
    write_png(figure, path)


@dataclass(frozen=True)
class _Timeline:
    name: str
    shares: np.ndarray  # (cells,) of tokens kept, 0 to 1
    evidence: list[tuple[float, float]]  # 0 to 1 of the video


def has_timelines(told: Told) -> bool:
    """Whether the trained selector chose anything in this run."""
    return told.control["selector"] == "model" and any("timeline" in own.saw for own in told.samples.results.values())


def timelines(told: Told, path: Path) -> None:
    """What was kept of videos, with the evidence where it is known: for right answers, and for wrong ones."""
    results = [own for own in told.samples.results.values() if "timeline" in own.saw]
    sides = {
        "right": [own for own in results if own.score >= 0.5],
        "wrong": [own for own in results if own.score < 0.5],
    }
    figure = Figure(figsize=(11, 0.8 + 0.32 * EXAMPLES), layout="constrained")
    figure.suptitle(told.label, parse_math=False)
    for axes, (side, own) in zip(figure.subplots(1, 2), sides.items(), strict=True):
        chosen = [own[i] for i in np.unique(np.linspace(0, len(own) - 1, min(len(own), EXAMPLES)).astype(int))]
        _draw(axes, [_timeline(result) for result in chosen])
        axes.set_title(f"{side} answers ({len(own)})", fontsize="small")
    write_png(figure, path)


def _timeline(result: Result) -> _Timeline:
    saw = result.saw
    shown, spans = saw["shown_span"], saw.get("evidence", [])
    assert isinstance(shown, list)
    assert isinstance(spans, list)
    start, end = (float(seconds) for seconds in shown)
    length = max(end - start, 1e-6)
    return _Timeline(
        result.id,
        np.array(saw["timeline"], dtype=np.float64),
        [(float(np.clip((a - start) / length, 0, 1)), float(np.clip((b - start) / length, 0, 1))) for a, b in spans],
    )


def _draw(axes: Axes, rows: list[_Timeline]) -> None:
    axes.set_yticks(range(len(rows)), [row.name[-24:] for row in rows], fontsize="x-small")
    axes.set_xticks([0, 1], ["start", "end"], fontsize="x-small")
    if not rows:
        return
    shares = np.stack([row.shares for row in rows])
    axes.imshow(shares, aspect="auto", cmap="Blues", vmin=0, vmax=1, extent=(0, 1, len(rows) - 0.5, -0.5))
    for i, row in enumerate(rows):
        for start, end in row.evidence:
            axes.plot([start, max(end, start + 0.004)], [i + 0.38, i + 0.38], color="tab:red", linewidth=2.5)
    axes.set_xlim(0, 1)


def _without_budgets(label: str) -> str:
    """A run's label without what it says of budgets."""
    words = label.split(" ")
    parts = [part for part in words[-1].split(",") if part.split("=")[0] not in BUDGETS]
    return " ".join([*words[:-1], ",".join(parts) or "plain"])


def _errors(estimates: Sequence[Estimate]) -> np.ndarray:
    """(2, n) lengths below and above; 0 where there is no interval."""
    pairs = [
        (0.0, 0.0) if e.low is None or e.high is None else (max(0.0, e.value - e.low), max(0.0, e.high - e.value))
        for e in estimates
    ]
    return np.array(pairs).reshape(-1, 2).T


def _legend(axes: Axes) -> None:
    axes.legend(fontsize="x-small", loc="upper left", bbox_to_anchor=(1, 1))
