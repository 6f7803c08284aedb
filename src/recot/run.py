"""From a composed config to a trained or measured model: the only place in the package that knows Hydra."""

import errno
import json
import os
import re
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from hydra.types import RunMode
from hydra.utils import instantiate
from lightning.pytorch.callbacks import LearningRateMonitor
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from recot.atomic import write_file
from recot.checkpoints.hf_folder import read_inference, stage_setting
from recot.checkpoints.reading import require_checkpoint
from recot.errors import ConfigError, DataError, report_errors
from recot.evaluation.budgets import BUDGETS, FRAMES, settings_name, with_budgets
from recot.evaluation.results import read_figures
from recot.evaluation.runner import ModelUse, folder_hash
from recot.evaluation.runner import evaluate as run_suites
from recot.evaluation.suites import NeedleInAHaystack
from recot.evaluation.tables import table
from recot.stages.checkpointing import AtomicCheckpointIO, ConfigInCheckpoint

OmegaConf.register_new_resolver("accelerator", lambda: "gpu" if torch.cuda.is_available() else "cpu", replace=True)
OmegaConf.register_new_resolver(
    "precision", lambda: "bf16-mixed" if torch.cuda.is_available() else "32-true", replace=True
)
# The folder of a backbone that comes with the package: ${tiny_backbone:vision}
OmegaConf.register_new_resolver(
    "tiny_backbone", lambda name: str(files("recot.tiny_world") / "backbones" / name), replace=True
)

# Of the model in a folder: ${model_in:<folder>,frame_size}
OmegaConf.register_new_resolver("model_in", lambda folder, name: stage_setting(Path(folder), name), replace=True)

# The folder of an evaluation's logs: ${measured:<experiment>}
OmegaConf.register_new_resolver("measured", lambda experiment: experiment or "suites", replace=True)

_ELSEWHERE = "Runs write elsewhere with paths.outputs=<folder> (paths.sweeps=<folder> for sweeps)."
_UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENOSPC)


def launch(main: Callable[[], None]) -> None:
    """Run a Hydra entry; whatever the user gave wrong ends it with one paragraph and status 2.

    Status 3: all was evaluated, but for samples that failed.

    With HYDRA_FULL_ERROR=1 in the environment, exceptions come with their traceback instead.
    """
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        return main()
    # Makes Hydra raise its errors instead of printing them in its own way.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    _failed.clear()
    try:
        with report_errors():
            main()
    except InstantiationException as error:
        _give_up(f"{_one_line(error)}. Given on the command line: {' '.join(sys.argv[1:])}")
    except (HydraException, OmegaConfBaseException) as error:
        # What a resolver refuses is said as it says it.
        said = re.sub(r"^DataError raised while resolving interpolation: ", "", _one_line(error))
        _give_up(said + _options(str(error)))
    except ValueError as error:
        if not str(error).startswith("Config group override must be"):  # Hydra's, of a group such as evaluation=null
            raise
        _give_up(f"{error}. Given on the command line: {' '.join(sys.argv[1:])}. Leave null groups out.")
    except SamplesFailed as error:
        sys.stderr.write(f"{error}\n")
        others = [own for own in _failed if not isinstance(own, SamplesFailed)]
        if others:
            _give_up(f"{len(others)} of the sweep's jobs did not get as far as that: see above")
        raise SystemExit(3) from error
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        _give_up(f"{error.filename}: it can't be read or written ({error.strerror}). {_ELSEWHERE}")
    finally:
        os.environ.pop("HYDRA_FULL_ERROR", None)  # it is no business of what the caller does next


class SamplesFailed(Exception):
    """Some samples of an evaluation have no score. In a sweep, it is raised when all jobs are done."""


_failed: list[Exception] = []


def job(work: Callable[[DictConfig], dict[str, float]], cfg: DictConfig) -> dict[str, float]:
    """Run a job of Hydra's; of a sweep, say at once why it failed.

    A sweep goes on after a job that failed, and in the end Hydra raises the first one's error, and no other.
    """
    try:
        return work(cfg)
    except Exception as error:
        _failed.append(error)
        hydra = HydraConfig.get()
        if hydra.mode == RunMode.MULTIRUN:
            given = " ".join(hydra.overrides.task)
            sys.stderr.write(f"job {hydra.job.num} ({given}) failed: {type(error).__name__}: {_one_line(error)}\n")
        raise


def train(cfg: DictConfig) -> dict[str, float]:
    """Train a stage, measure it on validation data, and leave everything in the run's folder.

    Args:
        cfg: composed from ``conf/train.yaml``.

    Returns:
        The validation measures, as written to ``metrics.json``.

    Raises:
        RecotError: for anything that the config or the data make impossible.
    """
    if OmegaConf.is_missing(cfg, "init_from"):
        raise ConfigError(
            "init_from is not given: set it to the checkpoint of the stage before, "
            "init_from=<run>/checkpoints/final.ckpt, or to null to start from the model's own weights: fresh ones, "
            "or those of its folder with model=from_folder"
        )
    if cfg.resume is not None:
        require_checkpoint(Path(cfg.resume))
    run = _run_folder(cfg)
    trainer, module, data = _assemble(cfg, run)
    trainer.fit(module, datamodule=data, ckpt_path=cfg.resume, weights_only=True)
    if trainer.interrupted:
        raise SystemExit(130)
    final = run / "checkpoints" / "final.ckpt"
    trainer.save_checkpoint(final)
    metrics = _measure(trainer, module, data, checkpoint=None)
    if trainer.is_global_zero:
        made = {"checkpoint": final}
        if cfg.stage.export is not None:
            made["model"] = run / "model"
            instantiate(cfg.stage.export)(module, made["model"], metrics)
        _publish(cfg, run, metrics, made | _shards(data))
    return metrics


def evaluate(cfg: DictConfig) -> dict[str, float]:
    """Measure a model on benchmarks, or a stage's checkpoint on validation data.

    Args:
        cfg: composed from ``conf/eval.yaml``, with ``evaluation`` or with ``experiment``.

    Returns:
        Benchmarks' figures as ``<suite>/<figure>``, or as ``train``.

    Raises:
        RecotError: for anything that the config or the data make impossible.
        SamplesFailed: if all is evaluated, but for samples that couldn't be.
    """
    experiment = HydraConfig.initialized() and HydraConfig.get().runtime.choices.get("experiment")
    if "evaluation" in cfg and experiment:
        raise ConfigError(
            f"evaluation={','.join(cfg.evaluation)} and experiment={experiment}: give evaluation= with an exported "
            "model's folder, or experiment= with a stage's checkpoint file"
        )
    if "evaluation" in cfg:
        return _evaluate_suites(cfg)
    if HydraConfig.initialized() and not experiment:
        raise ConfigError(
            "nothing says what to measure: give evaluation=<suite> with an exported model's folder, or "
            "experiment=<name> with a stage's checkpoint file"
        )
    return _validate(cfg)


def _validate(cfg: DictConfig) -> dict[str, float]:
    if cfg.checkpoint is None:
        raise ConfigError("checkpoint is null: set it to the file of a run, checkpoint=<run>/checkpoints/final.ckpt")
    require_checkpoint(Path(cfg.checkpoint))
    cfg.init_from = None  # which experiments ask for: here the checkpoint brings all weights
    run = _run_folder(cfg)
    trainer, module, data = _assemble(cfg, run)
    metrics = _measure(trainer, module, data, checkpoint=cfg.checkpoint)
    if trainer.is_global_zero:
        _publish(cfg, run, metrics, {"checkpoint": Path(cfg.checkpoint)} | _shards(data))
    return metrics


def _evaluate_suites(cfg: DictConfig) -> dict[str, float]:
    if OmegaConf.is_missing(cfg, "checkpoint") or cfg.checkpoint is None:
        raise ConfigError("checkpoint is not given: set it to a folder that `python -m recot.checkpoints.export` wrote")
    checkpoint = Path(cfg.checkpoint)
    budgets = {name: cfg[name] for name in BUDGETS}
    use = ModelUse(
        folder=checkpoint,
        digest=folder_hash(checkpoint),
        inference=with_budgets(read_inference(checkpoint), **budgets),
        control=instantiate(cfg.control),
        scoring=cfg.scoring,
    )
    suites = {str(name): instantiate(suite) for name, suite in cfg.evaluation.items()}
    given = [f"{name}={cfg[name]}" for name in FRAMES if cfg[name] is not None]
    if given and all(isinstance(suite, NeedleInAHaystack) for suite in suites.values()):
        raise ConfigError(
            f"{', '.join(given)} with evaluation={','.join(suites)}: needles say themselves how many frames are seen. "
            "Set evaluation.<name>.lengths instead."
        )
    folder = Path(cfg.results) / use.name / settings_name(budgets, use.control, use.scoring)
    reports = run_suites(suites, use, folder, processes=cfg.processes)
    for name, report in reports.items():
        print(f"\n{table(name, report)}\nMade:\n  results     {folder / name}")
    for name, report in reports.items():
        if not report["samples"]["scored"]:
            first = report["failed"][0]
            raise DataError(
                f"{name}: all {report['samples']['all']} samples failed, so there is nothing to score. The first one: "
                f"{first['video_id']}: {first['message']}"
            )
    failed = sum(report["samples"]["failed"] for report in reports.values())
    if failed:
        raise SamplesFailed(f"{failed} samples failed and have no score: see `failed` in results.json in {folder}")
    return {f"{name}/{key}": own.value for name, report in reports.items() for key, own in read_figures(report).items()}


def _assemble(cfg: DictConfig, run: Path) -> tuple[L.Trainer, L.LightningModule, L.LightningDataModule]:
    if OmegaConf.is_missing(cfg.model, "folder"):
        raise ConfigError(
            "model.folder is not given: set it to the folder of the model to train on, model.folder=<folder>"
        )
    L.seed_everything(cfg.seed, workers=True)
    data = instantiate(cfg.data)
    module = instantiate(cfg.stage.module)
    loggers = list(instantiate(cfg.logger).values())
    trainer = instantiate(
        cfg.trainer,
        val_check_interval=_batches_between_validations(cfg.trainer),
        logger=loggers,
        callbacks=[*_callbacks(cfg, logged=bool(loggers)), ConfigInCheckpoint(_plain(cfg))],
        plugins=[AtomicCheckpointIO()],
        default_root_dir=str(run),
    )
    return trainer, module, data


def _batches_between_validations(trainer: DictConfig) -> Any:
    """Lightning counts micro-batches there, but steps of the optimizer everywhere else. So does the config."""
    interval = trainer.val_check_interval
    # Others than whole numbers are shares of an epoch, or times.
    return interval * trainer.accumulate_grad_batches if type(interval) is int else interval


def _callbacks(cfg: DictConfig, *, logged: bool) -> list[L.Callback]:
    """Those of the config, but for the monitor of learning rates where nothing is logged: it refuses to train."""
    callbacks = instantiate(cfg.callbacks).values()
    return [callback for callback in callbacks if logged or not isinstance(callback, LearningRateMonitor)]


def _measure(
    trainer: L.Trainer, module: L.LightningModule, data: L.LightningDataModule, checkpoint: str | None
) -> dict[str, float]:
    (logged,) = trainer.validate(module, datamodule=data, ckpt_path=checkpoint, weights_only=True, verbose=False)
    return {name: float(value) for name, value in logged.items()}


def _shards(data: L.LightningDataModule) -> dict[str, Path]:
    """The shard folders that were read, if the data come from shards."""
    paths = {"train data": getattr(data, "train_paths", []), "val data": getattr(data, "val_paths", [])}
    return {name: Path(folders[0]) for name, folders in paths.items() if folders}


def _publish(cfg: DictConfig, run: Path, metrics: dict[str, float], made: dict[str, Path]) -> None:
    write_file(run / "metrics.json", json.dumps(metrics, indent=1, sort_keys=True).encode())
    text = instantiate(cfg.stage.report)(metrics)
    write_file(run / "report.md", text.encode())
    made = {**made, "report": run / "report.md", "metrics": run / "metrics.json"}
    for name in ("pictures", "csv", "tensorboard"):
        if (run / name).is_dir():
            made[name] = run / name
    if (run / "failures.jsonl").is_file():
        made["failures"] = run / "failures.jsonl"
    where = "\n".join(f"  {name:<11} {path}" for name, path in made.items())
    print(f"\n{text}\nMade:\n{where}")


def _run_folder(cfg: DictConfig) -> Path:
    run = Path(cfg.paths.run)
    try:
        run.mkdir(parents=True, exist_ok=True)
        probe = run / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise DataError(_unwritable(error)) from error
    return run


def _plain(cfg: DictConfig) -> dict[str, Any]:
    container = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def _unwritable(error: OSError) -> str:
    return f"{error.filename}: the output folder can't be written ({error.strerror}). {_ELSEWHERE}"


def _options(message: str) -> str:
    """What there is, for a config that isn't: Hydra lists it for ``group=name`` only, not for ``group=[a,b]``."""
    missing = re.search(r"Could not load '(.+)/", message)
    folders = re.findall(r"path=file://(.+)", message)
    if missing is None:
        return ""
    found = {path.stem for folder in folders for path in Path(folder, missing[1]).glob("*.yaml")}
    return f" Available options in '{missing[1]}': {' '.join(sorted(found))}"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _give_up(message: str) -> None:
    sys.stderr.write(f"error: {message}\n")
    raise SystemExit(2)
