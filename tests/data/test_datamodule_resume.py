"""A resumed run sees bit for bit the batches of an unbroken one."""

import json
import os
import shutil
import signal
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import SingleDeviceStrategy

from recot.data.datamodule import VideoDataModule
from recot.errors import ConfigError
from tests.data.clips import Diary, data, fingerprint, trainer

REPO = Path(__file__).resolve().parents[2]


def fit(root: Path, module: VideoDataModule, ckpt: Path | None = None, estimate: bool = False, **options: Any) -> Diary:
    model = Diary(estimate_steps=estimate)
    trainer(root, **options).fit(model, datamodule=module, ckpt_path=ckpt, weights_only=True if ckpt else None)
    return model


def every_step(root: Path) -> ModelCheckpoint:
    return ModelCheckpoint(root, filename="{step}", every_n_train_steps=1, save_top_k=-1)


class LateRestore(SingleDeviceStrategy):
    """Restores checkpoints after the optimizers were made, as FSDP and DeepSpeed do."""

    restore_checkpoint_after_setup = property(lambda self: True)  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("options", "estimate", "late"),
    [
        ({"batch_size": 3}, False, False),
        ({"batch_size": 4, "token_budget": 120}, True, False),
        ({"batch_size": 4, "token_budget": 120}, True, True),
    ],
)
def test_resuming_after_any_step(
    clips: Path, val_clips: Path, tmp_path: Path, options: dict[str, Any], estimate: bool, late: bool
) -> None:
    """From the middle of epochs 0, 1 and 2, and from their ends."""
    unbroken = fit(
        tmp_path, data(clips, val_clips, **options), estimate=estimate, max_epochs=3, callbacks=[every_step(tmp_path)]
    )
    steps = len(unbroken.train_lines)
    epoch = steps // 3
    assert steps % 3 == 0
    assert len(set(unbroken.train_lines)) == steps
    for step in sorted({1, epoch - 1, epoch, epoch + 1, 2 * epoch, 2 * epoch + 1, steps - 1}):
        strategy = {"strategy": LateRestore("cpu")} if late else {}
        module = data(clips, val_clips, **options)
        resumed = fit(tmp_path, module, tmp_path / f"step={step}.ckpt", estimate, max_epochs=3, **strategy)
        assert resumed.train_lines == unbroken.train_lines[step:], f"after step {step} of {epoch} an epoch"


@pytest.mark.parametrize("when", ["train epoch end", "validation end", "mid-epoch validation"])
def test_resuming_from_checkpoints_of_epoch_and_validation_ends(
    clips: Path, val_clips: Path, tmp_path: Path, when: str
) -> None:
    keep = ModelCheckpoint(
        tmp_path, filename="{step}", save_top_k=-1, save_on_train_epoch_end=when == "train epoch end"
    )
    interval = 2 if when == "mid-epoch validation" else 1.0
    options = {"max_epochs": 3, "val_check_interval": interval}
    unbroken = fit(tmp_path, data(clips, val_clips), callbacks=[keep], **options)
    saved = sorted(tmp_path.glob("*.ckpt"), key=lambda path: int(path.stem.removeprefix("step=")))
    assert [path.stem for path in saved] == (
        ["step=2", "step=4", "step=6", "step=8", "step=10", "step=12"]
        if when == "mid-epoch validation"
        else ["step=4", "step=8", "step=12"]
    )
    for path in saved[:-1]:
        resumed = fit(tmp_path, data(clips, val_clips), path, **options)
        step = int(path.stem.removeprefix("step="))
        assert resumed.train_lines == unbroken.train_lines[step:], path


def test_short_lightning_epochs_skip_no_data(clips: Path, val_clips: Path, tmp_path: Path) -> None:
    whole = fit(tmp_path, data(clips, val_clips), max_epochs=2)
    for options in ({"limit_train_batches": 3}, {"limit_train_batches": 3, "reload_dataloaders_every_n_epochs": 1}):
        short = fit(tmp_path, data(clips, val_clips), max_steps=8, callbacks=[every_step(tmp_path)], **options)
        assert short.train_lines == whole.train_lines
        for step in (2, 3, 4):
            resumed = fit(
                tmp_path, data(clips, val_clips), tmp_path / f"step={step}.ckpt", max_steps=8, max_epochs=-1, **options
            )
            assert resumed.train_lines == whole.train_lines[step:]
        for path in tmp_path.glob("*.ckpt"):
            path.unlink()


def test_runs_counted_in_steps_with_validation_across_epochs(clips: Path, val_clips: Path, tmp_path: Path) -> None:
    """As the default config trains: Lightning then takes every loop it restores for one in the middle of an epoch."""
    options = {"max_steps": 11, "max_epochs": -1, "val_check_interval": 3, "check_val_every_n_epoch": None}
    unbroken = fit(tmp_path, data(clips, val_clips), callbacks=[every_step(tmp_path)], **options)
    assert len(unbroken.train_lines) == 11
    assert len(unbroken.val_lines) == 3 * 2
    for step in (2, 3, 4, 6, 8, 9):
        resumed = fit(tmp_path, data(clips, val_clips), tmp_path / f"step={step}.ckpt", **options)
        assert resumed.train_lines == unbroken.train_lines[step:], step


def test_accumulated_batches_and_checkpoints_between_them(clips: Path, val_clips: Path, tmp_path: Path) -> None:
    options = {"max_epochs": 2, "accumulate_grad_batches": 2}
    unbroken = fit(tmp_path, data(clips, val_clips), callbacks=[every_step(tmp_path)], **options)
    assert len(unbroken.train_lines) == 8
    for step in (1, 2, 3):
        resumed = fit(tmp_path, data(clips, val_clips), tmp_path / f"step={step}.ckpt", **options)
        assert resumed.train_lines == unbroken.train_lines[2 * step :]


def run_script(**options: Any) -> subprocess.CompletedProcess[str]:
    script = [sys.executable, "-m", "tests.data.run_and_die", json.dumps(options)]
    return subprocess.run(script, cwd=REPO, capture_output=True, text=True, timeout=300, env=dict(os.environ))


def test_killed_run_resumes_with_other_workers(clips: Path, val_clips: Path, tmp_path: Path) -> None:
    """Real processes: 2 workers, SIGKILL in the middle of epoch 1 while they read ahead, resumed with 3."""
    common = {"train": str(clips), "val": str(val_clips), "root": str(tmp_path), "max_epochs": 3, "token_budget": 120}
    diary = tmp_path / "diary"
    module = data(clips, val_clips, batch_size=4, token_budget=120)
    unbroken = fit(tmp_path / "unbroken", module, max_epochs=3).train_lines
    die_at = len(unbroken) // 3 + 2
    killed = run_script(**common, workers=2, diary=str(diary), die_at=die_at)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert diary.read_text().splitlines() == unbroken[: die_at + 1]
    diary.unlink()
    ckpt = tmp_path / f"step={die_at - 1}.ckpt"
    resumed = run_script(**common, workers=3, diary=str(diary), ckpt=str(ckpt))
    assert resumed.returncode == 0, resumed.stderr
    assert diary.read_text().splitlines() == unbroken[die_at - 1 :]
    assert "not resumable" not in resumed.stderr


def test_state_is_of_trained_batches_not_of_read_ahead_ones(clips: Path, val_clips: Path, tmp_path: Path) -> None:
    module = data(clips, val_clips, num_workers=2)
    model = fit(tmp_path, module, max_steps=2)
    assert len(model.train_lines) == 2
    assert module.state_dict()["epoch"] == 0
    assert module.state_dict()["position"] == 2


def test_another_world_size_goes_on_in_the_planned_order(clips: Path, val_clips: Path, tmp_path: Path) -> None:
    """What two ranks would read after one rank stopped, and the other way round."""

    def ranks(module: VideoDataModule, world_size: int, batches: int) -> list[str]:
        module.setup("fit")
        lines: list[list[str]] = []
        for rank in range(world_size):
            module._place = lambda rank=rank: (rank, world_size)  # type: ignore[method-assign]
            loader = iter(module.train_dataloader())
            lines.append([fingerprint(batch).split(" Cursor")[0] for batch in islice(loader, batches // world_size)])
        return [line for step in zip(*lines, strict=True) for line in step]

    options = {"batch_size": 1}
    one = ranks(data(clips, val_clips, **options), 1, 10)
    stopped = data(clips, val_clips, **options)
    fit(tmp_path, stopped, max_steps=4)
    resumed = data(clips, val_clips, **options)
    resumed.setup("fit")
    resumed.load_state_dict(stopped.state_dict())
    assert ranks(resumed, 2, 6) == one[4:]
    assert ranks(data(clips, val_clips, **options), 2, 4) == one[:4]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 6}, "data.seed was 5, now 6"),
        ({"batch_size": 2}, "data.batch_size was 3, now 2"),
        ({"token_budget": 200}, "data.token_budget was None, now 200"),
        ({"groups_per_sample": 1}, "data.groups_per_sample was 2, now 1"),
        ({"train_weights": [2.0]}, "data.train_weights"),
    ],
)
def test_another_order_is_refused(
    clips: Path, val_clips: Path, tmp_path: Path, change: dict[str, Any], named: str
) -> None:
    fit(tmp_path, data(clips, val_clips), max_steps=1, callbacks=[every_step(tmp_path)])
    with pytest.raises(ConfigError, match="can't be resumed") as caught:
        fit(tmp_path, data(clips, val_clips, **change), tmp_path / "step=1.ckpt", max_steps=2)
    assert named in str(caught.value)


def test_other_data_are_refused_but_moved_and_evaluated_ones_are_not(
    clips: Path, val_clips: Path, tmp_path: Path
) -> None:
    first = fit(tmp_path, data(clips, val_clips), max_steps=4, callbacks=[every_step(tmp_path)])
    ckpt = tmp_path / "step=1.ckpt"
    with pytest.raises(ConfigError, match=r"data.train \(hash of its index\)"):
        fit(tmp_path, data(val_clips, val_clips), ckpt, max_steps=2)
    moved = shutil.copytree(clips, tmp_path / "elsewhere")
    assert fit(tmp_path, data(moved, val_clips), ckpt, max_steps=4).train_lines == first.train_lines[1:]
    model = Diary()
    trainer(tmp_path).validate(model, datamodule=data(val_clips, val_clips), ckpt_path=ckpt, weights_only=True)
    assert len(model.val_lines) == 2


def test_a_new_run_of_the_same_module_starts_over(clips: Path, val_clips: Path, tmp_path: Path) -> None:
    module = data(clips, val_clips)
    first = fit(tmp_path, module, max_steps=2).train_lines
    assert fit(tmp_path, module, max_steps=2).train_lines == first


def test_reading_touches_no_global_generator(clips: Path, val_clips: Path) -> None:
    module = data(clips, val_clips, num_workers=1)
    module.setup("fit")
    before = torch.get_rng_state()
    next(iter(module.train_dataloader()))
    assert torch.equal(before, torch.get_rng_state())
    module.teardown("fit")
