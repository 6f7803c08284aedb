"""``benchmarks/attribute_probe.py`` as a user runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

import recot.run  # noqa: F401  the config's resolvers
from recot.stages.checkpointing import AtomicCheckpointIO
from recot.tiny_world.probe_clips import TASKS

REPO = Path(__file__).resolve().parents[2]


def probe(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, REPO / "benchmarks/attribute_probe.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three of stage 1 as a run saves them, before any step; the last has another vision encoder."""
    folder = tmp_path_factory.mktemp("checkpoints")
    paths = []
    for seed, overrides in enumerate(([], [], ["model.vision_encoder.drop_layers=2"])):
        with initialize_config_dir(config_dir=str(REPO / "conf"), version_base="1.3"):
            cfg = compose("train", overrides=["experiment=recot_pretrain", f"seed={seed}", *overrides])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = instantiate(cfg.stage.module)
        config = {"model": OmegaConf.to_container(cfg.model, resolve=True), "seed": cfg.seed}
        checkpoint = {"state_dict": module.state_dict(), "config": config}
        module.on_save_checkpoint(checkpoint)
        paths.append(folder / f"{seed}.ckpt")
        AtomicCheckpointIO().save_checkpoint(checkpoint, paths[-1])
    return paths


def test_report_of_two_checkpoints(checkpoints: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "results" / "probe"
    result = probe("--checkpoint", *checkpoints[:2], "--clips", "80", "--out", out)
    assert result.returncode == 0, result.stderr
    text = out.with_suffix(".md").read_text()
    assert "mean and range of 2 checkpoints" in text
    assert text in result.stdout
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    rows = json.loads(out.with_suffix(".json").read_text())["rows"]
    # Four representations, of which the trained DTS twice; two numbers of training clips.
    assert len(rows) == len(TASKS) * 5 * 2
    found = {(r["attribute"], r["representation"], r["train clips"]): r["accuracy"] for r in rows}
    for attribute, classes in TASKS.items():
        count = 80 - 80 % len(classes)
        # An untrained DTS is what training starts from: of the same seed, the checkpoint's own.
        assert found[attribute, "untrained DTS", count] == found[attribute, str(checkpoints[0]), count]
        assert found[attribute, "uncompressed", count] <= 1
    assert found["order", "uncompressed", 80] > 0.6


def test_checkpoints_of_two_encoders_are_refused(checkpoints: list[Path]) -> None:
    other = probe("--checkpoint", checkpoints[0], checkpoints[2])
    assert (other.returncode, other.stdout) == (2, "")
    assert f"{checkpoints[2]}: was trained on another vision encoder" in other.stderr
    assert "Traceback" not in other.stderr
