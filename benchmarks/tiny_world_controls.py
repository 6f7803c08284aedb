"""What a model of the tiny world can do on unseen long videos, under every control, by the evaluator that users have.

    python benchmarks/tiny_world_controls.py MODEL [MODEL ...] --work FOLDER [--videos 60]

MODEL is an exported folder; several are seeds of one recipe, and each question's score is the mean over them. Makes a
test split of videos of 256 frames in FOLDER/world, evaluates into FOLDER/results, which goes on where it was ended, and
writes FILE.md and FILE.json.
"""

import argparse
import json
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from recot.atomic import write_file
from recot.evaluation.aggregation import Measure, Units, estimate, mean_over, pooled, unparsed
from recot.evaluation.compare import difference
from recot.evaluation.evidence import seen
from recot.evaluation.items import Result
from recot.evaluation.results import read_samples
from recot.evaluation.suites.tiny_world import TinyWorld
from recot.tiny_world.vocabulary import NOT_SHOWN

REPO = Path(__file__).resolve().parents[1]
TASKS = ("needle", "binding", "counting", "order", "grounding", "multi_hop")
SELECTOR = ("evidence_recall", "all_evidence", "evidence_auroc")
# Row of the table -> what is set. Settings that differ in one key only are one sweep.
ROWS = {
    "no selector": {"keep": "1.0"},
    "selector, keep 0.5": {"keep": "0.5"},
    "selector, keep 0.25": {"keep": "0.25"},
    "selector, keep 0.1": {"keep": "0.1"},
    "random, keep 0.25": {"keep": "0.25", "control": "random_selector"},
    "uniform, keep 0.25": {"keep": "0.25", "control": "uniform_selector"},
    "first, keep 0.25": {"keep": "0.25", "control": "first_k_selector"},
    "oracle, keep 0.25": {"keep": "0.25", "control": "oracle_selector"},
    "random, keep 0.1": {"keep": "0.1", "control": "random_selector"},
    "uniform, keep 0.1": {"keep": "0.1", "control": "uniform_selector"},
    "oracle, keep 0.1": {"keep": "0.1", "control": "oracle_selector"},
    "selector, keep 0.05": {"keep": "0.05"},
    "random, keep 0.05": {"keep": "0.05", "control": "random_selector"},
    "uniform, keep 0.05": {"keep": "0.05", "control": "uniform_selector"},
    "selector, keep 0.02": {"keep": "0.02"},
    "random, keep 0.02": {"keep": "0.02", "control": "random_selector"},
    "uniform, keep 0.02": {"keep": "0.02", "control": "uniform_selector"},
    "a quarter of the frames": {"keep": "1.0", "frames": "64"},
    "first frame": {"keep": "1.0", "frames": "1"},
    "one frame, drawn": {"keep": "1.0", "control": "single_frame"},
    "blind": {"keep": "1.0", "control": "blind"},
    "blank video": {"keep": "1.0", "control": "blank_video"},
    "wrong video": {"keep": "1.0", "control": "wrong_video"},
    "shuffled frames": {"keep": "1.0", "control": "shuffled_frames"},
    "shuffled groups": {"keep": "1.0", "control": "shuffled_groups"},
    "evidence only": {"keep": "1.0", "control": "evidence_only"},
    "evidence removed": {"keep": "1.0", "control": "evidence_removed"},
}

# Without its evidence, a question of these tasks that doesn't offer "not shown" has no option that is right, or ruled
# out, by what is left. Of the others, some other object appears last, a count is smaller, an object isn't shown.
LEFT_OPEN = ("needle", "binding", "grounding")
# Row of the table -> the row whose questions it has a part of.
PARTS = {"evidence removed, no other option right": "evidence removed"}
# Rows whose needles are told by when they are shown.
NEEDLES = ("no selector", "selector, keep 0.1", "shuffled groups")
# Rows that are compared question by question.
PAIRS = (
    ("selector, keep 0.25", "no selector"),
    *(("selector, keep 0.25", f"{other}, keep 0.25") for other in ("random", "uniform", "first", "oracle")),
    *(("selector, keep 0.1", f"{other}, keep 0.1") for other in ("random", "uniform", "oracle")),
    *((f"selector, keep {k}", f"{other}, keep {k}") for k in ("0.05", "0.02") for other in ("random", "uniform")),
    ("selector, keep 0.25", "a quarter of the frames"),
    ("no selector", "shuffled frames"),
    ("no selector", "shuffled groups"),
)
Scores = list[Sequence[Result]]  # of each model


def evaluate(model: Path, world: Path, results: Path, settings: dict[str, str]) -> Sequence[Result]:
    """The questions of one run that have a score."""
    places = [f"evaluation.tiny_world.{name}={world}" for name in ("annotations", "videos")]
    given = [f"{name}={value}" for name, value in settings.items()]
    command = ["src/eval.py", "evaluation=tiny_world", *places, f"checkpoint={model}", f"results={results}", *given]
    print("$ python", *command, flush=True)
    ended = subprocess.run([sys.executable, *command], check=False, cwd=REPO).returncode
    if ended not in (0, 3):  # 3: samples failed, as where evidence_removed leaves no frame; they are in no figure
        raise SystemExit(ended)
    (found,) = results.glob("*/*/tiny_world/samples.jsonl")
    return list(read_samples(found).results.values())


def left_open(world: Path) -> set[str]:
    """Ids of the questions of ``LEFT_OPEN`` that don't offer "not shown"."""
    items = TinyWorld(annotations=world, videos=world, counts=None).load()
    return {item.id for item in items if item.groups["task"][0] in LEFT_OPEN and NOT_SHOWN not in item.options}


def averaged(measure: Measure, runs: Scores) -> Units:
    """A measure of each model, and the mean of these, of the questions that all have a score for."""
    every = [measure(sorted(run, key=lambda result: result.id)) for run in runs]
    both = set.intersection(*(set(units.ids) for units in every))
    same = [units.only(both) for units in every]
    return replace(same[0], values=np.mean([units.values for units in same], axis=0))


def measures() -> dict[str, Measure]:
    """By name: accuracy over all tasks, of each task, replies that can't be read, and what is kept of the evidence."""

    def of_task(task: str) -> Measure:
        return lambda results: pooled([result for result in results if task in result.groups["task"]])

    by_task = {f"task={task}": of_task(task) for task in TASKS}
    return {"macro": mean_over("task"), **by_task, "unparsed": unparsed, **{name: seen(name) for name in SELECTOR}}


def estimates(runs: Scores) -> dict[str, Any]:
    """Figures by name: each as in ``Figure``, with ``models``, the value of each of them."""
    found = {}
    for name, measure in measures().items():
        units = averaged(measure, runs)
        if units.ids:
            each = [estimate(measure(list(run))).value for run in runs]
            found[name] = {**asdict(estimate(units)), "models": each}
    return found


def cell(figures: dict[str, Any], name: str) -> str:
    """Mean over the models, with its interval over videos."""
    if name not in figures:
        return ""
    figure = figures[name]
    return f"{figure['value']:.3f} ({figure['low']:.3f}-{figure['high']:.3f})"


def paired(measure: Measure, a: Scores, b: Scores) -> dict[str, Any]:
    """How much better b is than a, on the questions that both have a score for."""
    units = averaged(measure, a), averaged(measure, b)
    both = set(units[0].ids) & set(units[1].ids)
    found = difference(*(own.only(both) for own in units))
    return {**asdict(found), "value": found.value}


def needles_by_time(world: Path, rows: dict[str, Scores]) -> dict[str, list[float]]:
    """Accuracy of needles by when they are shown, in each quarter of the video, mean over the models' answers."""
    items = TinyWorld(annotations=world, videos=world, counts=None).load()
    shown = {
        item.id: int(4 * item.evidence[0][0] / item.duration_s)
        for item in items
        if item.groups["task"][0] == "needle" and item.duration_s and item.evidence[0] != (0.0, item.duration_s)
    }
    found = {}
    for row in NEEDLES:
        answers = [(shown[result.id], result.score) for run in rows[row] for result in run if result.id in shown]
        found[row] = [float(np.mean([score for place, score in answers if place == i])) for i in range(4)]
    return found


def page(found: dict[str, Any]) -> str:
    """The Markdown page."""
    lines = ["# The tiny world under control", "", *(f"- {key}: {value}" for key, value in found["setting"].items())]
    lines += [
        "",
        "Accuracy on questions with four options, chance 0.25; mean over the models, in brackets its 95 % interval",
    ]
    lines += ["over videos.", ""]
    columns = {"macro": "all tasks", **{f"task={task}": task for task in TASKS}, "unparsed": "unparsed"}
    lines += ["| | " + " | ".join(columns.values()) + " |", "|---|" + "---:|" * len(columns)]
    for row, figures in found["rows"].items():
        lines.append(f"| {row} | " + " | ".join(cell(figures, name) for name in columns) + " |")
    lines += ["", "What the selector keeps of the evidence:", ""]
    lines += ["| | " + " | ".join(SELECTOR) + " |", "|---|" + "---:|" * len(SELECTOR)]
    for row, figures in found["rows"].items():
        if SELECTOR[0] in figures:
            lines.append(f"| {row} | " + " | ".join(cell(figures, name) for name in SELECTOR) + " |")
    lines += ["", "Needles by when they are shown; those that aren't are left out:", ""]
    lines += ["| | first quarter | second | third | last |", "|---|---:|---:|---:|---:|"]
    for row, values in found["needles by time"].items():
        lines.append(f"| {row} | " + " | ".join(f"{value:.3f}" for value in values) + " |")
    lines += [
        "",
        "Paired differences in accuracy, A - B:",
        "",
        "| A | B | all tasks | p | needle | p |",
        "|---" * 6 + "|",
    ]
    for pair in found["pairs"]:
        told = [
            f"{own['value']:+.3f} ({own['low']:+.3f} to {own['high']:+.3f}) | {own['p_value']:.4f}"
            for own in (pair["macro"], pair["task=needle"])
        ]
        lines.append(f"| {pair['a']} | {pair['b']} | {' | '.join(told)} |")
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--videos", type=int, default=60)
    parser.add_argument("--out", type=Path, default=REPO / "benchmarks/results/tiny_world_controls")
    options = parser.parse_args()
    world = options.work.resolve() / "world"
    if not world.is_dir():
        size = ["--videos", str(options.videos), "--frames", "256", "--seed", "0", "--split", "test"]
        subprocess.run([sys.executable, "-m", "recot.tiny_world", "--out", str(world), *size], check=True)
    rows: dict[str, Scores] = {}
    for row, settings in ROWS.items():
        for number, model in enumerate(options.models):
            results = options.work.resolve() / "results" / f"{number}" / row.replace(" ", "_").replace(",", "")
            rows.setdefault(row, []).append(evaluate(model.resolve(), world / "videos", results, settings))
    asked = left_open(world / "videos")
    for row, whole in PARTS.items():
        rows[row] = [[result for result in run if result.id in asked] for run in rows[whole]]
    setting = {
        "command": f"python benchmarks/tiny_world_controls.py{' MODEL' * len(options.models)} --work FOLDER "
        f"--videos {options.videos}",
        "models": len(options.models),
        "videos": f"{options.videos} of 256 frames, test split, seed 0",
        "versions": f"python {platform.python_version()}, torch {version('torch')}",
        "date": date.today().isoformat(),
    }
    pairs = [
        {"a": a, "b": b} | {name: paired(measures()[name], rows[b], rows[a]) for name in ("macro", "task=needle")}
        for a, b in PAIRS
    ]
    found = {"setting": setting, "rows": {row: estimates(runs) for row, runs in rows.items()}, "pairs": pairs}
    found["needles by time"] = needles_by_time(world / "videos", rows)
    write_file(options.out.with_suffix(".json"), (json.dumps(found, indent=1) + "\n").encode())
    write_file(options.out.with_suffix(".md"), page(found).encode())
    print(page(found))


if __name__ == "__main__":
    main()
