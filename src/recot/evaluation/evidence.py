"""Figures of how well a selector finds the evidence, from what results say that each sample saw.

Legend: U units.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from recot.errors import DataError
from recot.evaluation.aggregation import (
    FEWEST_VIDEOS,
    Measure,
    Summary,
    Units,
    bootstrap_interval,
    per_video,
    stratified_mean,
)
from recot.evaluation.items import Result

EVIDENCE = ("evidence_recall", "evidence_tokens", "all_evidence", "evidence_auroc")
"""Measures of ``recot.evaluation.selector_metrics``, as they stand in ``Result.saw``."""


@dataclass(frozen=True)
class Gain:
    """How far a selector comes from random choice (0) to the oracle's (1).

    ``value`` is None where the oracle isn't better than random: there is nothing to gain. So are the bounds of the 95 %
    interval where that is so in some of the draws, or for fewer than 4 videos.
    """

    value: float | None
    low: float | None
    high: float | None
    selector: float
    random: float
    oracle: float
    units: int


def seen(name: str) -> Measure:
    """A number of ``Result.saw``, over the results that have it; every question counts alike."""

    def measure(results: Sequence[Result]) -> Units:
        own = [result for result in results if name in result.saw]
        return Units(
            ids=tuple(result.id for result in own),
            values=np.array([result.saw[name] for result in own], dtype=np.float64),
            videos=tuple(result.video_id for result in own),
            strata=("",) * len(own),
        )

    return measure


def with_evidence(summary: Summary) -> Summary:
    """A benchmark's figures, and those of the selector where results have them."""
    return replace(summary, measures={**summary.measures, **{name: seen(name) for name in EVIDENCE}})


def normalised_gain(
    selector: Mapping[str, Result], random: Mapping[str, Result], oracle: Mapping[str, Result], measure: Measure
) -> Gain:
    """(selector - random) / (oracle - random), on the questions that all three runs scored, with its paired interval.

    Args:
        selector: results by id.
        random: of the same questions with the random selector.
        oracle: and with the oracle.
        measure: of the results, e.g. a benchmark's accuracy, or ``seen("evidence_recall")``.

    Raises:
        DataError: if no question is common to them.
    """
    common = sorted(selector.keys() & random.keys() & oracle.keys())
    measured = [measure([run[name] for name in common]) for run in (selector, random, oracle)]
    ids = set.intersection(*(set(units.ids) for units in measured))
    if not ids:
        raise DataError("no question was scored with the selector, the random one and the oracle: nothing to compare")
    units = [own.only(ids) for own in measured]
    counts = per_video(units[0])[1]
    sums = [per_video(own)[0] for own in units]
    one = np.ones((1, len(counts)))
    values = [float(stratified_mean(own, counts, one)[0]) for own in sums]
    gain, low, high = None, None, None
    if values[2] > values[1]:
        gain = (values[0] - values[1]) / (values[2] - values[1])
        if len(counts) >= FEWEST_VIDEOS:
            low, high = _interval(sums, counts)
    return Gain(gain, low, high, selector=values[0], random=values[1], oracle=values[2], units=len(ids))


def gain_of_runs(folders: Mapping[str, Any], measure: Measure) -> Gain:
    """``normalised_gain`` of three results folders, keyed ``selector``, ``random`` and ``oracle``.

    Args:
        folders: each as ``recot.evaluation.compare.read_run`` gives one.
        measure: as for ``normalised_gain``.

    Raises:
        DataError: if they aren't of the same data, or their control says another selector.
    """
    wanted = {"selector": "model", "random": "random", "oracle": "oracle"}
    for name, kind in wanted.items():
        own = folders[name]
        control = own.run["settings"]["control"]
        if control["selector"] != kind:
            raise DataError(f"{own.folder}: made with control.selector={control['selector']}, not {kind}")
        for key in ("suite", "data_hash", "checkpoint"):
            if own.run[key] != folders["selector"].run[key]:
                raise DataError(f"{own.folder} and {folders['selector'].folder} differ in their {key}")
    selector, random, oracle = (folders[name].samples.results for name in wanted)
    return normalised_gain(selector, random, oracle, measure)


def _interval(sums: list[np.ndarray], counts: np.ndarray) -> tuple[float | None, float | None]:
    reached, possible = sums[0] - sums[1], sums[2] - sums[1]
    degenerate = False

    def ratio(weights: np.ndarray) -> np.ndarray:
        nonlocal degenerate
        below = stratified_mean(possible, counts, weights)
        degenerate = bool((below <= 0).any())
        return stratified_mean(reached, counts, weights) / np.where(below > 0, below, 1)

    low, high = bootstrap_interval(ratio, len(counts))
    return (None, None) if degenerate else (low, high)
