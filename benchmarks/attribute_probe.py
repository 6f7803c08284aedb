"""What survives compression: linear probes of five attributes on frozen tokens of the tiny world.

    python benchmarks/attribute_probe.py [--checkpoint RUN/checkpoints/final.ckpt ...] [--clips 2880] [--out FILE]

The same probe (``recot.evaluation.probes``) reads the encoder's uncompressed tokens, their mean over the four frames,
the maps of an untrained DTS (as training starts) and of the DTS of each checkpoint of stage 1; without a checkpoint,
the first three. Writes FILE.md, FILE.json and FILE.png.
"""

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
import transformers
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from matplotlib.figure import Figure
from omegaconf import OmegaConf
from torch import Tensor

import recot.run  # noqa: F401  the config's resolvers
from recot.atomic import write_file
from recot.checkpoints.reading import read_checkpoint
from recot.errors import ConfigError, DataError, report_errors
from recot.evaluation.pictures import write_png
from recot.evaluation.probes import ProbeResult, linear_probe, ratio_interval
from recot.models.dts import DynamicTokenSynthesizer
from recot.models.vision_encoder import FrozenVisionEncoder
from recot.tiny_world.probe_clips import TASKS, make_clips

REPO = Path(__file__).resolve().parents[1]
RESULT = REPO / "benchmarks/results/attribute_probe"
UNCOMPRESSED, POOLED, UNTRAINED, TRAINED = "uncompressed", "mean of frames", "untrained DTS", "trained DTS"
BATCH = 256  # clips encoded at a time
Compressor = Callable[[Tensor], Tensor]


def default_config() -> dict[str, Any]:
    """The config of ``experiment=recot_pretrain``."""
    with initialize_config_dir(config_dir=str(REPO / "conf"), version_base="1.3"):
        config = compose("train", overrides=["experiment=recot_pretrain"])
    # The rest needs a run's folder.
    return {"model": OmegaConf.to_container(config.model, resolve=True), "seed": config.seed}


def trained_dts(path: Path) -> tuple[DynamicTokenSynthesizer, dict[str, Any], str]:
    """The DTS of a checkpoint, its config, and the fingerprint of the encoder that it was trained on."""
    checkpoint = read_checkpoint(path)
    prefix = "recot.dts."
    weights = {k.removeprefix(prefix): v for k, v in checkpoint["state_dict"].items() if k.startswith(prefix)}
    if not weights:
        raise DataError(f"{path}: holds no DTS of stage 1. Give a checkpoint of experiment=recot_pretrain.")
    dts = instantiate(checkpoint["config"]["model"]["dts"])
    dts.load_state_dict(weights)
    return dts.eval(), checkpoint["config"], checkpoint["frozen_parts"]["vision_encoder"]


def untrained_dts(config: dict[str, Any]) -> DynamicTokenSynthesizer:
    """A DTS as training starts, from the run's seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config["seed"])
        dts: DynamicTokenSynthesizer = instantiate(config["model"]["dts"])
    return dts.eval()


def compressors(paths: list[Path]) -> tuple[FrozenVisionEncoder, dict[str, Compressor]]:
    """The encoder, and what is probed by name; the trained ones are named by their checkpoints."""
    loaded = [trained_dts(path) for path in paths]
    config = loaded[0][1] if loaded else default_config()
    encoder = instantiate(config["model"]["vision_encoder"])
    for path, (_, _, fingerprint) in zip(paths, loaded, strict=True):
        if fingerprint != encoder.fingerprint():
            raise DataError(f"{path}: was trained on another vision encoder than {paths[0]} names. Probe it apart.")
    made: dict[str, Compressor] = {
        UNCOMPRESSED: lambda tokens: tokens,
        POOLED: lambda tokens: tokens.mean(dim=1),
        UNTRAINED: untrained_dts(config),
    }
    return encoder, made | {str(path): dts for path, (dts, _, _) in zip(paths, loaded, strict=True)}


@torch.no_grad()
def probe_task(
    attribute: str, clips: int, encoder: FrozenVisionEncoder, made: dict[str, Compressor]
) -> list[dict[str, Any]]:
    """One row for each representation and number of training clips."""
    classes = len(TASKS[attribute])
    tokens, labels = [], []
    for split, wanted in (("train", clips), ("test", clips // 2)):
        task = make_clips(attribute, wanted - wanted % classes, split=split, size=encoder.image_size)
        frames = torch.from_numpy(task.frames).flatten(0, 1).split(4 * BATCH)
        tokens.append(torch.cat([encoder(chunk) for chunk in frames]).unflatten(0, (-1, 4)))
        labels.append(torch.from_numpy(task.labels))
    rows: list[dict[str, Any]] = []
    reference: dict[int, ProbeResult] = {}
    for name, compress in made.items():
        train, test = (torch.cat([compress(part) for part in split.split(BATCH)]) for split in tokens)
        for count in (len(train) // 4, len(train)):
            result = linear_probe(train[:count], labels[0][:count], test, labels[1])
            own = reference.setdefault(count, result)
            rows.append({"attribute": attribute, "representation": name, **measures(result, own)})
            print(f"{attribute}, {count} training clips, {name}: {result.accuracy:.3f}", flush=True)
    return rows


def measures(result: ProbeResult, reference: ProbeResult) -> dict[str, float]:
    """A result's figures."""
    low, high = result.interval
    ratio_low, ratio_high = ratio_interval(result.correct, reference.correct)
    return {
        "train clips": result.train_clips,
        "test clips": len(result.correct),
        "accuracy": result.accuracy,
        "low": low,
        "high": high,
        "ratio": result.accuracy / reference.accuracy,
        "ratio low": ratio_low,
        "ratio high": ratio_high,
        "regularisation": result.regularisation,
    }


def cell(rows: list[dict[str, Any]], value: str, low: str, high: str) -> str:
    """One result with its interval, or the mean of several with their range."""
    if len(rows) == 1:
        return f"{rows[0][value]:.3f} ({rows[0][low]:.3f}-{rows[0][high]:.3f})"
    values = [row[value] for row in rows]
    return f"{mean(values):.3f} ({min(values):.3f}-{max(values):.3f})"


def pick(rows: list[dict[str, Any]], attribute: str, name: str, most: bool = True) -> list[dict[str, Any]]:
    """Rows of a representation at the larger or smaller number of training clips."""
    fixed = (UNCOMPRESSED, POOLED, UNTRAINED)
    own = [row for row in rows if row["attribute"] == attribute]
    own = [r for r in own if (r["representation"] == name if name in fixed else r["representation"] not in fixed)]
    counts = [row["train clips"] for row in own]
    return [row for row in own if row["train clips"] == (max(counts) if most else min(counts))]


def table(rows: list[dict[str, Any]], names: list[str], most: bool) -> list[str]:
    """Accuracies by attribute, then ratios to the uncompressed tokens."""
    ratios = [*(f"{name}, ratio" for name in names[1:]), f"{names[-1]}, ratio above chance"]
    head = ["attribute", "clips", "chance", *names, *ratios]
    lines = ["| " + " | ".join(head) + " |", "|---" * 2 + "|---:" * (len(head) - 2) + "|"]
    for attribute, classes in TASKS.items():
        own = {name: pick(rows, attribute, name, most) for name in names}
        first, chance = own[UNCOMPRESSED][0], 1 / len(classes)
        cells = [attribute, f"{first['train clips']} + {first['test clips']}", f"{chance:.3f}"]
        cells += [cell(own[name], "accuracy", "low", "high") for name in names]
        cells += [cell(own[name], "ratio", "ratio low", "ratio high") for name in names[1:]]
        last = mean(row["accuracy"] for row in own[names[-1]])
        known = first["low"] > chance
        cells.append(f"{(last - chance) / (first['accuracy'] - chance):.3f}" if known else "-")
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def draw(rows: list[dict[str, Any]], names: list[str], path: Path) -> None:
    """Accuracies as bars, one group an attribute; chance is a line."""
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    axes = figure.add_subplot()
    places = np.arange(len(TASKS))
    width = 0.8 / len(names)
    for i, name in enumerate(names):
        own = [pick(rows, attribute, name) for attribute in TASKS]
        several = len(own[0]) > 1
        heights = np.array([mean(row["accuracy"] for row in one) for one in own])
        low = np.array([min(row["accuracy" if several else "low"] for row in one) for one in own])
        high = np.array([max(row["accuracy" if several else "high"] for row in one) for one in own])
        errors = np.stack([heights - low, high - heights]).clip(min=0)
        axes.bar(places + (i - (len(names) - 1) / 2) * width, heights, width, yerr=errors, label=name, capsize=2)
    for place, classes in zip(places, TASKS.values(), strict=True):
        chance = 1 / len(classes)
        axes.plot([place - 0.45, place + 0.45], [chance, chance], color="black", linestyle="--", linewidth=1)
    axes.plot([], [], color="black", linestyle="--", linewidth=1, label="chance")
    axes.set_xticks(places, list(TASKS))
    axes.set_ylabel("accuracy of a linear probe on test clips")
    axes.set_ylim(0, 1.02)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    write_png(figure, path)


def write(rows: list[dict[str, Any]], checkpoints: list[Path], out: Path) -> None:
    """Markdown, JSON and picture."""
    setting = {
        "command": "python benchmarks/attribute_probe.py " + " ".join(sys.argv[1:]),
        "hardware": f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
        "versions": f"python {platform.python_version()}, torch {torch.__version__}, "
        f"transformers {transformers.__version__}",
        "date": str(date.today()),
    }
    names = [UNCOMPRESSED, POOLED, UNTRAINED, *([TRAINED] if checkpoints else [])]
    several = f"; of {TRAINED}, mean and range of {len(checkpoints)} checkpoints" if len(checkpoints) > 1 else ""
    lines = [
        "# Linear attribute probe on the tiny world",
        "",
        *(f"- {key}: {value}" for key, value in setting.items()),
        "",
        "Accuracy on test clips of other seeds, with 95 % intervals (Wilson's; of ratios, bootstrapped over clips)"
        f"{several}. `clips` are training + test clips; a ratio is to the uncompressed tokens, above chance: of what "
        "both exceed chance by. The frames of an order clip are the same set for either label, so what ignores the "
        "order of frames stays at chance there, and under 0.5 on motion.",
        "",
        *table(rows, names, most=True),
        "",
        "With a quarter of the training clips:",
        "",
        *table(rows, names, most=False),
        "",
    ]
    out.parent.mkdir(parents=True, exist_ok=True)
    write_file(out.with_suffix(".md"), "\n".join(lines).encode())
    write_file(out.with_suffix(".json"), (json.dumps({"setting": setting, "rows": rows}, indent=1) + "\n").encode())
    draw(rows, names, out.with_suffix(".png"))
    print("\n".join(lines))


def main() -> None:
    """Probe every attribute, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, nargs="+", default=[], help="of stage 1, e.g. of several seeds")
    parser.add_argument("--clips", type=int, default=2880, help="training clips a task; half as many test clips")
    parser.add_argument("--out", type=Path, default=RESULT, help="the files to write, without suffix")
    arguments = parser.parse_args()
    with report_errors():
        if arguments.clips < 80:
            raise ConfigError(f"--clips is {arguments.clips}: 80 training clips a task is the least that is of use.")
        encoder, made = compressors(arguments.checkpoint)
        rows = [row for attribute in TASKS for row in probe_task(attribute, arguments.clips, encoder, made)]
        write(rows, arguments.checkpoint, arguments.out)


if __name__ == "__main__":
    main()
