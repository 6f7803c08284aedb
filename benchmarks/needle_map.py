"""Needles in haystacks: a map of accuracy by length of the video and depth of the needle, with three controls.

    python benchmarks/needle_map.py MODEL --work FOLDER [--lengths 64 256 1024 2048 4096] [--needles 20] [--budget 64]

Makes haystacks of the tiny world in FOLDER, puts the questions to MODEL by the evaluator that users have, with its
selector, with as many tokens kept evenly over time instead, token by token or in whole groups, and blind, and writes
FILE.md, FILE.json and a FILE_<control>.png each. Goes on where it was ended.
"""

import argparse
import json
import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import date
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import Any

from recot.atomic import write_file
from recot.evaluation.items import Result
from recot.evaluation.report.charts import needle_map
from recot.evaluation.report.runs import Told, read_runs

REPO = Path(__file__).resolve().parents[1]
CONTROLS = {
    "selector": "none",
    "uniform": "uniform_selector",
    "uniform groups": "uniform_groups_selector",
    "blind": "blind",
}
DEPTHS = 11
PHASES = 4
HAYSTACKS = 20


def evaluate(model: Path, control: str, options: argparse.Namespace) -> Told:
    """One run."""
    work = options.work.resolve()
    grid = {"videos": work / "haystacks", "needles": options.needles, "frames": options.shown, "depths": DEPTHS}
    settings = [f"evaluation.needle.{name}={value}" for name, value in grid.items()]
    settings += [
        f"evaluation.needle.lengths={options.lengths}".replace(" ", ""),
        f"budget={options.budget}",
        "times=kept",
    ]
    results = work / "results" / CONTROLS[control]
    command = ["src/eval.py", "evaluation=needle", *settings, f"checkpoint={model}", f"control={CONTROLS[control]}"]
    command.append(f"results={results}")
    print("$ python", *command, flush=True)
    subprocess.run([sys.executable, *command], check=True, cwd=REPO)
    ((told,), _) = read_runs([results])
    return told


def shares() -> list[str]:
    """Names of the depths."""
    return [f"{depth / (DEPTHS - 1):.0%}" for depth in range(DEPTHS)]


def kept(told: Told) -> dict[str, dict[str, float]]:
    """Of the needles of each length and depth: means of what was read of them, and how many are answered of those of
    which anything was kept."""
    by_group: dict[str, list[Result]] = {}
    for result in told.samples.results.values():
        for grouping in ("length", "depth"):
            by_group.setdefault(f"{grouping}={result.groups[grouping][0]}", []).append(result)
    found = {}
    for group, results in by_group.items():
        any_kept = [result for result in results if result.saw["evidence_recall"]]
        found[group] = {
            "groups kept": fmean(result.saw["evidence_recall"] for result in results),
            "any kept": len(any_kept) / len(results),
            "answered of these": fmean(result.score for result in any_kept) if any_kept else None,
            "prompt tokens": fmean(result.saw["prompt_tokens"] for result in results),
        }
    return found


def kept_table(found: Mapping[str, Any]) -> list[str]:
    """Markdown of ``kept``, of each that chooses."""
    names = list(next(iter(found["kept"]["selector"].values())))
    columns = [f"{control}: {name}" for control in found["kept"] for name in names]
    lines = ["What is read of the needles: the mean share of a needle's groups of which a token is kept, of how many"]
    lines += ["needles any is, how many of these are answered, tokens of the prompt.", ""]
    lines += ["| | " + " | ".join(columns) + " |", "|---|" + "---:|" * len(columns)]
    for group in [*(f"length={length}" for length in found["lengths"]), *(f"depth={share}" for share in shares())]:
        cells = [own[group][name] for own in found["kept"].values() for name in names]
        told = ["-" if cell is None else f"{cell:.0f}" if cell > 1 else f"{cell:.3f}" for cell in cells]
        lines.append(f"| {group.replace('=', ' ')} | " + " | ".join(told) + " |")
    return [*lines, ""]


def page(found: Mapping[str, Any], pictures: list[str]) -> str:
    """The Markdown page."""
    lines = ["# Needles in haystacks", "", *(f"- {key}: {value}" for key, value in found["setting"].items()), ""]
    lines += ["Accuracy, with the 95 % interval over videos; four options, chance 0.25.", ""]
    runs = found["runs"]
    lines += ["| | " + " | ".join(runs) + " |", "|---|" + "---:|" * len(runs)]
    groups = ["accuracy", *(f"length={length}" for length in found["lengths"]), *(f"phase={i}" for i in range(PHASES))]
    groups += [f"depth={share}" for share in shares()]
    for group in groups:
        cells = [figures[group] for figures in runs.values()]
        told = [
            f"{cell['value']:.3f}" + ("" if cell["low"] is None else f" ({cell['low']:.3f}-{cell['high']:.3f})")
            for cell in cells
        ]
        lines.append(f"| {group.replace('=', ' ')} | " + " | ".join(told) + " |")
    return "\n".join([*lines, "", *(f"![{picture}]({picture})" for picture in pictures), "", *kept_table(found)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--lengths", type=int, nargs="+", default=[64, 256, 1024, 2048, 4096])
    parser.add_argument("--needles", type=int, default=20, help="for each length, depth and place in a group")
    parser.add_argument("--shown", type=int, default=8, help="frames that a needle is on")
    parser.add_argument("--budget", type=int, default=64, help="tokens that are kept of a video")
    parser.add_argument("--out", type=Path, default=REPO / "benchmarks/results/needle_map")
    options = parser.parse_args()
    haystacks = options.work.resolve() / "haystacks"
    if not haystacks.is_dir():
        size = ["--videos", str(HAYSTACKS), "--frames", str(max(options.lengths)), "--seed", "0"]
        subprocess.run([sys.executable, "-m", "recot.evaluation.haystack", "--out", str(haystacks), *size], check=True)
    runs = {control: evaluate(options.model.resolve(), control, options) for control in CONTROLS}
    lengths = " ".join(map(str, options.lengths))
    setting = {
        "command": f"python benchmarks/needle_map.py MODEL --work FOLDER --lengths {lengths} "
        f"--needles {options.needles} --shown {options.shown} --budget {options.budget}",
        "grid": f"{DEPTHS} depths, {PHASES} places in a group of 4 frames, {options.needles} needles for each, "
        f"{HAYSTACKS} haystacks; a needle is on {options.shown} frames",
        "tokens": f"all but blind keep {options.budget} of each video, with the times of their groups",
        "versions": f"python {platform.python_version()}, torch {version('torch')}",
        "date": date.today().isoformat(),
    }
    pictures = []
    for control, told in runs.items():
        pictures.append(options.out.with_name(f"{options.out.name}_{control.replace(' ', '_')}.png"))
        needle_map(told, pictures[-1])
    figures = {control: told.report["figures"] for control, told in runs.items()}
    found = {"setting": setting, "lengths": options.lengths, "runs": figures}
    found["kept"] = {control: kept(runs[control]) for control in runs if control != "blind"}
    write_file(options.out.with_suffix(".json"), (json.dumps(found, indent=1) + "\n").encode())
    text = page(found, [picture.name for picture in pictures])
    write_file(options.out.with_suffix(".md"), text.encode())
    print(text)


if __name__ == "__main__":
    main()
