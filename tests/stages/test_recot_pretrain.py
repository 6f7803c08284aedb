"""The stage module on its own: masking noise, divergence, checkpoints that don't fit, schedule."""

from pathlib import Path
from typing import Any

import pytest
import torch

from recot.batch import Cursor, VideoBatch
from recot.checkpoints.reading import read_checkpoint
from recot.errors import DataError
from recot.losses import ReconstructionWeights
from recot.models.decoder import ReconstructionDecoder
from recot.models.dts import DynamicTokenSynthesizer
from recot.models.masking import make_masking
from recot.models.recot import Recot
from recot.models.vision_encoder import seeded_encoder
from recot.stages.checkpointing import AtomicCheckpointIO
from recot.stages.divergence import NonFiniteLossError
from recot.stages.optimization import parameter_groups, warmup_cosine
from recot.stages.recot_pretrain import RecotPretrain, mask_noise

ENCODER = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}


def module(
    kind: str = "sgm", encoder_seed: int = 0, seed: int = 0, init_from: Path | None = None, **changes: Any
) -> RecotPretrain:
    torch.manual_seed(seed)
    encoder = seeded_encoder(config=ENCODER, drop_layers=1, grid=4, seed=encoder_seed)
    recot = Recot(
        dts=DynamicTokenSynthesizer(width=32, heads=changes.pop("heads", 1)),
        masking=make_masking(kind=kind, width=32, mask_ratio=0.5),
        decoder=ReconstructionDecoder(width=32),
    )
    return RecotPretrain(
        vision_encoder=encoder,
        recot=recot,
        loss=ReconstructionWeights(masked=1.0, visible=1.0, cosine=0.5, difference=0.5),
        learning_rate=1e-3,
        dts_rate=0.25,
        weight_decay=0.05,
        betas=(0.9, 0.95),
        warmup_steps=2,
        compile=False,
        init_from=None if init_from is None else str(init_from),
    )


def batch(seeds: list[int], groups: list[int]) -> VideoBatch:
    total = sum(groups)
    generator = torch.Generator().manual_seed(seeds[0])
    return VideoBatch(
        frames=torch.randint(0, 256, (total, 4, 32, 32, 3), dtype=torch.uint8, generator=generator),
        features=None,
        valid=torch.ones(total, 4, dtype=torch.bool),
        times_s=torch.zeros(total, 4, dtype=torch.float64),
        sample=torch.repeat_interleave(torch.arange(len(seeds)), torch.tensor(groups)),
        keys=[f"key{seed}" for seed in seeds],
        seeds=seeds,
        cursor=Cursor(0, 1),
    )


def test_mask_noise_of_a_sample_does_not_depend_on_its_batch() -> None:
    together = mask_noise(batch([5, 6], [2, 3]), (4, 4, 4))
    assert torch.equal(together[:2], mask_noise(batch([5], [2]), (4, 4, 4)))
    assert torch.equal(together[2:], mask_noise(batch([6], [3]), (4, 4, 4)))


def test_cached_features_give_the_loss_of_live_frames() -> None:
    stage = module()
    live = batch([1, 2], [2, 1])
    cached = VideoBatch(**{**live.__dict__, "frames": None, "features": stage.features(live)})
    for precision, tolerance in ((torch.float32, 0.0), (torch.bfloat16, 5e-3)):
        cached.features = stage.features(live).to(precision)
        expected, got = (stage.reconstruct(stage.features(b), b) for b in (live, cached))
        agree = (expected.mask.masked == got.mask.masked).float().mean()
        assert agree > 0.98
        error = (expected.predicted - got.predicted).square().mean() / expected.predicted.square().mean()
        assert error <= tolerance


def test_divergence_names_step_samples_and_largest_gradient() -> None:
    stage = module()
    with torch.no_grad():
        stage.recot.mask_token.fill_(float("nan"))
    for name, size in (("dts.temporal_code", 3.0), ("decoder.head.1.weight", 7e8)):
        parameter = stage.recot.get_parameter(name)
        parameter.grad = torch.full_like(parameter, size / parameter.numel() ** 0.5)
    stage.on_before_optimizer_step(torch.optim.SGD(stage.parameters()))
    with pytest.raises(NonFiniteLossError, match=r"step 0.*key3, key4.*decoder\.head\.1\.weight with norm 7e\+08"):
        stage.training_step(batch([3, 4], [1, 1]), 0)


def test_checkpoints_leave_the_frozen_encoder_out_and_check_it_on_load(tmp_path: Path) -> None:
    stage = module()
    checkpoint: dict[str, Any] = {"state_dict": stage.state_dict(), "config": {}}
    stage.on_save_checkpoint(checkpoint)
    assert checkpoint["state_dict"]
    assert not any(name.startswith("vision_encoder.") for name in checkpoint["state_dict"])
    AtomicCheckpointIO().save_checkpoint(checkpoint, tmp_path / "a.ckpt")
    loaded = read_checkpoint(tmp_path / "a.ckpt")
    fresh = module()
    fresh.on_load_checkpoint(loaded)
    fresh.load_state_dict(loaded["state_dict"], strict=True)
    with pytest.raises(DataError, match="another vision encoder"):
        module(encoder_seed=1).on_load_checkpoint(read_checkpoint(tmp_path / "a.ckpt"))
    with pytest.raises(DataError, match=r"unknown to this stage: masking \(4 of 4, e\.g\. recot\.masking\."):
        module(kind="tube").on_load_checkpoint(read_checkpoint(tmp_path / "a.ckpt"))


def test_another_width_is_named_with_both_shapes() -> None:
    stage = module()
    checkpoint: dict[str, Any] = {"state_dict": stage.state_dict()}
    stage.on_save_checkpoint(checkpoint)
    name = "recot.mask_token"
    checkpoint["state_dict"][name] = torch.zeros(48)
    with pytest.raises(DataError, match=r"recot\.mask_token: checkpoint \(48,\), model \(32,\)"):
        module().on_load_checkpoint(checkpoint)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "read safely"), (b"not a zip", "read safely"), (None, "no checkpoint there")],
)
def test_files_that_are_not_checkpoints(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "x.ckpt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_checkpoint(path)


def test_a_folder_is_told_to_be_deepspeed_s(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a folder, as trainer=deepspeed writes"):
        read_checkpoint(tmp_path)


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"state_dict": {}, "config": {}, "evil": Evil()}, tmp_path / "evil.ckpt")
    with pytest.raises(DataError, match="read safely"):
        read_checkpoint(tmp_path / "evil.ckpt")
    assert not (tmp_path / "ran").exists()


def test_an_interrupted_save_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.ckpt"
    AtomicCheckpointIO().save_checkpoint({"state_dict": {"w": torch.ones(2)}, "config": {}}, path)

    def half_way(checkpoint: Any, file: Any) -> None:
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", half_way)
    with pytest.raises(OSError, match="disk full"):
        AtomicCheckpointIO().save_checkpoint({"state_dict": {}, "config": {}}, path)
    monkeypatch.undo()
    assert read_checkpoint(path)["state_dict"]["w"].tolist() == [1.0, 1.0]
    assert [p.name for p in tmp_path.iterdir()] == ["a.ckpt"]


def test_schedule_and_weight_decay() -> None:
    stage = module()
    groups = parameter_groups(stage.recot, 0.05)
    assert sum(len(g["params"]) for g in groups) == len(list(stage.recot.parameters()))  # type: ignore[arg-type]
    assert all(p.ndim < 2 for p in groups[1]["params"])  # type: ignore[attr-defined]
    optimizer = torch.optim.AdamW(groups, lr=1.0)
    schedule = warmup_cosine(optimizer, 4, 12)
    rates = []
    for _ in range(13):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[8] == pytest.approx(0.5)
    assert rates[12] == pytest.approx(0.0)


def test_the_dts_learns_at_its_own_share_of_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = module()
    trainer = type("Trainer", (), {"estimated_stepping_batches": 10})()
    monkeypatch.setattr(type(stage), "trainer", trainer)
    optimizer = stage.configure_optimizers()["optimizer"]
    rates = {id(p): group["initial_lr"] for group in optimizer.param_groups for p in group["params"]}
    assert len(rates) == len(list(stage.recot.parameters())) == sum(len(g["params"]) for g in optimizer.param_groups)
    for name, parameter in stage.recot.named_parameters():
        assert rates[id(parameter)] == pytest.approx(2.5e-4 if name.startswith("dts.") else 1e-3), name


def test_encoder_and_model_of_different_width() -> None:
    stage = module()
    with pytest.raises(ValueError, match=r"model\.width is 64"):
        RecotPretrain(
            vision_encoder=stage.vision_encoder,
            recot=Recot(
                dts=DynamicTokenSynthesizer(width=64),
                masking=make_masking(kind="random", width=64, mask_ratio=0.5),
                decoder=ReconstructionDecoder(width=64),
            ),
            loss=stage.loss,
            learning_rate=1e-3,
            dts_rate=1.0,
            weight_decay=0.0,
            betas=(0.9, 0.95),
            warmup_steps=1,
            compile=False,
        )


@pytest.mark.parametrize("kind", ["sgm", "random", "tube", "redundant"])
def test_it_goes_on_from_the_weights_of_another_run(kind: str, tmp_path: Path) -> None:
    before = module(seed=1)
    checkpoint: dict[str, Any] = {"state_dict": dict(before.state_dict()), "config": {}}
    before.frozen.leave_out(checkpoint)
    AtomicCheckpointIO().save_checkpoint(checkpoint, tmp_path / "one.ckpt")
    after = module(kind, init_from=tmp_path / "one.ckpt")
    for name, tensor in before.recot.state_dict().items():
        if kind == "sgm" or not name.startswith("masking."):
            assert torch.equal(after.recot.state_dict()[name], tensor), name
    with pytest.raises(DataError, match="vision_encoder"):
        module(encoder_seed=1, init_from=tmp_path / "one.ckpt")
    with pytest.raises(DataError, match=r"none\.ckpt: no checkpoint there"):
        module(init_from=tmp_path / "none.ckpt")
