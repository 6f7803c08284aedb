"""The export command: from checkpoints of the real stages and from a released checkpoint to folders that load."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

import recot.run  # noqa: F401  # its resolvers
from recot.checkpoints.export import main
from recot.checkpoints.hf_folder import load_video_lm
from recot.models.llm import pretrained_llm
from recot.models.lora import load_adapter, lora_parameters
from recot.models.selection import KeepRule
from recot.models.video_lm import VideoLM
from recot.video_io import FrameSampling
from tests.checkpoints.official_checkpoint import FULL, write_official
from tests.models.tiny_video_lm import BACKBONES, generator, sample, video

CONF = Path(__file__).resolve().parents[2] / "conf"


@torch.no_grad()
def logits(model: VideoLM) -> torch.Tensor:
    hidden = model([video(3, 1)], [sample("What moves?", (0,))], [KeepRule(ratio=0.5)]).hidden
    return hidden @ model.head().T


def trained(folder: Path, experiment: str, *overrides: str) -> tuple[Path, VideoLM]:
    """A stage's checkpoint, as training writes it, with weights moved wherever they are trained."""
    with initialize_config_dir(version_base=None, config_dir=str(CONF)):
        cfg = compose("train", [f"experiment={experiment}", "init_from=null", f"paths.run={folder}", *overrides])
    with torch.random.fork_rng(devices=[]):
        stage = instantiate(cfg.stage.module)
    with torch.no_grad():
        for parameter in stage.parameters():
            if parameter.requires_grad:
                parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator(parameter.numel())))
    checkpoint: dict[str, Any] = {"state_dict": stage.state_dict(), "config": OmegaConf.to_container(cfg, resolve=True)}
    stage.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, folder / f"{experiment}.ckpt")
    return folder / f"{experiment}.ckpt", stage.model.eval()


@pytest.mark.parametrize(
    ("experiment", "overrides"),
    [
        ("projector_align", []),
        ("selector_finetune", []),
        ("sft_lora", []),
        ("sft_lora", ["stage.lora=null", "stage.train.lora=null", "stage.train.llm=1e-5"]),
        (
            "projector_align",
            [
                "model.dts._target_=recot.models.mean_pooling.MeanPooling",
                *(f"~model.dts.{name}" for name in ("heads", "layout", "chunk_groups", "activation_checkpointing")),
            ],
        ),
    ],
)
def test_every_stage_is_exported_with_its_logits(tmp_path: Path, experiment: str, overrides: list[str]) -> None:
    checkpoint, model = trained(tmp_path, experiment, *overrides)
    assert (experiment == "sft_lora" and not overrides) == bool(lora_parameters(model.llm))
    main(["stage", str(checkpoint), str(tmp_path / "model"), "--max-new-tokens", "7"])
    loaded, inference = load_video_lm(tmp_path / "model")
    torch.testing.assert_close(logits(loaded), logits(model), rtol=1e-4, atol=1e-4)
    assert inference.frame_size == (64, 64)
    config = torch.load(checkpoint, weights_only=True)["config"]
    assert inference.sampling == FrameSampling(fps=8.0, max_frames=config["data"]["sampling"]["max_frames"])
    assert inference.keep == KeepRule(ratio=config["stage"]["val_ratio"])
    assert inference.generation.max_new_tokens == 7
    assert {name for name, _ in loaded.named_parameters()} == {n.replace(".base_layer.", ".") for n in plain(model)}


def plain(model: VideoLM) -> list[str]:
    return [name for name, _ in model.named_parameters() if ".lora_" not in name]


def test_adapters_are_exported_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On the base that they were trained on, they make the language model of the stage. What is there stays."""
    checkpoint, model = trained(tmp_path, "sft_lora")
    main(["adapter", str(checkpoint), str(tmp_path / "adapter")])
    llm = pretrained_llm(name_or_path=str(BACKBONES / "llm"))
    load_adapter(llm, tmp_path / "adapter")
    expected, got = lora_parameters(model.llm), lora_parameters(llm)
    assert expected.keys() == got.keys()
    assert all(torch.equal(expected[name], got[name]) for name in expected)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("years of work")
    with pytest.raises(SystemExit, match="2"):
        main(["adapter", str(checkpoint), str(tmp_path / "full")])
    assert "full already exists" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["thesis.txt"]
    without, _ = trained(tmp_path, "projector_align")
    with pytest.raises(SystemExit):
        main(["adapter", str(without), str(tmp_path / "none")])
    assert "trained without adapters" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_dtype_is_chosen_and_backbones_may_have_moved(tmp_path: Path) -> None:
    checkpoint, model = trained(tmp_path, "sft_lora")
    content = torch.load(checkpoint, weights_only=True)
    parts = content["config"]["stage"]["module"]["model"]
    for part, name in (("llm", "name_or_path"), ("tokenizer", "path"), ("vision_encoder", "name_or_path")):
        parts[part][name] = "/somewhere/else"
    torch.save(content, checkpoint)
    moved = ["--llm", str(BACKBONES / "llm"), "--vision-encoder", str(BACKBONES / "vision")]
    main(["stage", str(checkpoint), str(tmp_path / "model"), "--dtype", "bfloat16", *moved])
    loaded, _ = load_video_lm(tmp_path / "model")
    assert {p.dtype for p in loaded.parameters()} == {torch.bfloat16}
    torch.testing.assert_close(
        loaded.projector.layers[0].bias.float(), model.projector.layers[0].bias, rtol=0.01, atol=0
    )


def test_a_stage_trained_with_flash_is_exported_without_a_gpu(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    path = tmp_path / "flash.ckpt"
    path.write_bytes(checkpoint.read_bytes())
    edit(path, lambda c: c["config"]["stage"]["module"]["model"]["llm"].update(attention="flash"))
    for number, source in enumerate((checkpoint, path)):
        main(["stage", str(source), str(tmp_path / f"model{number}")])
        main(["adapter", str(source), str(tmp_path / f"adapter{number}")])
    models = [load_video_lm(tmp_path / f"model{number}")[0] for number in range(2)]
    assert torch.equal(logits(models[0]), logits(models[1]))
    files = [(tmp_path / f"adapter{number}" / "adapter_model.safetensors").read_bytes() for number in range(2)]
    assert files[0] == files[1]


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)


BAD: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "stage 1": (lambda c: c["config"]["stage"]["module"].pop("model"), "trains no video language model"),
    "foreign code": (
        lambda c: c["config"]["stage"]["module"]["model"]["dts"].update(_target_="os.system", command="touch x"),
        "by os.system, which can't be exported",
    ),
    "other argument": (
        lambda c: c["config"]["stage"]["module"]["model"]["dts"].update(speed=1),
        "another release of recot",
    ),
    "no base": (
        lambda c: c["config"]["stage"]["module"]["model"]["llm"].update(name_or_path="/nowhere"),
        r"name_or_path=/nowhere.*--llm",
    ),
    "another base": (lambda c: c["frozen_parts"].update(llm="0"), "another llm than"),
    "missing adapter": (
        lambda c: c["state_dict"].pop(next(k for k in c["state_dict"] if ".lora_A" in k)),
        r"missing in the checkpoint: lora \(1 of \d+, e\.g\. llm\..*lora_A",
    ),
    "another width": (
        lambda c: c["state_dict"].update({"model.projector.layers.0.bias": torch.zeros(3)}),
        r"projector\.layers\.0\.bias: checkpoint \(3,\)",
    ),
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("run"), "sft_lora")[0]


@pytest.mark.parametrize("case", BAD)
def test_other_checkpoints_end_the_command_with_one_paragraph(
    checkpoint: Path, tmp_path: Path, case: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    change, message = BAD[case]
    path = tmp_path / "changed.ckpt"
    path.write_bytes(checkpoint.read_bytes())
    edit(path, change)
    with pytest.raises(SystemExit, match="2"):
        main(["stage", str(path), str(tmp_path / "model")])
    *_, said = capsys.readouterr().err.strip().splitlines()  # after transformers' progress
    assert said.startswith("error: ")
    assert re.search(message, said)
    assert [p.name for p in tmp_path.iterdir()] == ["changed.ckpt"]


def test_as_a_process(tmp_path: Path) -> None:
    """A folder with another vision tower than SigLIP so400m is refused, and nothing is left."""
    config = FULL | {"mm_hidden_size": 768}
    write_official(tmp_path / "official", {"a": torch.zeros(1)}, config, shard_bytes=1000)
    command = [sys.executable, "-m", "recot.checkpoints.export", "import-official"]
    run = subprocess.run(
        [*command, str(tmp_path / "official"), str(tmp_path / "out")], capture_output=True, text=True, check=False
    )
    assert run.returncode == 2
    assert run.stderr.startswith("error: ")
    assert "mm_hidden_size=768, but the vision tower is 1152 wide" in run.stderr
    assert not (tmp_path / "out").exists()
