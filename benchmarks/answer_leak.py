"""What a selector learns that reads the answer in training, and what is left of it when there is none to read.

    python benchmarks/answer_leak.py CHECKPOINT --work FOLDER [--seeds 0 1 2] [--spans 1 0] [--steps 150] [--videos 60]

Goes on from CHECKPOINT, of stage 3, but for its selector, which starts anew with each seed: with ``query=question``,
ours, and with ``query=prompt``, all text of the prompt, template and, in training, answer included, as the released
model was trained; both with the grounding loss (``--spans 1``), which tells the selector where
answers are shown, and, like the released model, without (``--spans 0``). Stage 3's own validation reads what training
reads; the evaluator asks about unseen videos, and has no answer to give. Writes FILE.md and FILE.json; what is done is
not done again.
"""

import argparse
import json
import platform
import subprocess
import sys
from datetime import date
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

import torch
from tiny_world_road import MIDDLE, REPO, over_seeds, run, stage

from recot.atomic import write_file
from recot.checkpoints.reading import read_checkpoint

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


def without_selector(checkpoint: Path, made: Path) -> Path:
    """The checkpoint without the weights of its selector."""
    if made.is_file():
        return made
    read = read_checkpoint(checkpoint)
    read["state_dict"] = {name: own for name, own in read["state_dict"].items() if ".selector." not in name}
    made.parent.mkdir(parents=True, exist_ok=True)
    torch.save(read, made)
    return made


def train(start: Path, folder: Path, query: str, spans: int, seed: int, steps: int) -> Path:
    """The exported model of stage 3 with that query."""
    settings = (
        *MIDDLE,
        f"trainer.max_steps={steps}",
        "trainer.precision=bf16-mixed",
        "data.questions.tasks=[needle,binding,counting,order,grounding,multi_hop]",
        "stage.train_ratio=[0.1,1.0]",
        f"stage.val_ratio={KEEP}",
        "stage.train.selector=1e-2",
        f"stage.grounding_weight={spans}",
        "stage.module.expected_missing=[lora,selector]",
        f"stage.module.model.query={query}",
    )
    made = stage(folder / "sft_lora", "sft_lora", *settings, seed=seed, init_from=start)
    if not (folder / "model").is_dir():
        run("-m", "recot.checkpoints.export", "stage", str(made), str(folder / "model"))
    return folder / "model"


def evaluate(model: Path, world: Path, results: Path) -> dict[str, float]:
    """The figures of the evaluator."""
    places = [f"evaluation.tiny_world.{name}={world}" for name in ("annotations", "videos")]
    run("src/eval.py", "evaluation=tiny_world", *places, f"checkpoint={model}", f"results={results}", f"keep={KEEP}")
    (found,) = results.glob("*/*/tiny_world/results.json")
    return {name: figure["value"] for name, figure in json.loads(found.read_text())["figures"].items()}


def arm(own: tuple[int, str]) -> str:
    """Name of a column."""
    spans, query = own
    return f"query={query}, {'with' if spans else 'without'} spans"


def page(found: dict[str, Any]) -> str:
    """The Markdown page."""
    arms = list(dict.fromkeys((each["spans"], each["query"]) for each in found["runs"]))
    lines = ["# Answer leak", "", *(f"- {name}: {value}" for name, value in found["setting"].items()), ""]
    lines += ["Mean over the seeds (each seed's).", "", "| | " + " | ".join(map(arm, arms)) + " |"]
    lines.append("|---|" + "---:|" * len(arms))
    for name, (place, figure) in FIGURES.items():
        cells = []
        for own in arms:
            values = [each[place][figure] for each in found["runs"] if (each["spans"], each["query"]) == own]
            cells.append(over_seeds(values))
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--spans", type=int, choices=(0, 1), nargs="+", default=[1, 0])
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--videos", type=int, default=60)
    parser.add_argument("--out", type=Path, default=REPO / "benchmarks/results/answer_leak")
    options = parser.parse_args()
    work = options.work.resolve()
    world = work / "world"
    if not world.is_dir():
        size = ["--videos", str(options.videos), "--frames", "64", "--seed", "0", "--split", "test"]
        subprocess.run([sys.executable, "-m", "recot.tiny_world", "--out", str(world), *size], check=True)
    start = without_selector(options.checkpoint.resolve(), work / "start.ckpt")
    runs = []
    for weight, query, seed in product(options.spans, QUERIES, options.seeds):
        folder = work / f"{query}_spans{weight}_{seed}"
        model = train(start, folder, query, weight, seed, options.steps)
        training = json.loads((folder / "sft_lora/metrics.json").read_text())
        inference = evaluate(model, world / "videos", folder / "results")
        runs.append({"query": query, "spans": weight, "seed": seed, "training": training, "inference": inference})
    seeds, spans = (" ".join(map(str, values)) for values in (options.seeds, options.spans))
    setting = {
        "command": f"python benchmarks/answer_leak.py CHECKPOINT --work FOLDER --seeds {seeds} --spans {spans} "
        f"--steps {options.steps} --videos {options.videos}",
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
