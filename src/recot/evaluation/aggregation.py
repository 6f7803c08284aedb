"""From results to a benchmark's figures, with 95 % intervals that know that questions share videos.

Every figure is a mean over strata of means over units: the pooled accuracy has one stratum, an average over tasks has
one a task; a unit is a question, or the 4 tries of a circular one. The interval is the percentile bootstrap over
videos: all units of a video are drawn together, so that averages over tasks come with theirs too (Field & Welsh 2007,
"Bootstrapping clustered data"; for benchmarks, Miller 2024, arXiv 2411.00640, whose clustered standard errors it agrees
with). Of few videos, percentiles are too narrow: they are expanded as by Hesterberg 2015 (arXiv 1411.5279).
torchmetrics averages over classes of answers, not over tasks, and draws samples, not videos.

Legend: U units, V videos, S strata.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import norm, t

from recot.evaluation.items import Result

DRAWS = 2000
TAIL = 0.025
SEED = 0
FEWEST_VIDEOS = 4
"""Of fewer, draws say too little: 2 or 3 videos that happen to agree would give an interval of almost no width."""


@dataclass(frozen=True)
class Units:
    """What a figure averages."""

    ids: tuple[str, ...]  # U
    values: np.ndarray  # (U,) float64, 0 to 1
    videos: tuple[str, ...]  # U
    strata: tuple[str, ...]  # U

    def only(self, ids: set[str]) -> "Units":
        """Those with the given ids, in order."""
        kept = [i for i, own in enumerate(self.ids) if own in ids]
        return Units(
            tuple(self.ids[i] for i in kept),
            self.values[kept],
            tuple(self.videos[i] for i in kept),
            tuple(self.strata[i] for i in kept),
        )


@dataclass(frozen=True)
class Figure:
    """A mean with its 95 % interval; of fewer than 4 videos there is none, unless all units are right, or all wrong."""

    value: float
    low: float | None
    high: float | None
    units: int
    videos: int


Measure = Callable[[Sequence[Result]], Units]


@dataclass(frozen=True)
class Summary:
    """Which figures a benchmark has.

    Attributes:
        measures: by name; the first is the one that the benchmark ranks by.
        tables: names of groupings; the first measure is also taken in each of their groups.
    """

    measures: Mapping[str, Measure]
    tables: tuple[str, ...] = ()

    def figures(self, results: Sequence[Result]) -> dict[str, Figure]:
        """All figures by name: measures, ``unparsed`` (replies that couldn't be read), then ``<grouping>=<group>``.

        Figures without a unit are left out. The order of the results doesn't matter.
        """
        ordered = sorted(results, key=lambda result: result.id)
        units = {name: measure(ordered) for name, measure in self.measures.items()}
        units["unparsed"] = unparsed(ordered)
        units |= {name: measure(ordered) for name, measure in self.by_group(ordered).items()}
        return {name: estimate(own) for name, own in units.items() if own.ids}

    def by_group(self, results: Sequence[Result]) -> dict[str, Measure]:
        """The first measure in each group that results are in, by ``<grouping>=<group>``."""
        first = next(iter(self.measures.values()))

        def within(table: str, group: str) -> Measure:
            return lambda some: first([result for result in some if group in result.groups.get(table, ())])

        found: dict[str, Measure] = {}
        for table in self.tables:
            groups = {group for result in results for group in result.groups.get(table, ())}
            found |= {f"{table}={group}": within(table, group) for group in sorted(groups, key=_numbers_by_size)}
        return found

    def unscored(self, results: Sequence[Result], asked: Sequence[Result]) -> dict[str, list[str]]:
        """By measure, the groups that it should average over and that have no unit, so that it is of the others only.

        Args:
            results: those that have a score.
            asked: one for every question; what was answered doesn't matter.
        """
        lacking = {
            name: sorted(set(measure(asked).strata) - set(measure(results).strata), key=_numbers_by_size)
            for name, measure in self.measures.items()
        }
        return {name: groups for name, groups in lacking.items() if groups}


def pooled(results: Sequence[Result]) -> Units:
    """Every question counts alike (micro)."""
    return _units(results, lambda result: result.score, lambda result: "")


def mean_over(grouping: str) -> Measure:
    """Every group counts alike, however many questions it has (macro)."""

    def measure(results: Sequence[Result]) -> Units:
        return _units(results, lambda result: result.score, lambda result: result.groups[grouping][0])

    return measure


def recall_at(iou: float) -> Measure:
    """The share of questions whose span has this IoU or more: R@1."""

    def measure(results: Sequence[Result]) -> Units:
        return _units(results, lambda result: float(result.score >= iou), lambda result: "")

    return measure


def circular(question: str, tries: int | str, stratum: str | None) -> Measure:
    """Right are questions that were answered right in every one of their tries.

    Args:
        question: grouping that the tries of a question share; a result that isn't in it counts nowhere.
        tries: how many make a question, or the grouping that tells; one with fewer, as some failed, counts nowhere.
        stratum: grouping of which every group counts alike; None pools.
    """

    def measure(results: Sequence[Result]) -> Units:
        whole = _whole_questions(results, question, tries)
        return Units(
            ids=tuple(whole),
            values=np.array([min(result.score for result in own) for own in whole.values()], dtype=np.float64),
            videos=tuple(own[0].video_id for own in whole.values()),
            strata=tuple("" if stratum is None else own[0].groups[stratum][0] for own in whole.values()),
        )

    return measure


def over_tries(measure: Measure, question: str, tries: str) -> Measure:
    """A measure of questions instead of their tries: a question's score is the mean of its tries'.

    Args:
        measure: of results with a score each.
        question: grouping that the tries of a question share; a result that isn't in it is a question by itself.
        tries: grouping that tells how many make a question; one with fewer, as some failed, counts nowhere.
    """

    def measured(results: Sequence[Result]) -> Units:
        alone = [result for result in results if question not in result.groups]
        whole = _whole_questions(results, question, tries)
        means = {name: float(np.mean([result.score for result in own])) for name, own in whole.items()}
        return measure([*alone, *(replace(own[0], id=name, score=means[name]) for name, own in whole.items())])

    return measured


def unparsed(results: Sequence[Result]) -> Units:
    """1 for every reply that couldn't be read."""
    return _units(results, lambda result: float(result.answer is None), lambda result: "")


def estimate(units: Units) -> Figure:
    """The mean and its interval."""
    sums, counts = per_video(units)
    value = float((sums.sum(axis=0) / counts.sum(axis=0)).mean())
    videos = len(sums)
    low, high = None, None
    extreme = units.values[0] in (0, 1) and bool((units.values == units.values[0]).all())
    if videos >= FEWEST_VIDEOS or (videos > 1 and extreme):
        low, high = interval_of(sums, counts, least=0.0)
    return Figure(value, low, high, len(units.ids), videos)


def per_video(units: Units) -> tuple[np.ndarray, np.ndarray]:
    """(V, S) float64 sums of values and (V, S) counts, videos and strata in order of their names."""
    videos, row = np.unique(np.array(units.videos, dtype=object).astype(str), return_inverse=True)
    strata, column = np.unique(np.array(units.strata, dtype=object).astype(str), return_inverse=True)
    sums, counts = np.zeros((len(videos), len(strata))), np.zeros((len(videos), len(strata)))
    np.add.at(sums, (row, column), units.values)
    np.add.at(counts, (row, column), 1)
    return sums, counts


def stratified_mean(sums: np.ndarray, counts: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Figures of resampled data: (draws,) float64. A stratum that a draw lacks is left out of its mean.

    Args:
        sums: (V, S).
        counts: (V, S).
        weights: (draws, V) how often each video was drawn.
    """
    count = weights @ counts
    shares = np.divide(weights @ sums, count, out=np.full(count.shape, np.nan), where=count > 0)
    return np.nanmean(shares, axis=1)


def interval_of(sums: np.ndarray, counts: np.ndarray, *, least: float) -> tuple[float, float]:
    """The interval of a figure by ``bootstrap_interval``.

    Where all draws score the same, as all videos are alike, they say nothing of others: then of as many others as there
    may be, all have the least value, or all have 1.

    Args:
        sums: (V, S).
        counts: (V, S).
        least: possible value.
    """
    low, high = bootstrap_interval(lambda weights: stratified_mean(sums, counts, weights), len(counts))
    if high - low < 1e-9:
        others = unseen_share(counts)
        low, high = (min(1.0, max(least, low * (1 - others) + end * others)) for end in (least, 1.0))
    return low, high


def bootstrap_interval(figure: Callable[[np.ndarray], np.ndarray], videos: int) -> tuple[float, float]:
    """The middle of a figure over draws of as many videos with replacement; the same on every call.

    It is the middle 95 % of draws where there are many videos, and more where there are few, by as much as Student's
    interval of a mean with V - 1 degrees of freedom is wider than the normal one with the draws' standard deviation.

    Args:
        figure: (draws, V) weights to (draws,) values.
        videos: V, 2 or more.
    """
    tail = norm.cdf(np.sqrt(videos / (videos - 1)) * t.ppf(TAIL, videos - 1))
    rng = np.random.default_rng(SEED)
    weights = rng.multinomial(videos, np.full(videos, 1 / videos), size=DRAWS).astype(np.float64)
    low, high = np.quantile(figure(weights), [tail, 1 - tail])
    return float(low), float(high)


def unseen_share(counts: np.ndarray) -> float:
    """Where all videos are alike: the most of others that there may be (Clopper-Pearson, with a video as one trial).

    Args:
        counts: (V, S) units of each video and stratum.
    """
    videos = (counts > 0).sum(axis=0)
    return 1 - float(np.mean(TAIL ** (1 / videos)))


def _whole_questions(results: Sequence[Result], question: str, tries: int | str) -> dict[str, list[Result]]:
    """The results of each question of which no try failed; see ``circular``."""
    asked: dict[str, list[Result]] = {}
    for result in results:
        if question in result.groups:
            asked.setdefault(result.groups[question][0], []).append(result)
    wanted = {name: int(own[0].groups[tries][0]) if isinstance(tries, str) else tries for name, own in asked.items()}
    return {name: own for name, own in asked.items() if len(own) == wanted[name]}


def _units(results: Sequence[Result], value: Callable[[Result], float], stratum: Callable[[Result], str]) -> Units:
    return Units(
        ids=tuple(result.id for result in results),
        values=np.array([value(result) for result in results], dtype=np.float64),
        videos=tuple(result.video_id for result in results),
        strata=tuple(stratum(result) for result in results),
    )


def _numbers_by_size(name: str) -> list[tuple[bool, float, str]]:
    """Sorts ``10%`` after ``9%``."""
    parts = re.split(r"(\d+)", name)
    return [(not part.isdigit(), float(part) if part.isdigit() else 0.0, part) for part in parts if part]
