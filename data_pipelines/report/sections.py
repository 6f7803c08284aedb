"""The parts of a report as plain values, which the template only arranges."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from markupsafe import Markup

from data_pipelines.report.cards import Card, Cards
from data_pipelines.report.charts import histogram, number
from data_pipelines.report.facts import CheckFacts
from data_pipelines.report.funnel import ReasonCount

_WEAKEST, _STRONGEST = 4, 2
"""Pairs of duplicates shown of each kind: those with the lowest scores, and with the highest."""
_KEPT = 12


@dataclass(frozen=True)
class SignalPanel:
    """The values of one signal.

    Attributes:
        name: of the signal.
        stage: that measures it.
        chart: SVG, None where nothing was measured.
        counts: status -> rows.
        rules: reason code, threshold in words, and rows lost, of each rule on it.
    """

    name: str
    stage: str
    chart: Markup | None
    counts: dict[str, int]
    rules: list[tuple[str, str, int]]


@dataclass(frozen=True)
class ReasonPanel:
    """One reason of videos or of questions: its count, what it is about, examples, and rows next to the threshold."""

    kind: str
    code: str
    count: ReasonCount | None
    stage: str
    signal: str
    threshold: str
    examples: list[Card]
    just_lost: list[Card]
    just_passed: list[Card]


@dataclass(frozen=True)
class Pair:
    """A duplicate beside the video that stays."""

    kind: str
    score: float | None
    copy: Card
    kept: Card


def signal_panels(kind: str, table: pa.Table, checks: Sequence[CheckFacts]) -> list[SignalPanel]:
    """A panel for each signal of a table that was checked: column ``<signal>`` with ``<signal>_status`` beside it."""
    panels = []
    for signal in dict.fromkeys(check.signal for check in checks):
        if f"{signal}_status" not in table.column_names:
            continue
        of_signal = [check for check in checks if check.signal == signal]
        values = table[signal].cast(pa.float64()).to_numpy()
        status = table[f"{signal}_status"]
        usable = pc.is_in(status, value_set=pa.array(["ok", "proxy"])).to_numpy(zero_copy_only=False)
        values = values[usable & np.isfinite(values)]
        bounds = sorted(bound for check in of_signal for bound in check.bounds)
        sides = {check.low_is_bad for check in of_signal if check.bounds}
        label = f"{signal} of {len(values)} {kind}"
        chart = histogram(values, bounds, sides.pop() if len(sides) == 1 else None, label) if len(values) else None
        found = {row["values"] or "not measured": row["counts"] for row in pc.value_counts(status).to_pylist()}
        rules = [(code, threshold_words(check), n) for check in of_signal for code, n in check.reasons.items()]
        rules += [("", threshold_words(check), 0) for check in of_signal if check.bounds and not check.reasons]
        panels.append(SignalPanel(signal, of_signal[0].stage, chart, dict(sorted(found.items())), rules))
    return panels


def reason_panels(
    checks: Sequence[CheckFacts], counts: dict[str, list[ReasonCount]], cards: Cards
) -> list[ReasonPanel]:
    """A panel for each reason of each check, those of most rows first."""
    panels = []
    for check in checks:
        for code in check.reasons:
            known = {count.code: count for count in counts[check.kind]}
            judged = not code.endswith("_error")
            panels.append(
                ReasonPanel(
                    kind=check.kind,
                    code=code,
                    count=known.get(code),
                    stage=check.stage,
                    signal=check.signal,
                    threshold=threshold_words(check),
                    examples=[cards.make(check.kind, row, check) for row in check.examples[code]],
                    just_lost=[cards.make(check.kind, row, check) for row in check.just_lost] if judged else [],
                    just_passed=[cards.make(check.kind, row, check) for row in check.just_passed] if judged else [],
                )
            )
    return sorted(panels, key=lambda panel: (panel.kind != "videos", -(panel.count.rows if panel.count else 0)))


def threshold_words(check: CheckFacts) -> str:
    """The threshold, and where it comes from."""
    if not check.bounds:
        return check.source or ""
    sign = {True: "at least ", False: "at most ", None: ""}[check.low_is_bad]
    first, last = check.bounds[0], check.bounds[-1]
    span = number(first) if first == last else f"{number(first)} to {number(last)}"
    return f"{sign}{span} — {check.source}" if check.source else f"{sign}{span}"


def duplicate_pairs(videos: pa.Table, decided: pa.Table, cards: Cards) -> list[Pair]:
    """Some duplicates of each kind beside the video that stays: the least alike ones, and the most alike."""
    stays = pc.fill_null(pc.index_in(decided["dup_of"], value_set=videos["video_id"]), -1).to_numpy()
    rows = np.flatnonzero(stays >= 0)
    score = np.full(len(stays), np.nan)
    if "dup_score" in videos.column_names:
        score = videos["dup_score"].cast(pa.float64()).to_numpy()
    kinds: dict[str, list[int]] = {}
    for row in rows.tolist():
        codes = decided["reason_codes"][row].as_py()
        found = [code.removeprefix("duplicate_") for code in codes if code.startswith("duplicate_")]
        kinds.setdefault(found[0] if found else "duplicate", []).append(row)
    pairs = []
    for kind, members in sorted(kinds.items()):
        order = np.array(members)[np.argsort(score[members], kind="stable")]  # those without a score last
        chosen = dict.fromkeys([*order[:_WEAKEST].tolist(), *order[-_STRONGEST:].tolist()])
        for row in chosen:
            value = None if np.isnan(score[row]) else float(score[row])
            pairs.append(Pair(kind, value, cards.make("videos", row), cards.make("videos", int(stays[row]))))
    return pairs


def kept_examples(decided: pa.Table, cards: Cards) -> list[Card]:
    """Some kept videos, evenly spread over the input."""
    rows = np.flatnonzero(pc.equal(decided["decision"], "keep").to_numpy(zero_copy_only=False))
    places = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _KEPT)).round().astype(np.int64))
    return [cards.make("videos", int(row)) for row in rows[places]]
