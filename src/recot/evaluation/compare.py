"""``python -m recot.evaluation.compare A B``: is run B better than run A on the same questions?

The difference of each measure, over the questions that both runs scored, with its 95 % interval (percentile bootstrap
over videos, both runs' answers drawn together) and its p-value: in the null hypothesis it doesn't matter which run gave
which answers to the questions about a video, so they are swapped at random, all of a video at once (paired permutation
test, two-sided; Good 2005, "Permutation, Parametric and Bootstrap Tests of Hypotheses"; the p-value as in Phipson &
Smyth 2010, never 0). Up to 12 videos, every swap is counted instead.

Legend: U units, V videos, S strata.
"""

import argparse
import itertools
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recot.errors import DataError, report_errors
from recot.evaluation.aggregation import (
    FEWEST_VIDEOS,
    SEED,
    Measure,
    Summary,
    Units,
    interval_of,
    per_video,
    stratified_mean,
)
from recot.evaluation.controls import Control
from recot.evaluation.evidence import with_evidence
from recot.evaluation.results import Samples, differences, read_samples
from recot.evaluation.suites import SUITES
from recot.evaluation.tables import lacking_groups

SWAPS = 10_000
_EXACT_VIDEOS = 12
_EXPECTED = ("suite", "data_hash")  # of run.json: equal, or the runs can't be compared


@dataclass(frozen=True)
class Difference:
    """B minus A, paired; of fewer than 4 videos there is no interval."""

    a: float
    b: float
    low: float | None
    high: float | None
    p_value: float
    units: int
    videos: int

    @property
    def value(self) -> float:
        """B minus A."""
        return self.b - self.a


@dataclass(frozen=True)
class Run:
    """A finished results folder.

    Attributes:
        folder: its place.
        run: its run.json.
        samples: all of them.
        unscored: of its results.json.
    """

    folder: Path
    run: Mapping[str, Any]
    samples: Samples
    unscored: Mapping[str, Sequence[str]]

    @property
    def suite(self) -> str:
        """Of run.json."""
        return str(self.run["suite"])


def compare(a: Run, b: Run) -> dict[str, Difference]:
    """All measures of the suite and of its selector, by name, and the first one in each group.

    Raises:
        DataError: if the runs aren't of the same data, or scored no question in common.
    """
    _check(a, b)
    both = sorted(a.samples.results.keys() & b.samples.results.keys())
    if not both:
        raise DataError(f"{a.folder} and {b.folder} have no scored question in common: there is nothing to compare")
    found = {}
    for name, measure in _measures(a).items():
        units = [measure([run.samples.results[i] for i in both]) for run in (a, b)]
        common = set(units[0].ids) & set(units[1].ids)  # a selector's measures aren't there of every question
        if common:
            found[name] = difference(*(own.only(common) for own in units))
    return found


def unscored(a: Run, b: Run) -> dict[str, list[str]]:
    """By measure, the groups that a difference should average over and doesn't, as no question is scored by both runs.

    Where that is so, a value in the comparison isn't the one in the run's own results.json.
    """
    both = a.samples.results.keys() & b.samples.results.keys()
    found = {}
    for name, measure in _summary(a).measures.items():
        wanted = {group for run in (a, b) for group in run.unscored.get(name, ())}
        wanted.update(*(measure(list(run.samples.results.values())).strata for run in (a, b)))
        lacking = wanted - set(measure([a.samples.results[i] for i in both]).strata)
        if lacking:
            found[name] = sorted(lacking)
    return found


def difference(a: Units, b: Units) -> Difference:
    """Paired difference of a measure. Both have the same units."""
    assert (a.ids, a.videos, a.strata) == (b.ids, b.videos, b.strata)
    (sums_a, counts), (sums_b, _) = per_video(a), per_video(b)
    every = np.ones((1, len(counts)))
    value_a, value_b = (float(stratified_mean(sums, counts, every)[0]) for sums in (sums_a, sums_b))
    low, high = None, None
    if len(counts) >= FEWEST_VIDEOS:
        low, high = interval_of(sums_b - sums_a, counts, least=-1.0)  # all measures are from 0 to 1
    p_value = _p_value(sums_b - sums_a, counts)
    return Difference(value_a, value_b, low, high, p_value, len(a.ids), len(counts))


def read_run(folder: Path) -> dict[str, Run]:
    """The finished suites of a folder by name: it is one's results folder, or holds them.

    Raises:
        DataError: if there are none, or one isn't finished.
    """
    found = [path.parent for path in (folder / "run.json", *sorted(folder.glob("*/run.json"))) if path.is_file()]
    if not found:
        raise DataError(f"{folder} holds no results: there is no run.json in it or one level below")
    runs = {}
    for own in found:
        if not (own / "results.json").is_file():
            raise DataError(f"{own} isn't finished: there is no results.json. Give the command that made it again.")
        try:
            run, results = (json.loads((own / name).read_text()) for name in ("run.json", "results.json"))
            suite, lacking = run["suite"], results["unscored"]
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{own}: run.json or results.json is damaged: {error!r}. Give the command that made them again."
            ) from error
        if suite not in SUITES:
            raise DataError(f"{own}: there is no suite {suite!r}, only {', '.join(sorted(SUITES))}")
        runs[own.resolve().name] = Run(own, run, read_samples(own / "samples.jsonl"), lacking)
    return runs


def report(a: Mapping[str, Run], b: Mapping[str, Run]) -> str:
    """Markdown: a table a suite that both have, after what differs in the runs' settings.

    Suites go by the names of their folders. A suite's own folder may have any name where the other run has no such
    one: it then goes by the suite.

    Raises:
        DataError: if they have none in common, or one can't be compared.
    """
    pairs = [(name, a[name], b[name]) for name in a if name in b]
    if not pairs:
        pairs = [(one.suite, one, other) for one in a.values() for other in b.values() if one.suite == other.suite]
    if not pairs:
        suites = [", ".join(dict.fromkeys(own.suite for own in runs.values())) for runs in (a, b)]
        raise DataError(f"no suite in common: {suites[0]} in A, {suites[1]} in B")
    if len({one.folder for _, one, _ in pairs}) < len(pairs) or len({other.folder for *_, other in pairs}) < len(pairs):
        raise DataError(
            f"{', '.join(a)} in A and {', '.join(b)} in B have several of one suite: give the two folders to compare"
        )
    lines: list[str] = []
    for name, one, other in pairs:
        rows = compare(one, other)
        lines += [f"## {name}", "", *_told(one, other), ""]
        lines += ["| measure | A | B | B - A | 95 % interval | p | units | videos |", "|---" * 8 + "|"]
        for measure, d in rows.items():
            interval = "" if d.low is None or d.high is None else f"{d.low:+.4f} to {d.high:+.4f}"
            numbers = f"{d.a:.4f} | {d.b:.4f} | {d.value:+.4f} | {interval} | {d.p_value:.4f} | {d.units} | {d.videos}"
            lines.append(f"| {measure} | {numbers} |")
        lines.append("")
    paired = {own.folder for _, *both in pairs for own in both}
    only = sorted({name for runs in (a, b) for name, own in runs.items() if own.folder not in paired})
    return "\n".join([*lines, *([f"In one run only: {', '.join(only)}.", ""] if only else [])])


def main(arguments: list[str] | None = None) -> None:
    """Print the comparison; status 2 with one paragraph on stderr where there can't be one."""
    parser = argparse.ArgumentParser(
        prog="python -m recot.evaluation.compare", description="Compare two runs on the same questions, paired."
    )
    parser.add_argument("a", type=Path, help="results folder of a suite, or the folder of a run that holds several")
    parser.add_argument("b", type=Path, help="another one")
    given = parser.parse_args(arguments)
    with report_errors():
        sys.stdout.write(report(read_run(given.a), read_run(given.b)))


def _check(a: Run, b: Run) -> None:
    for key in _EXPECTED:
        if a.run.get(key) != b.run.get(key) or a.run.get(key) is None:
            raise DataError(
                f"{a.folder} and {b.folder} can't be compared: their {key} is {a.run.get(key)!r} and "
                f"{b.run.get(key)!r}. Evaluate both on the same data."
            )
    for name, result in a.samples.results.items():
        other = b.samples.results.get(name)
        if other is not None and (result.video_id, result.groups) != (other.video_id, other.groups):
            raise DataError(f"{a.folder} and {b.folder}: question {name} is about another video or in other groups")


def _told(a: Run, b: Run) -> list[str]:
    lines = [f"- A: {a.folder}", f"- B: {b.folder}"]
    lines += [f"- {key}: {old} in A, {new} in B" for key, (old, new) in differences(a.run, b.run).items()]
    failed = a.samples.failures.keys() | b.samples.failures.keys()
    if failed:
        lines.append(f"- left out, as they failed in A or B: {len(failed)}")
    scored = a.samples.results.keys() ^ b.samples.results.keys()
    if scored - failed:
        lines.append(f"- left out, as only A or B was asked: {len(scored - failed)}")
    return lines + [f"- {sentence}" for sentence in lacking_groups(unscored(a, b))]


def _summary(run: Run) -> Summary:
    return Control(**run.run["settings"]["control"]).summary(SUITES[run.run["suite"]].summary)


def _measures(run: Run) -> Mapping[str, Measure]:
    summary = with_evidence(_summary(run))
    groups = summary.by_group(list(run.samples.results.values()))
    # Cells of a needle map are too many for p-values that nothing corrects.
    return {**summary.measures, **{name: own for name, own in groups.items() if not name.startswith("cell=")}}


def _p_value(sums: np.ndarray, counts: np.ndarray) -> float:
    """Of a difference whose sums by video and stratum, (V, S), change their sign when a video's answers are swapped."""
    videos = len(sums)
    observed = abs((sums.sum(axis=0) / counts.sum(axis=0)).mean())
    exact = videos <= _EXACT_VIDEOS
    if exact:
        signs = np.array(list(itertools.product((1.0, -1.0), repeat=videos)))
    else:
        signs = np.random.default_rng(SEED).choice((1.0, -1.0), size=(SWAPS, videos))
    swapped = np.abs((signs @ sums / counts.sum(axis=0)).mean(axis=1))
    as_large = int((swapped >= observed - 1e-12).sum())  # sums in another order differ in the last bits
    return as_large / len(signs) if exact else (1 + as_large) / (1 + SWAPS)


if __name__ == "__main__":
    main()
