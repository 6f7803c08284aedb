"""Training end to end: real videos, real shards, every experiment."""

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.errors import InstantiationException
from omegaconf import open_dict

from recot.checkpoints.reading import read_checkpoint
from recot.errors import ConfigError, DataError
from tests.run.small import OTHERS, REPO, SMALL

EXPERIMENTS = sorted(p.stem for p in (REPO / "conf/experiment").glob("*.yaml"))


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_takes_a_step(experiment: str, train: Callable[..., dict[str, float]], tmp_path: Path) -> None:
    # The real size needs weights that only a network gives; its stage and trainer settings run on the tiny model.
    swap = ["model=tiny", "data=tiny_world"] if experiment.endswith("_3b") else []
    metrics = train(f"experiment={experiment}", *swap, "trainer.max_steps=2")
    _, measure, bound = OTHERS.get(experiment, ([], "val/explained_variance_masked", 1))
    assert metrics[measure] < bound
    for made in ("metrics.json", "report.md", "checkpoints/final.ckpt", "csv/metrics.csv", "tensorboard"):
        assert (tmp_path / "run" / made).exists()
    assert json.loads((tmp_path / "run/metrics.json").read_text()) == metrics
    assert (experiment in OTHERS) != bool(list((tmp_path / "run/pictures").glob("step000002_*.png")))


def test_each_stage_goes_on_from_the_one_before(train: Callable[..., dict[str, float]], tmp_path: Path) -> None:
    """Stage 1 to 3; what a stage doesn't train is what it was given, and no checkpoint holds a frozen backbone."""
    train("experiment=recot_pretrain", "trainer.max_steps=1", name="recot_pretrain")
    stages = ("recot_pretrain", "word_align", "projector_align", "selector_finetune", "sft_lora")
    for before, stage in pairwise(stages):
        source = tmp_path / before / "checkpoints/final.ckpt"
        train(f"experiment={stage}", f"init_from={source}", "trainer.max_steps=2", name=stage)
    weights = {name: read_checkpoint(tmp_path / name / "checkpoints/final.ckpt")["state_dict"] for name in stages}
    parts = {name: {key.split(".")[1] for key in own} for name, own in weights.items()}
    assert (
        parts["word_align"]
        == parts["projector_align"]
        == parts["selector_finetune"]
        == {"dts", "projector", "selector"}
    )
    assert parts["sft_lora"] == {"dts", "projector", "selector", "llm"}
    assert all("lora_" in key for key in weights["sft_lora"] if key.startswith("model.llm."))
    for key, value in weights["recot_pretrain"].items():
        if key.startswith("recot.dts."):
            assert torch.equal(weights["sft_lora"][key.replace("recot.", "model.", 1)], value)
    aligned, finetuned = weights["projector_align"], weights["selector_finetune"]
    changed = {key.split(".")[1] for key in aligned if not torch.equal(aligned[key], finetuned[key])}
    assert changed == {"projector", "selector"}
    measured = train(
        "experiment=sft_lora", f"checkpoint={tmp_path / 'sft_lora/checkpoints/final.ckpt'}", name="eval", entry="eval"
    )
    assert measured == json.loads((tmp_path / "sft_lora/metrics.json").read_text())


def test_stage_1_can_t_be_cut(train: Callable[..., dict[str, float]]) -> None:
    with pytest.raises(ConfigError, match="trainer=fsdp cuts the video language model, which RecotPretrain doesn't"):
        train("experiment=recot_pretrain", "trainer=fsdp", "trainer.devices=1")


def test_a_stage_refuses_what_it_can_t_start_from(train: Callable[..., dict[str, float]], tmp_path: Path) -> None:
    train("experiment=recot_pretrain", "trainer.max_steps=1", name="first")
    with pytest.raises(InstantiationException, match=r"missing in the checkpoint"):
        train("experiment=selector_finetune", f"init_from={tmp_path / 'first/checkpoints/final.ckpt'}")
    with pytest.raises(InstantiationException, match="no checkpoint there"):
        train("experiment=projector_align", "init_from=nowhere.ckpt")
    with pytest.raises(ConfigError, match="init_from is not given"):
        train("experiment=sft_lora", "init_from=???")
    with pytest.raises(InstantiationException, match="there to train lora or llm"):
        train("experiment=sft_lora", "stage.train.lora=null")


def test_training_learns_and_a_resumed_run_ends_where_an_unbroken_one_does(
    train: Callable[..., dict[str, float]], tmp_path: Path
) -> None:
    start = train("experiment=recot_pretrain", "trainer.max_steps=1", "stage.learning_rate=1e-9", name="start")
    settings = ["experiment=recot_pretrain", "stage.warmup_steps=1", "trainer.max_steps=10"]
    whole = train(*settings, name="whole")
    assert whole["val/loss"] < start["val/loss"]
    half = tmp_path / "whole/checkpoints/step_6.ckpt"
    assert not half.exists(), "save_top_k=1 keeps the last only"
    train(*settings, "callbacks.checkpoint.save_top_k=-1", name="kept")
    resumed = train(
        *settings, f"resume={tmp_path / 'kept/checkpoints/step_6.ckpt'}", "data.num_workers=1", name="resumed"
    )
    assert resumed == whole
    weights = [read_checkpoint(tmp_path / n / "checkpoints/final.ckpt")["state_dict"] for n in ("whole", "resumed")]
    assert all(torch.equal(weights[0][k], weights[1][k]) for k in weights[0])
    with pytest.raises(DataError, match=r"learning rate .* in the checkpoint, learning rate 0\.002, .* here"):
        train(
            *settings,
            f"resume={tmp_path / 'kept/checkpoints/step_6.ckpt'}",
            "stage.learning_rate=0.002",
            name="other",
        )
    with pytest.raises(DataError, match=r"masking\.mask_ratio: 0\.75 in the checkpoint, 0\.5 here.*overrides\.yaml"):
        train(
            *settings,
            f"resume={tmp_path / 'kept/checkpoints/step_6.ckpt'}",
            "stage.mask_ratio=0.5",
            name="other",
        )


def test_evaluation_of_a_checkpoint_gives_the_run_s_own_measures(
    train: Callable[..., dict[str, float]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    trained = train("experiment=recot_pretrain", "trainer.max_steps=2")
    final = tmp_path / "run/checkpoints/final.ckpt"
    assert train("experiment=recot_pretrain", f"checkpoint={final}", name="eval", entry="eval") == trained
    config = read_checkpoint(final)["config"]
    assert config["stage"]["mask_ratio"] == 0.75
    assert "other settings" not in caplog.text
    train("experiment=recot_pretrain", f"checkpoint={final}", "stage.mask_ratio=0.5", name="half", entry="eval")
    assert "masking.mask_ratio: 0.75 in the checkpoint, 0.5 here" in caplog.text
    assert config["paths"]["run"] == str(tmp_path / "run")


@pytest.mark.parametrize(
    "switch",
    [
        "model.dts.activation_checkpointing=true",
        "stage.masking=tube",
        "stage.masking=redundant",
        "model.dts.layout=official",
        "data.token_budget=1024",
        "trainer.precision=bf16-mixed",
    ],
)
def test_switches(switch: str, train: Callable[..., dict[str, float]]) -> None:
    metrics = train("experiment=recot_pretrain", "trainer.max_steps=1", switch)
    assert 0 < metrics["val/loss"] < 100


def test_learning_rates_are_logged_and_training_needs_no_log(
    train: Callable[..., dict[str, float]], tmp_path: Path
) -> None:
    settings = ("experiment=recot_pretrain", "trainer.max_steps=2", "trainer.log_every_n_steps=1")
    logged = train(*settings, name="logged")
    columns = (tmp_path / "logged/csv/metrics.csv").read_text().splitlines()[0].split(",")
    assert any(column.startswith("lr-") for column in columns)
    assert train(*settings, "logger=none", name="silent") == logged
    made = {path.name for path in (tmp_path / "silent").iterdir()}
    assert made == {"checkpoints", "metrics.json", "pictures", "report.md"}


def test_validation_comes_after_so_many_optimizer_steps(train: Callable[..., dict[str, float]], tmp_path: Path) -> None:
    """However many batches each of them takes."""
    settings = ("experiment=recot_pretrain", "trainer.max_steps=4", "trainer.val_check_interval=2")
    validated = {}
    for batches in (1, 2):
        train(*settings, f"trainer.accumulate_grad_batches={batches}", name=f"{batches}")
        with (tmp_path / f"{batches}/csv/metrics.csv").open() as file:
            validated[batches] = [int(row["step"]) for row in csv.DictReader(file) if row["val/loss"]]
    assert validated[1] == validated[2] == [1, 3, 4]  # counted from 0; the last is of the trained model


def test_cached_features_train_as_live_frames_do(
    train: Callable[..., dict[str, float]], world: Path, tmp_path: Path
) -> None:
    train("experiment=recot_pretrain", "trainer.max_steps=1", name="first")
    made = subprocess.run(
        [
            sys.executable,
            str(REPO / "data_pipelines/cache_features.py"),
            "experiment=recot_pretrain",
            f"paths.data={world}",
            "dtype=float32",
            *[s for s in SMALL if s.startswith("data.")],
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    live, cached = (
        train("experiment=recot_pretrain", "trainer.max_steps=3", f"data.features={kind}", name=kind)
        for kind in ("live", "cached")
    )
    assert live.keys() == cached.keys()
    for name in live:
        assert cached[name] == pytest.approx(live[name], rel=1e-3, abs=1e-4)
    with pytest.raises(ValueError, match="another vision encoder"):
        train("experiment=recot_pretrain", "data.features=cached", "model.vision_encoder.drop_layers=2", name="other")


def test_a_checkpoint_of_another_width(train: Callable[..., dict[str, float]], tmp_path: Path) -> None:
    tower = "hidden_size:32,intermediate_size:64,num_hidden_layers:2,num_attention_heads:4,image_size:64,patch_size:8"
    narrow = [
        "model.width=32",
        "~model.vision_encoder.name_or_path",
        "model.vision_encoder._target_=recot.models.vision_encoder.seeded_encoder",
        f"+model.vision_encoder.config={{{tower}}}",
        "+model.vision_encoder.seed=0",
    ]
    train("experiment=recot_pretrain", "trainer.max_steps=1", *narrow, name="narrow")
    with pytest.raises(ValueError, match=r"does not fit the configured model.*checkpoint \(32"):
        train("experiment=recot_pretrain", f"resume={tmp_path / 'narrow/checkpoints/final.ckpt'}", name="wide")


def test_config_composes_for_the_real_size() -> None:
    with initialize_config_dir(config_dir=str(REPO / "conf"), version_base="1.3"):
        cfg = compose("train", overrides=["experiment=recot_pretrain_3b", "data.train=[a]", "data.val=[b]"])
    with open_dict(cfg):
        from hydra.utils import instantiate

        with torch.device("meta"):
            dts, decoder = instantiate(cfg.model.dts), instantiate(cfg.model.decoder)
    compact = dts.to("meta")(torch.empty(2, 4, 24, 24, 1152, device="meta"))
    assert compact.shape == (2, 24, 24, 1152)
    assert decoder(compact).shape == (2, 4, 24, 24, 1152)
    assert sum(p.numel() for p in dts.parameters()) == 93_526_272
