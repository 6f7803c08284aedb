"""What a selector learns that reads the answer in training, and what is left of it when there is none to read.

    python benchmarks/answer_leak.py CHECKPOINT --work FOLDER [--seeds 0 1 2] [--steps 100] [--videos 60]

Goes on from CHECKPOINT, of stage 3, twice a seed: with ``query=question``, ours, and with ``query=prompt``, all text of
the prompt, template and, in training, answer included, as the released model was trained (OFFICIAL_SPEC 7). Stage 3's
own validation reads what training reads; the evaluator asks about unseen videos, and has no answer to give. Writes
FILE.md and FILE.json; what is done is not done again.
"""

import argparse
import json
import platform
import subprocess
import sys
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tiny_world_road import MIDDLE, REPO, over_seeds, run, stage

from recot.atomic import write_file

QUERIES = ("question", "prompt")
KEEP = 0.25
# What is told of each run: name -> where it was measured, and the figure there.
FIGURES = {
    "AUROC as in training": ("training", "val/evidence_auroc"),
    "AUROC at inference": ("inference", "evidence_auroc"),
    "recall of evidence groups as in training": ("training", "val/evidence_recall"),
    "recall of evidence groups at inference": ("inference", "evidence_recall"),
    "accuracy at inference": ("inference", "macro"),
}


def train(checkpoint: Path, folder: Path, query: str, seed: int, steps: int) -> Path:
    """The exported model of stage 3 with that query."""
    settings = (
        *MIDDLE,
        f"trainer.max_steps={steps}",
        "data.questions.tasks=[needle,binding,counting,order,grounding,multi_hop]",
        "stage.train_ratio=[0.1,1.0]",
        f"stage.val_ratio={KEEP}",
        "stage.train.selector=1e-2",
        f"stage.module.model.query={query}",
    )
    made = stage(folder / "sft_lora", "sft_lora", *settings, seed=seed, init_from=checkpoint)
    if not (folder / "model").is_dir():
        run("-m", "recot.checkpoints.export", "stage", str(made), str(folder / "model"))
    return folder / "model"


def evaluate(model: Path, world: Path, results: Path) -> dict[str, float]:
    """The figures of the evaluator."""
    places = [f"evaluation.tiny_world.{name}={world}" for name in ("annotations", "videos")]
    run("src/eval.py", "evaluation=tiny_world", *places, f"checkpoint={model}", f"results={results}", f"keep={KEEP}")
    (found,) = results.glob("*/*/tiny_world/results.json")
    return {name: figure["value"] for name, figure in json.loads(found.read_text())["figures"].items()}


def page(found: dict[str, Any]) -> str:
    """The Markdown page."""
    lines = ["# Answer leak", "", *(f"- {name}: {value}" for name, value in found["setting"].items()), ""]
    lines += ["Mean over the seeds (each seed's).", "", "| | " + " | ".join(f"query={q}" for q in QUERIES) + " |"]
    lines.append("|---|" + "---:|" * len(QUERIES))
    for name, (place, figure) in FIGURES.items():
        cells = []
        for query in QUERIES:
            values = [each[place][figure] for each in found["runs"] if each["query"] == query]
            cells.append(over_seeds(values))
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--videos", type=int, default=60)
    parser.add_argument("--out", type=Path, default=REPO / "benchmarks/results/answer_leak")
    options = parser.parse_args()
    work = options.work.resolve()
    world = work / "world"
    if not world.is_dir():
        size = ["--videos", str(options.videos), "--frames", "64", "--seed", "0", "--split", "test"]
        subprocess.run([sys.executable, "-m", "recot.tiny_world", "--out", str(world), *size], check=True)
    runs = []
    for seed in options.seeds:
        for query in QUERIES:
            folder = work / f"{query}_{seed}"
            model = train(options.checkpoint.resolve(), folder, query, seed, options.steps)
            training = json.loads((folder / "sft_lora/metrics.json").read_text())
            inference = evaluate(model, world / "videos", folder / "results")
            runs.append({"query": query, "seed": seed, "training": training, "inference": inference})
    setting = {
        "command": "python benchmarks/answer_leak.py CHECKPOINT --work FOLDER "
        f"--seeds {' '.join(map(str, options.seeds))} --steps {options.steps} --videos {options.videos}",
        "videos": f"{options.videos} of 64 frames, test split, seed 0; {KEEP} of their tokens are kept",
        "versions": f"python {platform.python_version()}, torch {version('torch')}, lightning {version('lightning')}",
        "date": date.today().isoformat(),
    }
    found = {"setting": setting, "runs": runs}
    write_file(options.out.with_suffix(".json"), (json.dumps(found, indent=1) + "\n").encode())
    write_file(options.out.with_suffix(".md"), page(found).encode())
    print(page(found))


if __name__ == "__main__":
    main()
