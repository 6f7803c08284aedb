"""The report's pictures.

Legend: n runs, R rows of timelines, L lengths, D depths.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from recot.evaluation.aggregation import Figure as Estimate
from recot.evaluation.budgets import FRAMES, TOKENS
from recot.evaluation.items import Result
from recot.evaluation.pictures import write_png
from recot.evaluation.report.runs import Told

MOST_BARS = 8
"""Runs side by side in a picture of bars; the table has all."""
EXAMPLES = 8
"""Timelines of right, and of wrong answers."""
_COLOURS = 10
_MARKERS = "os^Dv*PX"
"""The first one in all colours, then the next one: lines look different up to the eightieth."""


def budget_chart(points: Sequence[tuple[float, Told]], by: str, path: Path) -> None:
    """The headline figure with its intervals against what was seen; a line for runs that differ in this budget alone.

    Args:
        points: the runs of one suite, one or more, all with a headline figure, each after what it saw.
        by: ``tokens_kept`` or ``frames``: what that is the mean of, over a run's samples.
        path: the PNG.
    """
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    lines: dict[tuple[str, str, str], list[tuple[float, Told]]] = {}
    own_keys = TOKENS if by == "tokens_kept" else FRAMES
    for x, told in points:
        key = (_without(own_keys, told.label), told.run["data_hash"], told.run["checkpoint"])
        lines.setdefault(key, []).append((x, told))
    called = Counter(name for name, _, _ in lines)
    for i, ((name, _, _), own) in enumerate(lines.items()):
        own.sort(key=lambda point: point[0])
        estimates = [told.figures[told.headline] for _, told in own]
        axes.errorbar(
            [x for x, _ in own],
            [e.value for e in estimates],
            yerr=_errors(estimates),
            color=f"C{i % _COLOURS}",
            marker=_MARKERS[i // _COLOURS % len(_MARKERS)],
            capsize=3,
            label=name if called[name] == 1 else " to ".join(dict.fromkeys((own[0][1].label, own[-1][1].label))),
            linewidth=1,
        )
    if all(x > 0 for x, _ in points):
        axes.set_xscale("log", base=2)
    axes.set(xlabel=f"{by.replace('_', ' ')} a sample (mean)", ylabel=points[0][1].headline, ylim=(0, 1.02))
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


def _without(keys: Sequence[str], label: str) -> str:
    """A run's label without what it says of some settings."""
    words = [[part for part in word.split(",") if part.split("=")[0] not in keys] for word in label.split(" ")]
    return " ".join(",".join(parts) or "plain" for parts in words)


def _errors(estimates: Sequence[Estimate]) -> np.ndarray:
    """(2, n) lengths below and above; 0 where there is no interval."""
    pairs = [
        (0.0, 0.0) if e.low is None or e.high is None else (max(0.0, e.value - e.low), max(0.0, e.high - e.value))
        for e in estimates
    ]
    return np.array(pairs).reshape(-1, 2).T


def _legend(axes: Axes) -> None:
    axes.legend(fontsize="x-small", loc="upper left", bbox_to_anchor=(1, 1))
