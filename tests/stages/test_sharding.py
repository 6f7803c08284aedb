"""Configs of trainers that cut a model over GPUs, and what they refuse."""

from pathlib import Path

import lightning
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from lightning.pytorch.strategies import DeepSpeedStrategy
from omegaconf import DictConfig
from torch.distributed.device_mesh import init_device_mesh

from recot import run
from recot.errors import ConfigError
from recot.models.lora import lora_parameters
from recot.stages.sharding import FullySharded, deepspeed, shard
from recot.stages.token_mean import TokenMean
from tests.conftest import REPO
from tests.stages.small_stage import Model


def config(trainer: str, *overrides: str) -> DictConfig:
    with initialize_config_dir(config_dir=str(REPO / "conf"), version_base="1.3"):
        return compose("train", overrides=["experiment=recot_pretrain", f"trainer={trainer}", *overrides])


def test_fsdp_is_the_default_trainer_with_another_strategy() -> None:
    sharded, default = config("fsdp").trainer, config("default").trainer
    assert isinstance(instantiate(sharded.strategy), FullySharded)
    assert {name for name, value in sharded.items() if default.get(name) != value} == {"strategy", "inference_mode"}


def test_a_missing_deepspeed_is_one_paragraph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    cfg = config("deepspeed", f"paths.run={tmp_path}")
    with pytest.raises(SystemExit) as stopped:
        run.launch(lambda: run.train(cfg))
    assert stopped.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: trainer=deepspeed needs DeepSpeed")


@pytest.mark.parametrize("stage", [0, 4, "2"])
def test_deepspeed_has_three_stages(stage: int) -> None:
    with pytest.raises(ConfigError, match="must be 1, 2 or 3"):
        deepspeed(stage=stage)


def test_deepspeed_cannot_accumulate() -> None:
    """Its strategy can't be made without the package, but what it refuses doesn't need any of it."""
    module = lightning.LightningModule()
    module._trainer = lightning.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, accumulate_grad_batches=2
    )
    module._trainer._accelerator_connector.strategy = DeepSpeedStrategy.__new__(DeepSpeedStrategy)
    with pytest.raises(ConfigError, match=r"trainer\.accumulate_grad_batches must be 1 with trainer=deepspeed"):
        TokenMean().loss(module, torch.ones(()), torch.tensor(3))


@pytest.fixture
def one_rank(tmp_path: Path) -> object:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    torch.distributed.destroy_process_group()


def test_weights_of_two_dtypes_cannot_be_trained_together(one_rank: object) -> None:
    model = Model(lora=True)
    for parameter in model.llm.parameters():
        parameter.data = parameter.data.bfloat16()
    with pytest.raises(ConfigError, match=r"trainer=fsdp: .*bfloat16 and float32.*model\.llm\.dtype=float32"):
        shard(model, one_rank)  # type: ignore[arg-type]
    model.llm.requires_grad_(False)
    for parameter in lora_parameters(model.llm).values():
        parameter.data = parameter.data.float()
        parameter.requires_grad_(True)
    shard(model, one_rank)  # type: ignore[arg-type]
    with torch.autocast("cpu", torch.bfloat16):
        model(torch.randn(1, 4, 8)).hidden.sum().backward()
    assert all(p.grad is not None for p in lora_parameters(model.llm).values())
    shard(model, one_rank)  # type: ignore[arg-type]  # once more changes nothing
