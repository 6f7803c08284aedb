"""The whole road on the tiny world, and whether stage 1 pays.

    python benchmarks/tiny_world_road.py --work FOLDER [--seeds 0 1 2] [--compressors recot fresh mean] [--out FILE]

For each seed and compressor: the stages, each from the checkpoint of the one before. With ``recot``, the DTS of stage
1 compresses; with ``fresh``, stage 1 is left out and the DTS stays as it starts; with ``mean``, the mean of 4 frames
takes its place. What the stages measure on held-out videos goes to FILE.md and FILE.json. Then the road of ``recot``
goes on to long videos and ends with FOLDER/recot_<seed>/model; of seed 0, that is what `recot ask` comes with. A stage
that is done is not done again.
"""

import argparse
import json
import platform
import shutil
import subprocess
import sys
from datetime import date
from importlib.metadata import version
from pathlib import Path
from statistics import mean
from typing import Any

from recot.atomic import write_file
from recot.checkpoints.card import write_card
from recot.checkpoints.reading import read_checkpoint

REPO = Path(__file__).resolve().parents[1]
COMPRESSORS = ("recot", "fresh", "mean")
MEAN = (
    "model.dts._target_=recot.models.mean_pooling.MeanPooling",
    *(f"~model.dts.{name}" for name in ("heads", "layout", "chunk_groups", "activation_checkpointing")),
)


def videos(name: str, *, train: int, val: int, frames: int) -> tuple[str, ...]:
    """Settings of the data of a stage."""
    size = {"train_videos": train, "val_videos": val, "frames": frames}
    return (f"data.prepare.root=data/{name}", *(f"data.prepare.{key}={value}" for key, value in size.items()))


CLIPS = videos("tiny_world_many_clips", train=12000, val=64, frames=8)
SHORT = videos("tiny_world_short", train=3000, val=64, frames=16)
MIDDLE = videos("tiny_world_middle", train=1500, val=48, frames=64)
LONG = videos("tiny_world_many_long", train=1024, val=48, frames=256)
# Where a sample keeps all of its video, the questions about it share what they read, and cost little.
WHOLE = ("stage.train_ratio=[1.0,1.0]", "stage.val_ratio=1.0")
# Of all of these; features of videos are made once.
QUICK = ("data.features=cached", "data.num_workers=1", "trainer.precision=bf16-mixed")
# Name -> experiment and settings of each stage. Words of captions teach tokens what they show; questions about short
# videos then teach the language model to read tokens as it reads words; it then needs few about longer ones.
STAGES: dict[str, tuple[str, ...]] = {
    "word_align": ("word_align", "trainer.max_steps=700", *CLIPS, "stage.train.projector=3e-3"),
    "projector_align": ("projector_align", "trainer.max_steps=300", *CLIPS, "stage.train.projector=1e-3"),
    "selector_finetune": ("selector_finetune", "trainer.max_steps=100", *SHORT, "data.questions.per_video=6"),
    "sft_lora": (
        "sft_lora",
        "trainer.max_steps=400",
        *SHORT,
        "data.batch_size=16",
        "data.questions.per_video=6",
        "stage.lora.dropout=0",
        *WHOLE,
    ),
}
# For videos as long as those that the model is asked about.
LONGER: dict[str, tuple[str, ...]] = {
    "sft_lora_64": (
        "sft_lora",
        "trainer.max_steps=480",
        *MIDDLE,
        "data.questions.per_video=12",
        *WHOLE,
        "stage.lora.dropout=0",
        "stage.train.lora=4e-3",
        "stage.train.selector=1e-2",
    ),
    "sft_lora_256": (
        "sft_lora",
        "trainer.max_steps=700",
        "trainer.val_check_interval=350",
        *LONG,
        "data.batch_size=2",
        "data.questions.per_video=8",
        "data.questions.tasks=[needle,binding,counting,order,grounding,multi_hop]",  # captions grow with the video
        "stage.train_ratio=[0.02,0.5]",
        "stage.val_ratio=0.1",
        "stage.keep_times=kept",
        "stage.lora.dropout=0",
        "stage.train.lora=2e-3",
        "stage.train.projector=5e-4",
        "stage.train.selector=3e-3",
    ),
}


def run(*arguments: str) -> None:
    """One Python command, shown and checked."""
    print("$ python", *arguments, flush=True)
    subprocess.run([sys.executable, *arguments], check=True, cwd=REPO)


def stage(folder: Path, experiment: str, *settings: str, seed: int, init_from: Path | None) -> Path:
    """The checkpoint of a stage, trained unless it is there."""
    made = folder / "checkpoints/final.ckpt"
    if not (folder / "metrics.json").is_file():
        if experiment == "recot_pretrain":
            start: tuple[str, ...] = ()
        else:
            start = (f"init_from={init_from or 'null'}", *QUICK)
            data = [setting for setting in settings if setting.startswith("data.prepare.")]
            run("data_pipelines/cache_features.py", f"experiment={experiment}", "init_from=null", *data)
        run("src/train.py", f"experiment={experiment}", f"seed={seed}", *start, *settings, f"hydra.run.dir={folder}")
    return made


def compare(work: Path, compressor: str, seed: int) -> dict[str, Any]:
    """The stages on short videos; what each measured."""
    folder = work / f"{compressor}_{seed}"
    model = MEAN if compressor == "mean" else ()
    last = None
    if compressor == "recot":
        last = stage(folder / "recot_pretrain", "recot_pretrain", seed=seed, init_from=None)
    for name, settings in STAGES.items():
        last = stage(folder / name, *settings, *model, seed=seed, init_from=last)
    return {name: json.loads((folder / name / "metrics.json").read_text()) for name in STAGES}


def go_on(folder: Path, seed: int) -> None:
    """From the last of these stages to long videos, and to a model."""
    last = folder / list(STAGES)[-1] / "checkpoints/final.ckpt"
    for name, settings in LONGER.items():
        last = stage(folder / name, *settings, seed=seed, init_from=last)
    if not (folder / "model/card.json").exists():
        shutil.rmtree(folder / "model", ignore_errors=True)
        export(folder, last, seed)


def export(folder: Path, checkpoint: Path, seed: int) -> None:
    """The Hugging Face folder of the last stage, with a card of what it measured."""
    run("-m", "recot.checkpoints.export", "stage", str(checkpoint), str(folder / "model"))
    order = read_checkpoint(checkpoint)["VideoDataModule"]["order"]
    write_card(
        folder / "model",
        title="The tiny world's video language model",
        command=f"python benchmarks/tiny_world_road.py --work FOLDER --seeds {seed} --compressors recot",
        seed=seed,
        data={name: [*settings, *QUICK] for name, settings in (STAGES | LONGER).items()},
        data_hash=order["data.train (hash of its index)"],
        figures=json.loads((checkpoint.parents[1] / "metrics.json").read_text()),
    )


def over_seeds(values: list[float]) -> str:
    """A cell of a table: the mean, and each seed's."""
    return f"{mean(values):.3f} ({', '.join(f'{value:.3f}' for value in values)})"


def page(found: dict[str, Any]) -> str:
    """The Markdown page."""
    lines = ["# Does stage 1 pay?", "", *(f"- {name}: {value}" for name, value in found["setting"].items()), ""]
    held_out = "64 held-out videos, of 8 frames for captions and of 16 for questions, all of each read"
    lines += [f"Mean over the seeds (each seed's), on {held_out}.", ""]
    names = [name for name in found["runs"][0]["sft_lora"] if name.startswith("val/accuracy")]
    rows = [("projector_align", "val/loss"), ("sft_lora", "val/loss"), *(("sft_lora", name) for name in names)]
    arms = list(dict.fromkeys(each["compressor"] for each in found["runs"]))
    lines += ["| stage | measure | " + " | ".join(arms) + " |", "|---|---|" + "---:|" * len(arms)]
    for name, measure in rows:
        cells = []
        for arm in arms:
            values = [each[name][measure] for each in found["runs"] if each["compressor"] == arm]
            cells.append(over_seeds(values))
        lines.append(f"| {name} | {measure.removeprefix('val/')} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--compressors", choices=COMPRESSORS, nargs="+", default=list(COMPRESSORS))
    parser.add_argument("--out", type=Path, help="FILE of the page; FOLDER/stage1_pays unless given")
    options = parser.parse_args()
    out = options.out or options.work.resolve() / "stage1_pays"
    runs = [
        {"compressor": compressor, "seed": seed} | compare(options.work.resolve(), compressor, seed)
        for compressor in options.compressors
        for seed in options.seeds
    ]
    setting = {
        "command": "python benchmarks/tiny_world_road.py --work FOLDER "
        f"--seeds {' '.join(map(str, options.seeds))} --compressors {' '.join(options.compressors)}",
        "versions": f"python {platform.python_version()}, torch {version('torch')}, lightning {version('lightning')}",
        "date": date.today().isoformat(),
    }
    found = {"setting": setting, "runs": runs}
    write_file(out.with_suffix(".json"), (json.dumps(found, indent=1) + "\n").encode())
    write_file(out.with_suffix(".md"), page(found).encode())
    print(page(found))
    for seed in options.seeds if "recot" in options.compressors else []:
        go_on(options.work.resolve() / f"recot_{seed}", seed)


if __name__ == "__main__":
    main()
