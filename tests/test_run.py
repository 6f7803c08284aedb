"""Training end to end, as a user runs it: real processes, real videos, real shards."""

import json
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.errors import InstantiationException
from omegaconf import open_dict

from recot import run
from recot.checkpoints.reading import read_checkpoint
from recot.errors import ConfigError

REPO = Path(__file__).resolve().parents[1]
EXPERIMENTS = sorted(p.stem for p in (REPO / "conf/experiment").glob("*.yaml"))
SMALL = [
    "trainer.accelerator=cpu",
    "trainer.val_check_interval=2",
    "callbacks.checkpoint.every_n_train_steps=2",
    "callbacks.pictures.samples=1",
    "data.prepare.train_videos=8",
    "data.prepare.val_videos=4",
    "data.prepare.frames=16",
    "data.batch_size=2",
    "data.groups_per_sample=2",
    "data.num_workers=0",
]
QUESTIONS = [
    "init_from=null",
    "trainer.accelerator=cpu",
    "trainer.val_check_interval=2",
    "callbacks.checkpoint.every_n_train_steps=2",
    "data.prepare.train_videos=4",
    "data.prepare.val_videos=2",
    "data.prepare.frames=32",
    "data.questions.per_video=2",
    "data.batch_size=2",
    "data.num_workers=0",
]
# Experiments other than stage 1 -> their small overrides, and a measure with the bound it must keep.
OTHERS = {
    **dict.fromkeys(("projector_align", "selector_finetune", "sft_lora"), (QUESTIONS, "val/loss", 100)),
    "tiny_vision": (
        [
            "trainer.accelerator=cpu",
            "trainer.val_check_interval=2",
            "callbacks.checkpoint.every_n_train_steps=2",
            "data.batch_size=8",
            "data.frames_per_scene=2",
            "data.val_groups=2",
            "data.num_workers=0",
            "model.tokenizer.texts.scenes=5",
        ],
        "val/loss",
        100,
    ),
    "tiny_llm": (
        [
            "trainer.accelerator=cpu",
            "trainer.val_check_interval=2",
            "callbacks.checkpoint.every_n_train_steps=2",
            "data.val_scenes=2",
            "data.num_workers=0",
            "model.tokenizer.texts.scenes=5",
        ],
        "val/loss",
        100,
    ),
}


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose ``tiny_world`` the first run makes and the others find."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def train(world: Path, tmp_path: Path) -> Callable[..., dict[str, float]]:
    """Compose and run in this process, into ``tmp_path/<name>``."""

    def go(*overrides: str, name: str = "run", entry: str = "train") -> dict[str, float]:
        with initialize_config_dir(config_dir=str(REPO / "conf"), version_base="1.3"):
            experiment = next(o.removeprefix("experiment=") for o in overrides if o.startswith("experiment="))
            small = OTHERS[experiment][0] if experiment in OTHERS else SMALL
            overrides = (f"paths.data={world}", f"paths.run={tmp_path / name}", *small, *overrides)
            cfg = compose(entry, overrides=list(overrides))
        return {"train": run.train, "eval": run.evaluate}[entry](cfg)

    return go


def command(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "HYDRA_FULL_ERROR"} | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, str(REPO / "src/train.py"), *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


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
    stages = ("recot_pretrain", "projector_align", "selector_finetune", "sft_lora")
    for before, stage in pairwise(stages):
        source = tmp_path / before / "checkpoints/final.ckpt"
        train(f"experiment={stage}", f"init_from={source}", "trainer.max_steps=2", name=stage)
    weights = {name: read_checkpoint(tmp_path / name / "checkpoints/final.ckpt")["state_dict"] for name in stages}
    parts = {name: {key.split(".")[1] for key in own} for name, own in weights.items()}
    assert parts["projector_align"] == parts["selector_finetune"] == {"dts", "projector", "selector"}
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


def test_evaluation_of_a_checkpoint_gives_the_run_s_own_measures(
    train: Callable[..., dict[str, float]], tmp_path: Path
) -> None:
    trained = train("experiment=recot_pretrain", "trainer.max_steps=2")
    final = tmp_path / "run/checkpoints/final.ckpt"
    assert train("experiment=recot_pretrain", f"checkpoint={final}", name="eval", entry="eval") == trained
    config = read_checkpoint(final)["config"]
    assert config["stage"]["mask_ratio"] == 0.75
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


def test_commands_of_the_readme_and_a_kill(tmp_path: Path) -> None:
    """SIGKILL in mid-run, then the same command with resume=; the data were made whole by the first."""
    arguments = ["experiment=recot_pretrain", *SMALL, "data.num_workers=1", "hydra.run.dir=first"]
    process = subprocess.Popen(
        [sys.executable, str(REPO / "src/train.py"), *arguments, "trainer.max_steps=100000"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    last = tmp_path / "first/checkpoints/last.ckpt"
    deadline = time.monotonic() + 240
    while not last.is_file():
        assert process.poll() is None, "training ended before its first checkpoint"
        assert time.monotonic() < deadline
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    step = read_checkpoint(last)["global_step"]
    arguments[-1] = "hydra.run.dir=second"
    resumed = command(*arguments, f"resume={last}", f"trainer.max_steps={step + 2}", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert "explained variance" in resumed.stdout
    assert read_checkpoint(tmp_path / "second/checkpoints/final.ckpt")["global_step"] == step + 2


def test_sweep_and_its_report(tmp_path: Path) -> None:
    swept = command(
        "-m",
        "experiment=recot_pretrain",
        "stage.mask_ratio=0.5,0.75",
        *SMALL,
        "trainer.max_steps=1",
        cwd=tmp_path,
    )
    assert swept.returncode == 0, swept.stderr
    (folder,) = (tmp_path / "multirun/recot_pretrain").iterdir()
    report = subprocess.run(
        [sys.executable, "-m", "recot.sweep_report", str(folder)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert report.returncode == 0, report.stderr
    assert "0.75" in report.stdout
    assert (folder / "sweep.csv").is_file()
    assert (folder / "sweep.png").read_bytes().startswith(b"\x89PNG")


# What a user can get wrong on the command line -> what the paragraph must say.
MISTAKES = {
    "unknown key": (["stage.mask_ratoi=0.5"], "mask_ratoi"),
    "unknown experiment": (["experiment=recot_pretrian"], "recot_pretrain"),
    "unknown kind": (["stage.masking=semantic"], "use one of sgm"),
    "ratio 0": (["stage.mask_ratio=0"], "stage.mask_ratio"),
    "ratio 1": (["stage.mask_ratio=1"], "stage.mask_ratio"),
    "ratio 1.5": (["stage.mask_ratio=1.5"], "stage.mask_ratio"),
    "three frames": (["data.sampling.fps=null", "data.sampling.count=3"], "data.sampling.count"),
    "no data": (["data=shards", "data.train=[nowhere/train]", "data.val=[nowhere/val]"], "data_pipelines/prune.py"),
    "data not named": (["data=shards"], "data.train"),
    "unwritable": (["hydra.run.dir=/dev/null/run"], "can't be written"),
    "no checkpoint": (["resume=nowhere.ckpt"], "no checkpoint there"),
    "steps of another type": (["trainer.max_steps=many"], "trainer.max_steps=many"),
    "rate of another type": (["stage.learning_rate=fast"], "stage.learning_rate"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_get_one_paragraph(
    mistake: str, tmp_path: Path, world: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong, expected = MISTAKES[mistake]
    small = [] if "data=shards" in wrong else SMALL
    experiment = [] if any(w.startswith("experiment=") for w in wrong) else ["experiment=recot_pretrain"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    monkeypatch.setattr(sys, "argv", ["train.py", *experiment, f"paths.data={world}", *small, *wrong])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(REPO / "src/train.py"), run_name="__main__")
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    assert ended.value.code == 2
    paragraphs = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(paragraphs) == 1
    assert expected in paragraphs[0]


def test_a_mistake_shows_no_traceback_to_a_user(tmp_path: Path) -> None:
    result = command("experiment=recot_pretrain", "stage.mask_ratio=1.5", *SMALL, cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.count("error: stage.mask_ratio is 1.5") == 1
    assert "Traceback" not in result.stderr


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
