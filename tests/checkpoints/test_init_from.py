"""What stages hand on: parts by name, errors that list what doesn't match, and backbones that aren't in checkpoints."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from recot.checkpoints.frozen_parts import FrozenParts
from recot.checkpoints.init_from import init_from
from recot.checkpoints.reading import read_checkpoint
from recot.errors import DataError
from recot.losses import ReconstructionWeights
from recot.models.decoder import ReconstructionDecoder
from recot.models.dts import DynamicTokenSynthesizer
from recot.models.llm import seeded_llm
from recot.models.lora import LoraSettings, add_lora, merge
from recot.models.masking import make_masking
from recot.models.projector import Projector
from recot.models.recot import Recot
from recot.models.selector import Selector
from recot.models.vision_encoder import seeded_encoder
from recot.stages.checkpointing import AtomicCheckpointIO
from recot.stages.recot_pretrain import RecotPretrain
from tests.models.small_backbones import ENCODER, LLM

LORA = LoraSettings(rank=2, alpha=4, targets=["q_proj"], dropout=0.0, use_rslora=False, use_dora=False)
STAGE_ONE_ONLY = ["masking", "decoder", "mask_token"]


def encoder(seed: int = 0) -> nn.Module:
    return seeded_encoder(config=ENCODER, drop_layers=1, grid=4, seed=seed)


class Model(nn.Module):
    """The parts of the video language model."""

    def __init__(
        self, *, seed: int, encoder_seed: int = 0, llm_seed: int = 0, lora: bool = False, width: int = 32
    ) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.vision_encoder = encoder(encoder_seed)
        self.dts = DynamicTokenSynthesizer(width=width)
        self.projector = Projector(width=width, llm_width=32)
        self.selector = Selector(width=32)
        self.llm = seeded_llm(config=LLM, seed=llm_seed)
        self.requires_grad_(False)
        self.projector.requires_grad_(True)
        if lora:
            add_lora(self.llm, LORA, seed=seed)
            with torch.no_grad():
                for name, parameter in self.llm.named_parameters():
                    if "lora_B" in name:
                        parameter.normal_()


class Stage(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.frozen = FrozenParts({"model.vision_encoder": model.vision_encoder, "model.llm": model.llm})


def save(stage: Any, path: Path) -> Path:
    """As Lightning does."""
    checkpoint: dict[str, Any] = {"state_dict": stage.state_dict(), "config": {}}
    stage.frozen.leave_out(checkpoint)
    AtomicCheckpointIO().save_checkpoint(checkpoint, path)
    return path


def stage_one(path: Path, encoder_seed: int = 0) -> tuple[RecotPretrain, Path]:
    torch.manual_seed(7)
    recot = Recot(
        dts=DynamicTokenSynthesizer(width=32),
        masking=make_masking(kind="sgm", width=32, mask_ratio=0.5),
        decoder=ReconstructionDecoder(width=32),
    )
    stage = RecotPretrain(
        vision_encoder=encoder(encoder_seed),
        recot=recot,
        loss=ReconstructionWeights(masked=1.0, visible=1.0, cosine=0.5, difference=0.5),
        learning_rate=1e-3,
        dts_rate=0.25,
        weight_decay=0.05,
        betas=(0.9, 0.95),
        warmup_steps=2,
        compile=False,
    )
    return stage, save(stage, path / "one.ckpt")


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def same(a: nn.Module, b: nn.Module) -> bool:
    first, second = a.state_dict(), b.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_stage_one_hands_its_compressor_on(tmp_path: Path) -> None:
    trained, path = stage_one(tmp_path)
    model = Model(seed=1)
    before = state(model.projector)
    loaded = init_from(
        model, path, expected_missing=["projector", "selector", "llm"], expected_unexpected=STAGE_ONE_ONLY
    )
    assert loaded == ["dts"]
    assert same(model.dts, trained.recot.dts)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.projector.state_dict().items())


def test_what_does_not_match_is_told_part_by_part(tmp_path: Path) -> None:
    trained, path = stage_one(tmp_path)
    model = Model(seed=1)
    before = state(model)
    counts = {name: len(getattr(model, name).state_dict()) for name in ("projector", "selector", "llm")}
    decoder, masking = (len(part.state_dict()) for part in (trained.recot.decoder, trained.recot.masking))
    with pytest.raises(DataError) as whole:
        init_from(model, path)
    missing, found = re.fullmatch(
        r".*missing in the checkpoint: (.*)\. unknown to this stage: (.*)\. If.*", str(whole.value)
    ).groups()
    for part, count in counts.items():
        assert f"{part} ({count} of {count}, e.g. {part}." in missing
    assert found.startswith(f"decoder ({decoder} of {decoder}, e.g. decoder.")
    assert f"; mask_token (1 of 1, e.g. mask_token); masking ({masking} of {masking}, e.g. masking." in found
    assert "vision_encoder" not in missing
    with pytest.raises(DataError, match=r"unknown to this stage: mask_token \(1 of 1, e\.g\. mask_token\)\. If"):
        init_from(model, path, expected_missing=list(counts), expected_unexpected=["masking", "decoder"])
    with pytest.raises(DataError, match=r"checkpoint: projector \(1 of 4, e\.g\. projector\.layers\.2\.bias\)\. If"):
        init_from(
            model,
            path,
            expected_missing=["projector.layers.0", "projector.layers.2.weight", "selector", "llm"],
            expected_unexpected=STAGE_ONE_ONLY,
        )
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_other_shapes_are_named_with_both(tmp_path: Path) -> None:
    stage = Stage(Model(seed=0))
    checkpoint = {"state_dict": stage.state_dict() | {"model.projector.layers.0.bias": torch.zeros(48)}, "config": {}}
    AtomicCheckpointIO().save_checkpoint(checkpoint, tmp_path / "a.ckpt")
    told = r"of another shape: projector \(1 of 4, e\.g\. projector\.layers\.0\.bias: checkpoint \(48,\), model \(32,\)"
    with pytest.raises(DataError, match=told):
        init_from(Model(seed=0), tmp_path / "a.ckpt")


def test_frozen_backbones_are_left_out_and_recognised(tmp_path: Path) -> None:
    trained = Stage(Model(seed=3))
    path = save(trained, tmp_path / "two.ckpt")
    checkpoint = read_checkpoint(path)
    assert {name.split(".")[1] for name in checkpoint["state_dict"]} == {"dts", "projector", "selector"}
    assert checkpoint["frozen_parts"].keys() == {"vision_encoder", "llm"}
    model = Model(seed=4)
    assert init_from(model, path) == ["dts", "projector", "selector"]
    assert same(model, trained.model)
    with pytest.raises(DataError, match=r"another vision encoder than the one configured under model\.vision_encoder"):
        init_from(Model(seed=4, encoder_seed=1), path)
    with pytest.raises(DataError, match=r"another llm than the one configured under model\.llm"):
        init_from(Model(seed=4, llm_seed=1), path)


def test_bfloat16_and_the_same_weights_in_float32_are_one_backbone(tmp_path: Path) -> None:
    model = Model(seed=3)
    model.llm.bfloat16()
    path = save(Stage(model), tmp_path / "two.ckpt")
    again = Model(seed=4)
    again.llm.bfloat16().float()
    assert init_from(again, path) == ["dts", "projector", "selector"]
    with pytest.raises(DataError, match="another llm"):
        init_from(Model(seed=4), path)  # never rounded


@pytest.mark.parametrize("adapters_first", [True, False])
def test_adapters_may_be_there_before_or_come_after(tmp_path: Path, adapters_first: bool) -> None:
    path = save(Stage(Model(seed=3)), tmp_path / "two.ckpt")
    model = Model(seed=4, lora=adapters_first)
    if adapters_first:
        with pytest.raises(
            DataError,
            match=r"missing in the checkpoint: lora \(4 of 4, e\.g\. llm\.model\.layers\.0\.self_attn\.q_proj\.lora_A",
        ):
            init_from(model, path)
    assert init_from(model, path, expected_missing=["lora"]) == ["dts", "projector", "selector"]


def test_adapters_are_kept_while_the_model_below_them_is_left_out(tmp_path: Path) -> None:
    trained = Stage(Model(seed=3, lora=True))
    path = save(trained, tmp_path / "three.ckpt")
    names = [name for name in read_checkpoint(path)["state_dict"] if name.startswith("model.llm.")]
    assert len(names) == 4
    assert all(".lora_" in name for name in names)
    model = Model(seed=5, lora=True)
    assert init_from(model, path) == ["dts", "llm", "projector", "selector"]
    assert same(model, trained.model)
    plain = Model(seed=5)
    with pytest.raises(
        DataError,
        match=r"unknown to this stage: lora \(4 of 4, e\.g\. llm\.model\.layers\.0\.self_attn\.q_proj\.lora_A",
    ):
        init_from(plain, path)
    assert init_from(plain, path, expected_unexpected=["lora"]) == ["dts", "projector", "selector"]


def test_a_trained_language_model_is_handed_on_and_stays_in_checkpoints(tmp_path: Path) -> None:
    model = Model(seed=3)
    model.llm.requires_grad_(True)
    with torch.no_grad():
        model.llm.model.norm.weight.mul_(2)
    trained = Stage(Model(seed=3))
    trained.model = model
    trained.frozen = FrozenParts({"model.vision_encoder": model.vision_encoder, "model.llm": model.llm})
    path = save(trained, tmp_path / "three.ckpt")
    assert "model.llm.model.norm.weight" in read_checkpoint(path)["state_dict"]
    for lora in (False, True):
        following = Stage(Model(seed=6, lora=lora))
        loaded = init_from(following.model, path, frozen=following.frozen, expected_missing=["lora"])
        assert loaded == ["dts", "llm", "projector", "selector"]
        # Frozen here, but not what its source has.
        again = save(following, tmp_path / "four.ckpt")
        checkpoint = read_checkpoint(again)
        assert checkpoint["frozen_parts"].keys() == {"vision_encoder"}
        assert torch.equal(checkpoint["state_dict"]["model.llm.model.norm.weight"], model.llm.model.norm.weight)
        resumed = Stage(Model(seed=7, lora=lora))
        resumed.frozen.fill_in(checkpoint, resumed)
        resumed.load_state_dict(checkpoint["state_dict"])
        assert same(resumed.model, following.model)
        assert "model.llm.model.norm.weight" in read_checkpoint(save(resumed, tmp_path / "five.ckpt"))["state_dict"]


def test_resuming_needs_the_same_backbones_and_keys(tmp_path: Path) -> None:
    trained = Stage(Model(seed=3, lora=True))
    path = save(trained, tmp_path / "three.ckpt")
    resumed = Stage(Model(seed=4, lora=True))
    checkpoint = read_checkpoint(path)
    resumed.frozen.fill_in(checkpoint, resumed)
    resumed.load_state_dict(checkpoint["state_dict"], strict=True)
    assert same(resumed.model, trained.model)
    for other, message in (
        (Model(seed=4, lora=True, llm_seed=1), "another llm"),
        (Model(seed=4, lora=True, encoder_seed=1), "another vision encoder"),
        (
            Model(seed=4),
            r"unknown to this stage: lora \(4 of 4, e\.g\. model\.llm\.model\.layers\.0\.self_attn\.q_proj\.lora_A",
        ),
        (
            Model(seed=4, lora=True, width=64),
            r"of another shape: dts \(.*; projector \(1 of 4, e\.g\. model\.projector\.",
        ),
    ):
        stage = Stage(other)
        with pytest.raises(DataError, match=message):
            stage.frozen.fill_in(read_checkpoint(path), stage)


def test_merged_adapters_are_other_weights_than_the_sources(tmp_path: Path) -> None:
    model = Model(seed=3, lora=True)
    merge(model.llm)
    path = save(Stage(model), tmp_path / "merged.ckpt")
    with pytest.raises(DataError, match="another llm"):
        init_from(Model(seed=3), path)


@pytest.mark.parametrize("damage", ["truncated", "absent", "foreign"])
def test_files_that_are_no_checkpoints(tmp_path: Path, damage: str) -> None:
    path = save(Stage(Model(seed=0)), tmp_path / "a.ckpt")
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-1000])
    elif damage == "absent":
        path.unlink()
    else:
        torch.save({"weights": torch.zeros(2)}, path)
    with pytest.raises(DataError, match=rf"{path}.*(copied again|no checkpoint there|recot wrote)"):
        init_from(Model(seed=0), path)


def test_nothing_in_common(tmp_path: Path) -> None:
    AtomicCheckpointIO().save_checkpoint(
        {"state_dict": {"model.other": torch.ones(2)}, "config": {}}, tmp_path / "a.ckpt"
    )
    with pytest.raises(DataError, match=r"no weights in common with this stage, only \['other'\]"):
        init_from(
            Model(seed=0),
            tmp_path / "a.ckpt",
            expected_missing=["vision_encoder", "dts", "projector", "selector", "llm"],
            expected_unexpected=["other"],
        )
