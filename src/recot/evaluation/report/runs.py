"""Finished results folders, as a report needs them."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from recot.errors import DataError
from recot.evaluation.aggregation import Figure
from recot.evaluation.compare import Run
from recot.evaluation.controls import TURN, Control
from recot.evaluation.costs import OWN
from recot.evaluation.evidence import EVIDENCE, Gain, gain_of_runs, seen
from recot.evaluation.results import Samples, read_figures, read_samples
from recot.evaluation.suites import SUITES


@dataclass(frozen=True)
class Told:
    """A run of a suite.

    Attributes:
        folder: its results folder.
        label: short, tells it from the suite's other runs of a report.
        run: its run.json.
        report: its results.json.
        costs: its costs.json.
        samples: all of them.
    """

    folder: Path
    label: str
    run: Mapping[str, Any]
    report: Mapping[str, Any]
    costs: Mapping[str, Any]
    samples: Samples

    @property
    def suite(self) -> str:
        """Name of the benchmark, and whether subtitles were told."""
        return str(self.run["suite"]) + (" with subtitles" if self.run["settings"]["subtitles"] else "")

    @property
    def control(self) -> Mapping[str, Any]:
        """Its control's fields."""
        control: Mapping[str, Any] = self.run["settings"]["control"]
        return control

    @property
    def headline(self) -> str:
        """The figure that the benchmark ranks by."""
        return next(iter(SUITES[self.run["suite"]].summary.measures))

    @property
    def figures(self) -> dict[str, Figure]:
        """By name."""
        return read_figures(self.report)

    @property
    def own_share(self) -> float | None:
        """``own_share`` of costs.json; None where no sample tells what its model took: all seconds are ``own`` then."""
        return float(self.costs["own_share"]) if self.costs["seconds"].keys() - {OWN} else None

    @property
    def asked(self) -> frozenset[str]:
        """Ids of the questions, those that failed too; a question that was asked in every rotation is one."""
        turns = {own.groups["circular"][0] for own in self.samples.results.values() if "circular" in own.groups}
        if turns:
            return frozenset(turns | {name.rpartition(TURN)[0] for name in self.samples.failures})
        return frozenset(self.samples.results) | frozenset(self.samples.failures)

    def mean(self, name: str) -> float | None:
        """Of the samples' frames, pixels or tokens; None where no sample tells it."""
        found: float | None = self.costs["mean"].get(name)
        return found


def read_runs(folders: Sequence[Path]) -> tuple[list[Told], list[Path]]:
    """All runs in some folders, at any depth.

    Returns:
        Those that are finished, by folder, those without a control first; and the folders of those that aren't, or of
        which all samples failed.

    Raises:
        DataError: if none is finished, or one is damaged.
    """
    # Labels are names of folders above: of ".", these are known of the whole path only.
    found = sorted({path.parent for folder in folders for path in folder.resolve().rglob("run.json")})
    finished = [own for own in found if (own / "results.json").is_file()]
    if not finished:
        raise DataError(
            f"{', '.join(map(str, folders))}: no finished results in there, {len(found)} unfinished ones. Give folders "
            "that `python src/eval.py evaluation=...` made."
        )
    scored = _labelled([told for told in map(_told, finished) if told.figures])
    scored.sort(key=lambda told: told.control != asdict(Control()))  # what pictures leave out are controls
    return scored, [own for own in found if own not in {told.folder for told in scored}]


def gains(runs: Iterable[Told]) -> list[tuple[Told, str, Gain]]:
    """Normalised gains, for each run of the trained selector that has a random and an oracle one to compare with.

    Returns:
        The run, the name of the figure, and its gain.
    """
    alike: dict[str, dict[str, Told]] = {}
    for told in runs:
        settings = {**told.run["settings"], "control": {**told.control, "selector": None}}
        same = [told.run.get(name) for name in ("suite", "data_hash", "prompts", "checkpoint")]
        key = json.dumps([*same, settings], sort_keys=True)
        alike.setdefault(key, {})[told.control["selector"]] = told
    found = []
    for own in alike.values():
        if not {"model", "random", "oracle"} <= own.keys():
            continue
        triple = {
            name: Run(own[kind].folder, own[kind].run, own[kind].samples, own[kind].report["unscored"])
            for name, kind in (("selector", "model"), ("random", "random"), ("oracle", "oracle"))
        }
        model = own["model"]
        summary = Control(**model.control).summary(SUITES[model.run["suite"]].summary)
        measures = {model.headline: summary.measures[model.headline]}
        measures |= {name: seen(name) for name in EVIDENCE[:3]}
        for name, measure in measures.items():
            if all(name in told.figures for told in own.values()):
                found.append((own["model"], name, gain_of_runs(triple, measure)))
    return found


def _labelled(runs: Sequence[Told]) -> list[Told]:
    """With labels: as many names of the folders above a suite's as tell them apart, of several models also theirs; and
    the suite's own folder where it isn't the only one of its suite in there.
    """
    above = {told.folder.parent for told in runs}
    names = 2 if len({folder.parent.name for folder in above}) > 1 else 1
    while len({folder.parts[-names:] for folder in above}) < len(above):
        names += 1
    beside = Counter((told.folder.parent, told.suite) for told in runs)
    labelled = []
    for told in runs:
        own = [told.folder.name] if beside[told.folder.parent, told.suite] > 1 else []
        labelled.append(replace(told, label=" ".join([*told.folder.parent.parts[-names:], *own])))
    return labelled


def _told(folder: Path) -> Told:
    """Without a label."""
    try:
        run, report, costs = (
            json.loads((folder / name).read_text()) for name in ("run.json", "results.json", "costs.json")
        )
        told = Told(folder, "", run, report, costs, read_samples(folder / "samples.jsonl"))
        needed = (told.control, run["data_hash"], run["checkpoint"], report["suite_settings"])
        if run["suite"] not in SUITES or None in needed:
            raise ValueError(f"there is no suite {run['suite']!r}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder} can't be reported: {error!r}. Give the command that made it again.") from error
    return told
