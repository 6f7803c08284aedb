"""What a model of the tiny world can do on unseen long videos, under every control, by the evaluator that users have.

    python benchmarks/tiny_world_controls.py MODEL [MODEL ...] --work FOLDER [--videos 60]

MODEL is an exported folder; several are seeds of one recipe, and figures are means over them. Makes a test split of
videos of 256 frames in FOLDER/world, evaluates into FOLDER/results, which goes on where it was ended, and writes
FILE.md and FILE.json.
"""

import argparse
import json
import platform
import subprocess
import sys
from datetime import date
from importlib.metadata import version
from pathlib import Path
from statistics import mean
from typing import Any

from recot.atomic import write_file

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
    "oracle, keep 0.1": {"keep": "0.1", "control": "oracle_selector"},
    "a quarter of the frames": {"keep": "1.0", "frames": "64"},
    "first frame": {"keep": "1.0", "frames": "1"},
    "one frame, drawn": {"keep": "1.0", "control": "single_frame"},
    "blind": {"keep": "1.0", "control": "blind"},
    "blank video": {"keep": "1.0", "control": "blank_video"},
    "wrong video": {"keep": "1.0", "control": "wrong_video"},
    "shuffled frames": {"keep": "1.0", "control": "shuffled_frames"},
    "evidence only": {"keep": "1.0", "control": "evidence_only"},
    "evidence removed": {"keep": "1.0", "control": "evidence_removed"},
}


def evaluate(model: Path, world: Path, results: Path, settings: dict[str, str]) -> dict[str, Any]:
    """The figures of one run."""
    places = [f"evaluation.tiny_world.{name}={world}" for name in ("annotations", "videos")]
    given = [f"{name}={value}" for name, value in settings.items()]
    command = ["src/eval.py", "evaluation=tiny_world", *places, f"checkpoint={model}", f"results={results}", *given]
    print("$ python", *command, flush=True)
    ended = subprocess.run([sys.executable, *command], check=False, cwd=REPO).returncode
    if ended not in (0, 3):  # 3: samples failed, as where evidence_removed leaves no frame; they are in no figure
        raise SystemExit(ended)
    (found,) = results.glob("*/*/tiny_world/results.json")
    figures: dict[str, Any] = json.loads(found.read_text())["figures"]
    return figures


def cell(runs: list[dict[str, Any]], name: str) -> str:
    """Mean over the models, with the interval of the only one or the range of several."""
    own = [run[name] for run in runs if name in run]
    if not own:
        return ""
    values = [figure["value"] for figure in own]
    low, high = (own[0]["low"], own[0]["high"]) if len(own) == 1 else (min(values), max(values))
    return f"{mean(values):.3f} ({low:.3f}-{high:.3f})"


def page(found: dict[str, Any]) -> str:
    """The Markdown page."""
    lines = ["# The tiny world under control", "", *(f"- {key}: {value}" for key, value in found["setting"].items())]
    spread = "95 % interval over videos" if found["setting"]["models"] == 1 else "range over models"
    lines += ["", f"Accuracy on questions with four options, chance 0.25; in brackets the {spread}.", ""]
    columns = {"macro": "all tasks", **{f"task={task}": task for task in TASKS}, "unparsed": "unparsed"}
    lines += ["| | " + " | ".join(columns.values()) + " |", "|---|" + "---:|" * len(columns)]
    for row, runs in found["rows"].items():
        lines.append(f"| {row} | " + " | ".join(cell(runs, name) for name in columns) + " |")
    lines += ["", "What the selector keeps of the evidence:", ""]
    lines += ["| | " + " | ".join(SELECTOR) + " |", "|---|" + "---:|" * len(SELECTOR)]
    for row, runs in found["rows"].items():
        if any(SELECTOR[0] in run for run in runs):
            lines.append(f"| {row} | " + " | ".join(cell(runs, name) for name in SELECTOR) + " |")
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
    rows: dict[str, list[dict[str, Any]]] = {}
    for row, settings in ROWS.items():
        for number, model in enumerate(options.models):
            results = options.work.resolve() / "results" / f"{number}" / row.replace(" ", "_").replace(",", "")
            rows.setdefault(row, []).append(evaluate(model.resolve(), world / "videos", results, settings))
    setting = {
        "command": f"python benchmarks/tiny_world_controls.py{' MODEL' * len(options.models)} --work FOLDER "
        f"--videos {options.videos}",
        "models": len(options.models),
        "videos": f"{options.videos} of 256 frames, test split, seed 0",
        "versions": f"python {platform.python_version()}, torch {version('torch')}",
        "date": date.today().isoformat(),
    }
    found = {"setting": setting, "rows": rows}
    write_file(options.out.with_suffix(".json"), (json.dumps(found, indent=1) + "\n").encode())
    write_file(options.out.with_suffix(".md"), page(found).encode())
    print(page(found))


if __name__ == "__main__":
    main()
