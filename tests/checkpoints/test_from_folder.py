"""Training on from a model's folder, imported or exported: what `model=from_folder` makes of it, to a folder again."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor

import recot.tiny_world
from recot import run
from recot.checkpoints.export import main
from recot.checkpoints.hf_folder import Part, load_part, load_video_lm
from recot.checkpoints.import_official import import_official
from recot.checkpoints.reading import read_checkpoint
from recot.errors import ConfigError, DataError
from recot.models.lora import load_adapter, lora_parameters
from recot.stages.video_language import VideoLanguageStage
from tests.checkpoints.official_checkpoint import (
    OLD,
    SMALL_VISION,
    official_keys,
    random_state,
    small_config,
    write_official,
)

CONF = Path(__file__).resolve().parents[2] / "conf"
BACKBONES = Path(recot.tiny_world.__file__).parent / "backbones"
DEMO = Path(recot.tiny_world.__file__).parent / "demo_checkpoint"
SMALL = [
    "init_from=null",
    "model=from_folder",
    "trainer.accelerator=cpu",
    "trainer.max_steps=2",
    "trainer.val_check_interval=2",
    "trainer.num_sanity_val_steps=0",
    "callbacks.checkpoint.every_n_train_steps=1",
    "callbacks.checkpoint.save_top_k=-1",
    "stage.warmup_steps=0",
    "data.prepare.train_videos=2",
    "data.prepare.val_videos=2",
    "data.prepare.frames=16",
    "data.questions.per_video=2",
    "data.batch_size=2",
    "data.num_workers=0",
    "logger=none",
]

TUNED = ("experiment=sft_lora", "stage.lora.dropout=0")  # so that a resumed run draws nothing that the first one drew


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A narrow released checkpoint in float16, imported."""
    folder = tmp_path_factory.mktemp("imported")
    config = small_config(32, intermediate_size=64)
    vision = SMALL_VISION | {"image_size": 112}
    made = random_state(official_keys(config, vision=vision, tower=OLD), 5)
    state = {name: tensor.half() for name, tensor in made.items()}
    write_official(folder / "official", state, config, shard_bytes=300_000)
    import_official(folder / "official", folder / "model", vision=vision)
    return folder / "model"


@pytest.fixture(scope="module")
def tuned(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that instruction-tunes the demo model, which stays where it is."""
    folder = tmp_path_factory.mktemp("tuned")
    run.train(config_of(world, DEMO, folder, *TUNED))
    return folder


def config_of(world: Path, model: Path, run_folder: Path, *overrides: str, entry: str = "train") -> DictConfig:
    paths = (f"model.folder={model}", f"paths.data={world}", f"paths.run={run_folder}")
    with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
        return compose(entry, overrides=[*SMALL, *paths, *overrides])


def export(checkpoint: Path, folder: Path, *moved: str) -> dict[str, Tensor]:
    """The weights of the folder that the command makes of a checkpoint."""
    main(["stage", str(checkpoint), str(folder), *moved])
    return state_of(folder)


def state_of(folder: Path) -> dict[str, Tensor]:
    return load_video_lm(folder, dtype="float32")[0].state_dict()


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    """Names of the weights that aren't the same bit for bit."""
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


def require_trained(before: dict[str, Tensor], after: dict[str, Tensor], *parts: str) -> None:
    """All matrices of these parts changed, and nothing else but their biases; ``lora``: the layers with adapters."""
    trained = {name for name in before if name.startswith(parts)}
    if "lora" in parts:
        trained |= {name for name in before if name.startswith("llm.model.layers.") and name.endswith("_proj.weight")}
    matrices = {name for name in trained if before[name].ndim > 1}
    assert {name.partition(".")[0] for name in matrices} == {"llm" if part == "lora" else part for part in parts}
    assert matrices <= changed(before, after) <= trained


def losses_before_training(cfg: DictConfig, folder: Path) -> tuple[float, float]:
    """Validation loss of the stage as it starts, and with the folder's model, loaded by itself, in its place."""
    trainer, stage, data = run._assemble(cfg, Path(cfg.paths.run))
    assert isinstance(stage, VideoLanguageStage)
    assert lora_parameters(stage.model.llm)
    start = run._measure(trainer, stage, data, checkpoint=None)
    stage.model, _ = load_video_lm(folder, dtype="float32")
    return start["val/loss"], run._measure(trainer, stage, data, checkpoint=None)["val/loss"]


def test_an_imported_model_is_trained_on_and_exported_again(official: Path, world: Path, tmp_path: Path) -> None:
    cfg = config_of(world, official, tmp_path / "run", "experiment=sft_lora")
    start, imported = losses_before_training(cfg, official)
    assert start == imported
    run.train(cfg)
    final = tmp_path / "run/checkpoints/final.ckpt"
    assert read_checkpoint(final)["frozen_parts"].keys() == {"vision_encoder", "llm"}
    require_trained(state_of(official), export(final, tmp_path / "model"), "lora", "projector", "selector")
    first, second = (json.loads((folder / "config.json").read_text()) for folder in (official, tmp_path / "model"))
    assert {name for name in first if first[name] != second[name]} == {"max_tokens", "sampling", "keep"}
    assert second["max_tokens"] == first["llm"]["max_position_embeddings"]  # what null means
    assert second["query"] == "prompt"
    assert second["dts"]["layout"] == second["selector"]["layout"] == "official"


def test_an_exported_model_is_tuned(tuned: Path, tmp_path: Path) -> None:
    after = export(tuned / "checkpoints/final.ckpt", tmp_path / "model")
    require_trained(state_of(DEMO), after, "lora", "projector", "selector")
    said = load_video_lm(DEMO)[0].tokenizer.backend_tokenizer.to_str()
    assert load_video_lm(tmp_path / "model")[0].tokenizer.backend_tokenizer.to_str() == said


def test_its_selector_is_trained_and_the_next_stage_goes_on(world: Path, tmp_path: Path) -> None:
    run.train(config_of(world, DEMO, tmp_path / "two", "experiment=selector_finetune"))
    two = tmp_path / "two/checkpoints/final.ckpt"
    middle = export(two, tmp_path / "middle")
    require_trained(state_of(DEMO), middle, "projector", "selector")
    run.train(config_of(world, DEMO, tmp_path / "three", "experiment=sft_lora", f"init_from={two}"))
    after = export(tmp_path / "three/checkpoints/final.ckpt", tmp_path / "model")
    require_trained(middle, after, "lora", "projector", "selector")


def test_all_of_its_language_model_is_trained(world: Path, tmp_path: Path) -> None:
    """With its head, which is its embeddings."""
    whole = ["stage.lora=null", "stage.train.lora=null", "stage.train.llm=1e-3", "stage.train.projector=null"]
    run.train(config_of(world, DEMO, tmp_path / "run", "experiment=sft_lora", "stage.train.selector=null", *whole))
    before, after = state_of(DEMO), export(tmp_path / "run/checkpoints/final.ckpt", tmp_path / "model")
    assert {name.split(".")[0] for name in changed(before, after)} == {"llm"}
    assert {"llm.lm_head.weight", "llm.model.embed_tokens.weight"} <= changed(before, after)
    assert torch.equal(after["llm.lm_head.weight"], after["llm.model.embed_tokens.weight"])


def test_a_resumed_run_ends_where_an_unbroken_one_does(tuned: Path, world: Path, tmp_path: Path) -> None:
    half = tuned / "checkpoints/step_1.ckpt"
    run.train(config_of(world, DEMO, tmp_path / "run", *TUNED, f"resume={half}"))
    ends = [read_checkpoint(folder / "checkpoints/final.ckpt")["state_dict"] for folder in (tuned, tmp_path / "run")]
    assert changed(*ends) == set()
    assert changed(read_checkpoint(half)["state_dict"], ends[0])


def test_its_checkpoint_is_measured_again(tuned: Path, world: Path, tmp_path: Path) -> None:
    cfg = config_of(
        world, DEMO, tmp_path, "experiment=sft_lora", f"checkpoint={tuned / 'checkpoints/final.ckpt'}", entry="eval"
    )
    assert run.evaluate(cfg) == json.loads((tuned / "metrics.json").read_text())


def test_the_folder_may_have_moved_but_not_changed(
    tuned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = tmp_path / "final.ckpt"
    content = torch.load(tuned / "checkpoints/final.ckpt", weights_only=True)
    parts = content["config"]["stage"]["module"]["model"]
    for name in ("vision_encoder", "dts", "projector", "selector", "llm"):
        parts[name]["folder"] = "/somewhere/else"
    parts["tokenizer"]["path"] = "/somewhere/else"
    torch.save(content, checkpoint)
    moved = ["--llm", str(DEMO), "--vision-encoder", str(DEMO)]
    with pytest.raises(SystemExit, match="2"):
        main(["stage", str(checkpoint), str(tmp_path / "none")])
    assert re.search("/somewhere/else: no such folder.*--llm, --vision-encoder", capsys.readouterr().err)
    at_home = export(tuned / "checkpoints/final.ckpt", tmp_path / "first")
    assert changed(at_home, export(checkpoint, tmp_path / "second", *moved)) == set()
    with pytest.raises(SystemExit, match="2"):  # other weights: those that it was trained to
        main(["stage", str(checkpoint), str(tmp_path / "third"), "--llm", str(tmp_path / "first"), *moved[2:]])
    assert "another llm than" in capsys.readouterr().err


def test_adapters_alone_belong_to_the_folders_language_model(tuned: Path, tmp_path: Path) -> None:
    main(["adapter", str(tuned / "checkpoints/final.ckpt"), str(tmp_path / "adapter")])
    llm = load_part(folder=str(DEMO), part="llm")
    load_adapter(llm, tmp_path / "adapter")
    saved = read_checkpoint(tuned / "checkpoints/final.ckpt")["state_dict"]
    assert all(torch.equal(saved[f"model.llm.{name}"], own) for name, own in lora_parameters(llm).items())
    assert json.loads((tmp_path / "adapter/base.json").read_text())["name_or_path"] == str(DEMO)


@pytest.mark.parametrize("part", ["vision_encoder", "dts", "projector", "selector", "llm"])
def test_a_part_is_that_of_the_whole_model(official: Path, part: Part) -> None:
    whole, own = load_video_lm(official)[0].get_submodule(part), load_part(folder=str(official), part=part)
    assert {p.dtype for p in own.parameters()} == {torch.float32}
    assert not own.training
    expected, got = ({**dict(m.named_parameters()), **dict(m.named_buffers())} for m in (whole, own))
    assert expected.keys() == got.keys()
    assert all(torch.equal(expected[name].to(got[name].dtype), got[name]) for name in got)
    rounded = load_part(folder=str(official), part=part, dtype="bfloat16")
    assert {p.dtype for p in rounded.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("recomputed", [True, False])
def test_its_compressor_is_trained(official: Path, world: Path, tmp_path: Path, recomputed: bool) -> None:
    """Activations are recomputed where that is wanted, in the official layout as well."""
    overrides = ("stage.train.dts=1e-4", f"model.dts.activation_checkpointing={recomputed}")
    cfg = config_of(world, official, tmp_path, "experiment=sft_lora", *overrides)
    dts = instantiate(cfg.stage.module).model.dts
    assert dts.activation_checkpointing is recomputed
    assert all(parameter.requires_grad for parameter in dts.parameters())
    features = torch.randn(1, 4, 8, 8, 64, generator=torch.Generator().manual_seed(0))
    dts(features).square().sum().backward()
    plain = load_part(folder=str(official), part="dts")
    plain(features).square().sum().backward()
    for own, expected in zip(dts.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(own.grad, expected.grad)


def test_a_folder_has_to_be_given(world: Path, tmp_path: Path) -> None:
    cfg = config_of(world, Path("???"), tmp_path, "experiment=sft_lora")
    with pytest.raises(ConfigError, match=r"model\.folder is not given"):
        run.train(cfg)


def without_config(folder: Path) -> Path:
    shutil.copytree(DEMO, folder)
    (folder / "config.json").unlink()
    return folder


def cut_short(folder: Path) -> Path:
    shutil.copytree(DEMO, folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    return folder


def stage_checkpoint(file: Path) -> Path:
    torch.save({"state_dict": {}, "config": {}}, file)
    return file


BAD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "nowhere": (lambda path: path, "no such folder. Give a model's folder"),
    "another kind": (lambda _: BACKBONES / "llm", "a model of type 'qwen2', not 'recot_video_lm'"),
    "no config": (without_config, "config.json: missing, so its folder isn't a whole model"),
    "cut short": (cut_short, "model.safetensors: not a whole safetensors file"),
    "a checkpoint": (stage_checkpoint, "a stage's checkpoint has to be exported first"),
}


@pytest.mark.parametrize("case", BAD)
def test_other_folders_are_refused(case: str, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make, message = BAD[case]
    folder = make(tmp_path / "folder")
    cfg = config_of(world, folder, tmp_path / "run", "experiment=sft_lora")
    with pytest.raises(SystemExit, match="2"):
        run.launch(lambda: run.train(cfg))  # type: ignore[arg-type,return-value]
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith(f"error: {folder}")
    assert message.lower() in said.lower()


def test_a_folder_as_the_stage_before_is_told_the_way(world: Path, tmp_path: Path) -> None:
    told = rf"{DEMO}: a model's folder.*model=from_folder model\.folder={DEMO} and init_from=null"
    for key in ("init_from", "resume"):
        cfg = config_of(world, DEMO, tmp_path / "run", "experiment=sft_lora", f"{key}={DEMO}")
        with pytest.raises((InstantiationException, DataError), match=told):
            run.train(cfg)
    (tmp_path / "empty").mkdir()
    cfg = config_of(world, DEMO, tmp_path / "run", "experiment=sft_lora", f"init_from={tmp_path / 'empty'}")
    with pytest.raises(InstantiationException, match=r"not an exported model's, which has a config\.json"):
        run.train(cfg)
