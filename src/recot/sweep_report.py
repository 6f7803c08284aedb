"""``python -m recot.sweep_report DIR [DIR ...]``: the runs of stage-1 sweeps as a table, a CSV and a picture.

A DIR is what ``python src/train.py -m ...`` made: sub-folders ``0/``, ``1/``, ... with ``metrics.json`` and
``.hydra/config.yaml``. ``sweep.csv`` and ``sweep.png`` are written to the first DIR.
"""

import argparse
import csv
import io
import json
import math
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]

from recot.atomic import write_file
from recot.errors import DataError, report_errors
from recot.evaluation.pictures import write_png

METRICS = "metrics.json"
CONFIG = ".hydra/config.yaml"
MASKED = "val/explained_variance_masked"
SHOWN = {
    "masked EV": MASKED,
    "visible EV": "val/explained_variance_visible",
    "cosine": "val/cosine_masked",
    "order": "val/order_sensitivity",
}
"""Columns of the table and the metrics in them; every run has these."""
BASELINE = re.compile(r"val/baseline_(\w+)/explained_variance_masked")
STYLES = {
    "sgm": ("tab:blue", "o"),
    "random": ("tab:orange", "s"),
    "tube": ("tab:green", "^"),
    "redundant": ("tab:red", "D"),
}
"""Colour and marker of each masking kind, in the order of table and legend."""
EXAMPLE = "python src/train.py -m experiment=recot_pretrain stage.mask_ratio=0.5,0.6,0.75,0.9"


@dataclass(frozen=True)
class Run:
    """One finished run of a sweep. Metrics are as logged on validation data; explained variance is at most 1."""

    folder: Path
    masking: str
    mask_ratio: float
    seed: int
    metrics: dict[str, float]

    def best_baseline(self) -> tuple[float, str]:
        """Explained variance on masked tokens of the best trivial baseline, and its name."""
        found = {match[1]: self.metrics[name] for name in self.metrics if (match := BASELINE.fullmatch(name))}
        name = max(found, key=lambda name: found[name])
        return found[name], name


def read_sweeps(folders: Sequence[Path]) -> tuple[list[Run], dict[Path, str]]:
    """The finished runs, by masking kind, ratio and seed, and for each other run's folder why it can't be used.

    Raises:
        DataError: if there is no such folder, or no run in any of them.
    """
    runs, unusable = [], {}
    for sweep in folders:
        if not sweep.is_dir():
            raise DataError(f"{sweep}: there is no such folder. Give the folder that a sweep made: {EXAMPLE}")
        for folder in _run_folders(sweep):
            found = _read_run(folder)
            if isinstance(found, Run):
                runs.append(found)
            else:
                unusable[folder] = found
    if not runs and not unusable:
        raise DataError(
            f"{', '.join(map(str, folders))}: no runs there (folders 0/, 1/, ... with .hydra/config.yaml). Give the "
            f"folder that a sweep made, or make one with: {EXAMPLE}"
        )
    return sorted(runs, key=lambda run: ([*STYLES].index(run.masking), run.mask_ratio, run.seed)), unusable


def table(runs: Sequence[Run]) -> str:
    """One aligned line a run."""
    lines = [["masking", "ratio", "seed", *SHOWN, "best trivial baseline", "run"]]
    for run in runs:
        value, name = run.best_baseline()
        shown = [f"{run.metrics[metric]:.4f}" for metric in SHOWN.values()]
        ratio = f"{run.mask_ratio:g}"
        lines.append([run.masking, ratio, str(run.seed), *shown, f"{value:.4f} {name}", str(run.folder)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    left = {0, len(widths) - 1, len(widths) - 2}
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def write_csv(runs: Sequence[Run], path: Path) -> None:
    """All metrics, one row a run; a metric that a run lacks is empty."""
    names = sorted({name for run in runs for name in run.metrics})
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["run", "masking", "mask_ratio", "seed", *names])
    for run in runs:
        values = [run.metrics.get(name, "") for name in names]
        writer.writerow([run.folder, run.masking, run.mask_ratio, run.seed, *values])
    write_file(path, text.getvalue().encode())


def draw(runs: Sequence[Run], path: Path) -> None:
    """Masked explained variance against mask ratio: one line a kind, its trivial baseline dashed in the same colour."""
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.add_subplot()
    for kind in sorted({run.masking for run in runs}, key=[*STYLES].index):
        own = [run for run in runs if run.masking == kind]
        colour, marker = STYLES[kind]
        ratios, low, mean, high = _over_seeds(own, lambda run: run.metrics[MASKED])
        axes.plot(ratios, mean, color=colour, marker=marker, label=kind)
        axes.fill_between(ratios, low, high, color=colour, alpha=0.18, linewidth=0)
        ratios, _, mean, _ = _over_seeds(own, lambda run: run.best_baseline()[0])
        axes.plot(ratios, mean, color=colour, marker=marker, markersize=3, linestyle="--", linewidth=1)
    axes.plot([], [], color="grey", linestyle="--", linewidth=1, label="best trivial baseline\n(same masking)")
    ticks = sorted({run.mask_ratio for run in runs})
    axes.set_xticks(ticks, [f"{ratio:g}" for ratio in ticks])
    axes.set_xlabel("mask ratio (share of tokens hidden)")
    axes.set_ylabel("explained variance on masked tokens\n(1: perfect reconstruction)")
    figure.suptitle(f"ReCoT pretraining, {len(runs)} runs: mean over seeds, band from lowest to highest")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    write_png(figure, path)


def _run_folders(sweep: Path) -> list[Path]:
    """In order of the job numbers."""
    found = [path for path in sweep.iterdir() if (path / CONFIG).is_file() or (path / METRICS).is_file()]
    return sorted(found, key=lambda path: (int(path.name) if path.name.isdecimal() else 0, path.name))


def _read_run(folder: Path) -> Run | str:
    """The run in a folder, or the reason that it can't be used."""
    path = folder / METRICS
    if not path.is_file():
        return "no metrics.json: the run failed, or hasn't ended"
    try:
        metrics = json.loads(path.read_bytes())
        config = OmegaConf.load(folder / CONFIG)
        masking, ratio, seed = (OmegaConf.select(config, key) for key in ("stage.masking", "stage.mask_ratio", "seed"))
    except (OSError, ValueError, OmegaConfBaseException, YAMLError) as error:
        return f"can't be read: {' '.join(str(error).split())}"
    if masking not in STYLES or not isinstance(ratio, int | float) or not isinstance(seed, int):
        return f"not a run of stage 1: stage.masking is {masking!r}, stage.mask_ratio {ratio!r}, seed {seed!r}"
    if not isinstance(metrics, dict) or not all(_is_number(value) for value in metrics.values()):
        return "metrics.json is not a flat table of finite numbers"
    missing = [name for name in SHOWN.values() if name not in metrics]
    if missing or not any(BASELINE.fullmatch(name) for name in metrics):
        return f"metrics.json lacks {', '.join(missing) or 'the trivial baselines'}"
    return Run(folder, masking, float(ratio), seed, metrics)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _over_seeds(
    runs: Sequence[Run], measure: Callable[[Run], float]
) -> tuple[list[float], list[float], list[float], list[float]]:
    """The mask ratios in order, and at each the lowest, mean and highest value."""
    by_ratio = defaultdict(list)
    for run in runs:
        by_ratio[run.mask_ratio].append(measure(run))
    ratios = sorted(by_ratio)
    values = [by_ratio[ratio] for ratio in ratios]
    return ratios, [min(v) for v in values], [sum(v) / len(v) for v in values], [max(v) for v in values]


def main(arguments: list[str] | None = None) -> None:
    """Print the table, write the files; status 2 with one paragraph on stderr if there is nothing to report."""
    parser = argparse.ArgumentParser(prog="python -m recot.sweep_report", description="Compare the runs of sweeps.")
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help=f"made by: {EXAMPLE}")
    folders = parser.parse_args(arguments).folders
    with report_errors():
        runs, unusable = read_sweeps(folders)
        for folder, reason in unusable.items():
            print(f"left out: {folder}: {reason}")
        if not runs:
            raise DataError(
                f"{', '.join(map(str, folders))}: none of the {len(unusable)} runs can be used; the reasons are listed "
                f"above. Make a sweep with: {EXAMPLE}"
            )
        print(table(runs))
        try:
            write_csv(runs, folders[0] / "sweep.csv")
            draw(runs, folders[0] / "sweep.png")
        except OSError as error:
            raise DataError(f"{folders[0]} can't be written: {error}. Copy the sweep to a folder of yours.") from error
        print(f"\nMade:\n  {folders[0] / 'sweep.csv'}\n  {folders[0] / 'sweep.png'}")


if __name__ == "__main__":
    main()
