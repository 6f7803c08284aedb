"""Does pruning help? Stage 1 after equal steps on all of a corpus with junk, on what is kept, and on what is dropped.

    python -m recot.tiny_world --out CORPUS --videos 1000 --frames 64 --seed 2 --junk 0.4
    python benchmarks/prune_helps.py CORPUS --work FOLDER [--steps 60]

Prunes CORPUS/corpus at the default preset, without the language model, as stage 1 sees no questions. Then trains
``experiment=recot_pretrain`` with each arm's videos: all that can be decoded, the kept ones, as many drawn at random
from all, and the dropped ones that can be decoded. Every run has the same steps, batch size and held-out videos (48
clean ones of another seed); each arm runs with three seeds, of the weights, the order of the videos and, for the random
arm, the draw.
"""

import argparse
import json
import platform
import random
import statistics
import subprocess
import sys
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from recot.atomic import write_file

REPO = Path(__file__).resolve().parents[1]
ARMS = ("all", "kept", "random", "dropped")
MEASURES = ("explained_variance_masked", "explained_variance_visible", "order_sensitivity")
HELD_OUT_SEED, HELD_OUT_VIDEOS = 77, 48
SETTINGS = (
    "data.sampling.fps=8.0",
    "data.batch_size=8",
    "data.num_workers=0",
    "data.val_groups_per_sample=4",
    "stage.learning_rate=1e-3",
    "stage.warmup_steps=20",
    "trainer.num_sanity_val_steps=0",
    "logger=none",
    "~callbacks.pictures",
    "~callbacks.progress_bar",
    "+trainer.enable_progress_bar=false",
)


def run(*arguments: str) -> None:
    """One Python command, shown and checked."""
    print("$ python", *arguments, flush=True)
    subprocess.run([sys.executable, *arguments], check=True, cwd=REPO)


def prune(source: Path, output: Path, scores: Path, *overrides: str) -> None:
    """Make ``output`` of ``source`` unless it is there; what was measured for one arm serves all."""
    if output.is_dir():
        return
    command = ["data_pipelines/prune.py", f"source={source}", f"output={output}", f"scores={scores}", "scorers=tiny"]
    run(*command, "scorers.language_model=null", "workers=1", *overrides)


def split_videos(output: Path) -> dict[str, set[str]]:
    """``kept`` and ``dropped``: file names of the videos that can be decoded; copies of a kept video are dropped."""
    columns = ["uri", "key", "decision", "dup_of"]
    rows = pq.read_table(output / "manifest.parquet", columns=columns).to_pylist()
    usable = {Path(row["uri"]).name for row in rows if row["key"] is not None}
    kept = {Path(row["uri"]).name for row in rows if row["decision"] == "keep" and row["dup_of"] is None}
    return {"kept": kept, "dropped": usable - kept}


def make_shards(corpus: Path, work: Path, scores: Path, arm: str, videos: set[str]) -> Path:
    """The shards of the corpus's rows about these videos, whatever they are like."""
    listing = work / f"{arm}.json"
    rows = json.loads((corpus / "corpus/annotations.json").read_text())
    write_file(listing, json.dumps([row for row in rows if Path(row["video"]).name in videos]).encode())
    prune(listing, work / "shards" / arm, scores, f"video_root={corpus}/corpus", "pruning=none")
    return work / "shards" / arm / "train"


def train(shards: Path, held_out: Path, folder: Path, *, steps: int, seed: int) -> dict[str, float]:
    """Held-out measures of one run; those of an earlier call if it is there."""
    if not (folder / "metrics.json").is_file():
        command = ["src/train.py", "experiment=recot_pretrain", "data=shards", f"data.train=[{shards}]"]
        command += [f"data.val=[{held_out}]", f"seed={seed}", f"trainer.max_steps={steps}"]
        run(*command, f"trainer.val_check_interval={steps}", *SETTINGS, f"hydra.run.dir={folder}")
    metrics = json.loads((folder / "metrics.json").read_text())
    return {name: metrics[f"val/{name}"] for name in MEASURES}


def page(result: dict[str, Any]) -> str:
    """The Markdown page."""
    lines = ["# Does pruning help?", "", *(f"- {name}: {value}" for name, value in result["setting"].items()), ""]
    lines += [(__doc__ or "").split("\n\n")[2].strip(), ""]
    lines += ["Mean over the seeds (range); each is of held-out clean videos. EV is explained variance.", ""]
    lines += ["| arm | videos | EV, masked | EV, visible | order sensitivity |", "|---|---:|---:|---:|---:|"]
    for arm, found in result["arms"].items():
        cells = []
        for name in MEASURES:
            values = [run[name] for run in found["runs"]]
            cells.append(f"{statistics.mean(values):.4f} ({min(values):.4f}-{max(values):.4f})")
        lines.append(f"| {arm} | {found['videos']} | " + " | ".join(cells) + " |")
    lines += ["", "Difference of masked EV to `all`, seed by seed:", ""]
    reference = [run[MEASURES[0]] for run in result["arms"]["all"]["runs"]]
    for arm in ARMS[1:]:
        values = [run[MEASURES[0]] for run in result["arms"][arm]["runs"]]
        lines.append(f"- {arm}: " + ", ".join(f"{a - b:+.4f}" for a, b in zip(values, reference, strict=True)))
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--scores", type=Path, help="folder of scores to use; default: in the work folder")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=REPO / "benchmarks/results/prune_helps")
    options = parser.parse_args()
    corpus, work = options.corpus.resolve(), options.work.resolve()
    scores = (options.scores or work / "scores").resolve()
    annotations, world = corpus / "corpus/annotations.json", work / "held_out_videos"
    evaluation = f"evaluation_sets=[{corpus}/evaluation/annotations.json]"
    prune(annotations, work / "pruned", scores, evaluation, "write_shards=false")
    sets = split_videos(work / "pruned")
    sets["all"] = sets["kept"] | sets["dropped"]
    if not world.is_dir():
        size = ["--videos", str(HELD_OUT_VIDEOS), "--frames", "64", "--seed", str(HELD_OUT_SEED), "--split", "val"]
        run("-m", "recot.tiny_world", "--out", str(world), *size)
    prune(world / "annotations.json", work / "held_out", scores, "pruning=none")
    arms: dict[str, Any] = {arm: {"videos": len(sets.get(arm, sets["kept"])), "runs": []} for arm in ARMS}
    for seed in options.seeds:
        for arm in ARMS:
            name = f"random{seed}" if arm == "random" else arm
            drawn = set(random.Random(seed).sample(sorted(sets["all"]), len(sets["kept"])))
            shards = make_shards(corpus, work, scores, name, drawn if arm == "random" else sets[arm])
            folder = work / "runs" / f"{arm}_{seed}"
            arms[arm]["runs"].append(train(shards, work / "held_out/train", folder, steps=options.steps, seed=seed))
    setting = {
        "command": f"python benchmarks/prune_helps.py {corpus.name} --work FOLDER --steps {options.steps}",
        "versions": f"python {platform.python_version()}, torch {version('torch')}, lightning {version('lightning')}",
        "date": date.today().isoformat(),
    }
    result = {"setting": setting, "arms": arms}
    write_file(options.out.with_suffix(".json"), (json.dumps(result, indent=1) + "\n").encode())
    write_file(options.out.with_suffix(".md"), page(result).encode())
    print(page(result))


if __name__ == "__main__":
    main()
