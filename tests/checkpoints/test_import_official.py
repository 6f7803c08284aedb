"""Released checkpoints: every key at full widths; narrow ones end to end against the reference numbers; bad ones."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from einops import rearrange
from torch import Tensor
from transformers import Qwen2Config, Qwen2ForCausalLM, SiglipVisionConfig, SiglipVisionModel

from recot.checkpoints import export
from recot.checkpoints.architecture import video_lm_without_weights
from recot.checkpoints.hf_folder import load_video_lm
from recot.checkpoints.import_official import from_official, import_official
from recot.checkpoints.official_config import SO400M, official_architecture
from recot.errors import DataError
from recot.models.generation import GenerationSettings
from recot.models.preprocess import normalise
from recot.models.prompt import Turn, Visual, build_prompt
from recot.models.video_input import Sample, VisualInput
from recot.models.video_lm import VideoLM
from tests.checkpoints.official_checkpoint import (
    FULL,
    NEW,
    OLD,
    SMALL_VISION,
    official_keys,
    random_state,
    small_config,
    write_official,
)
from tests.models.tiny_video_lm import generator

HERE = Path("DIR")
SHARD = 300_000


@pytest.mark.parametrize("tower", [OLD, NEW])
def test_every_key_at_full_width(tower: str) -> None:
    """On the meta device: 3B, 26 of SigLIP's 27 layers, tied."""
    keys = official_keys(FULL, vision=SO400M, tower=tower)
    assert sum(torch.Size(s).numel() for n, s in keys.items() if n.startswith("model.sae.")) == 93_526_272
    assert len([n for n in keys if n.startswith("model.layers.")]) == 36 * 12
    architecture = official_architecture(FULL, vision=SO400M, where=HERE)
    weights = {name: torch.empty(shape, dtype=torch.float16, device="meta") for name, shape in keys.items()}
    state = from_official(weights, FULL, architecture, where=HERE)
    model = video_lm_without_weights(architecture, tokenizer=None, attention="sdpa", where="config.json")
    wanted = {n: tuple(t.shape) for n, t in model.state_dict().items() if n != "llm.lm_head.weight"}
    assert {n: tuple(t.shape) for n, t in state.items()} == wanted
    unused = 2 * 1152  # post_layernorm
    assert sum(t.numel() for t in state.values()) == sum(torch.Size(s).numel() for s in keys.values()) - unused
    assert {t.dtype for t in state.values()} == {torch.float16}
    assert (model.dts.layout, model.selector.layout, model.query) == ("official", "official", "prompt")
    assert len(model.vision_encoder.encoder.layers) == 26
    assert (model.vision_encoder.grid, model.vision_encoder.config.image_size) == (24, 384)


def test_keys_of_the_untied_form_and_of_unpad() -> None:
    config = FULL | {"tie_word_embeddings": False, "mm_patch_merge_type": "spatial_unpad"}
    architecture = official_architecture(config, vision=SO400M, where=HERE)
    keys = official_keys(config, vision=SO400M, tower=OLD)
    keys |= {"lm_head.weight": (151936, 2048), "model.image_newline": (2048,)}
    weights = {name: torch.empty(shape, device="meta") for name, shape in keys.items()}
    assert "llm.lm_head.weight" in from_official(weights, config, architecture, where=HERE)


def reference_towers(config: dict[str, Any]) -> tuple[SiglipVisionModel, Qwen2ForCausalLM]:
    """Whole models of transformers, random."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        vision = SiglipVisionModel(SiglipVisionConfig(**SMALL_VISION, vision_use_head=False)).eval()
        names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
        names += ("num_key_value_heads", "rope_theta", "rms_norm_eps", "tie_word_embeddings")
        llm = Qwen2ForCausalLM(Qwen2Config(**{name: config[name] for name in names}, initializer_range=0.1)).eval()
        for parameter in [*vision.parameters(), *llm.parameters()]:
            parameter.data += 0.05 * torch.randn(parameter.shape)
    return vision, llm


@torch.no_grad()
@pytest.mark.parametrize("tower", [OLD, NEW])
@pytest.mark.parametrize("tied", [True, False])
def test_backbones_compute_what_they_did(tmp_path: Path, tower: str, tied: bool) -> None:
    """Against transformers' own models, from which the checkpoint's weights are."""
    config = small_config(32, tie_word_embeddings=tied)
    vision, llm = reference_towers(config)
    state = random_state(official_keys(config, vision=SMALL_VISION, tower=tower), 1)
    state |= {tower + n: t for n, t in vision.state_dict().items() if f"{tower}{n}" in state}
    state |= {n: t for n, t in llm.state_dict().items() if not (tied and n == "lm_head.weight")}
    write_official(tmp_path / "official", state, config, shard_bytes=SHARD)
    import_official(tmp_path / "official", tmp_path / "model", vision=SMALL_VISION)
    model, _ = load_video_lm(tmp_path / "model")
    frames = torch.randint(256, (2, 384, 384, 3), dtype=torch.uint8, generator=generator(0))
    inner = vision(pixel_values=normalise(frames, 384), output_hidden_states=True).hidden_states[-2]
    maps = rearrange(inner, "f (h w) c -> f c h w", h=27)
    expected = torch.nn.functional.interpolate(maps, size=(24, 24), mode="bilinear", align_corners=False)
    torch.testing.assert_close(
        model.vision_encoder(frames), rearrange(expected, "f c h w -> f h w c"), rtol=1e-4, atol=1e-4
    )
    ids = torch.randint(90, (1, 40), generator=generator(1))
    torch.testing.assert_close(model.llm(ids).logits, llm(ids).logits, rtol=1e-4, atol=1e-4)


def test_half_precision_from_frames_to_a_reply(tmp_path: Path) -> None:
    """Sharded float16 in, float16 stored, and float32 computed."""
    config = small_config(32)
    made = random_state(official_keys(config, vision=SMALL_VISION, tower=OLD), 5)
    state = {name: tensor.half() for name, tensor in made.items()}
    official = write_official(tmp_path / "official", state, config, shard_bytes=SHARD)
    assert len(list(official.glob("model-*.safetensors"))) > 1
    import_official(official, tmp_path / "model", vision=SMALL_VISION, shard_bytes=SHARD)
    stored, _ = load_video_lm(tmp_path / "model")
    assert {p.dtype for p in stored.parameters()} == {torch.float16}
    model, inference = load_video_lm(tmp_path / "model", dtype="float32")
    assert torch.equal(model.head(), state["model.embed_tokens.weight"].float())
    assert torch.equal(model.selector.attention.v_proj.weight, state[f"{WINDOWS}.v_proj.weight"].float())
    frames = torch.randint(256, (2, 4, 384, 384, 3), dtype=torch.uint8, generator=generator(0))
    shown = VisualInput(times_s=torch.arange(8, dtype=torch.float64).view(2, 4), frames=frames)
    prompt = build_prompt(model.tokenizer, [Turn("user", (Visual(0), "\nwhat is it?"))], reply=True)
    settings = GenerationSettings(max_new_tokens=4)
    reply, choice = model.generate([shown], Sample(prompt=prompt, visuals=(0,)), inference.keep, settings)
    assert 1 <= len(reply.ids) <= 4
    assert choice is not None
    assert choice.selection.kept.sum() == int(2 * 144 * 0.845) // 16 * 16
    assert set(model.llm.generation_config.eos_token_id) == {99}


def test_half_precision_may_become_another_on_import(official: Path, tmp_path: Path) -> None:
    import_official(official, tmp_path / "model", dtype="bfloat16", vision=SMALL_VISION)
    model, _ = load_video_lm(tmp_path / "model")
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    state = random_state(official_keys(small_config(32), vision=SMALL_VISION, tower=OLD), 0)
    assert torch.equal(model.head(), state["model.embed_tokens.weight"].bfloat16())


def test_the_command_passes_its_dtype_on(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, object] = {}
    monkeypatch.setattr(export, "import_official", lambda *_, **settings: given.update(settings))
    export.main(["import-official", "DIR", "OUT", "--dtype", "float32"])
    assert given == {"dtype": "float32"}


WINDOWS = "model.WindowTimeToTokenAttention"


BAD_WEIGHTS: dict[str, tuple[Callable[[dict[str, Tensor]], object], str]] = {
    "missing": (lambda s: s.pop("model.sae.encoder.3.q.weight"), r"Missing: model\.sae\.encoder\.3\.q\.weight"),
    "left over": (lambda s: s.update({"model.sae.encoder.6.x": torch.zeros(1)}), r"Not expected: .*encoder\.6\.x"),
    "a 27th layer": (lambda s: s.update({f"{OLD}encoder.layers.2.mlp.fc1.bias": torch.zeros(96)}), r"layers\.2\.mlp"),
    "a pooling head": (lambda s: s.update({f"{OLD}head.probe": torch.zeros(1, 1, 64)}), r"tower\.head\.probe"),
    "newline": (lambda s: s.update({"model.image_newline": torch.zeros(32)}), r"Not expected: model\.image_newline"),
    "another width": (
        lambda s: s.update({"model.text_mlp.0.weight": torch.zeros(32, 48)}),
        r"model\.text_mlp\.0\.weight is \(32, 48\), not \(32, 32\)",
    ),
    "two forms of the tower": (
        lambda s: s.update({f"{NEW}embeddings.patch_embedding.bias": torch.zeros(64)}),
        "there twice",
    ),
    "another head": (lambda s: s.update({"lm_head.weight": torch.zeros(102, 32)}), "tie_word_embeddings, but"),
}


@pytest.mark.parametrize("case", BAD_WEIGHTS)
def test_other_weights_are_refused(tmp_path: Path, case: str) -> None:
    config = small_config(32)
    state = random_state(official_keys(config, vision=SMALL_VISION, tower=OLD), 0)
    change, message = BAD_WEIGHTS[case]
    change(state)
    write_official(tmp_path / "official", state, config, shard_bytes=SHARD)
    with pytest.raises(DataError, match=message):
        import_official(tmp_path / "official", tmp_path / "model", vision=SMALL_VISION)
    assert [p.name for p in tmp_path.iterdir()] == ["official"]


BAD_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (shutil.rmtree, "no such folder"),
    "no config": (lambda f: (f / "config.json").unlink(), r"config\.json: missing"),
    "no field": (lambda f: edit(f, num_key_value_heads=None), "no num_key_value_heads"),
    "no pooling": (lambda f: edit(f, mm_spatial_pool_stride=None), "no mm_spatial_pool_stride"),
    "other projector": (lambda f: edit(f, mm_projector_type="linear"), "mm_projector_type='linear'"),
    "other pooling": (lambda f: edit(f, mm_spatial_pool_mode="max"), "mm_spatial_pool_mode='max'"),
    "other tower": (lambda f: edit(f, mm_hidden_size=1152), "mm_hidden_size=1152, but the vision tower is 64"),
    "other width": (lambda f: edit(f, hidden_size=64), r"is \(32\,?.*\), not \(64"),
    "no tokenizer": (lambda f: [p.unlink() for p in f.glob("tokenizer*")], "no tokenizer"),
    "other tokenizer": (lambda f: edit(f, vocab_size=99), "ids up to 99, but the language model only 99"),
    "missing shard": (lambda f: next(f.glob("model-00002*")).unlink(), r"model-00002.*half copied"),
    "truncated shard": (lambda f: truncate(next(f.glob("model-00002*"))), r"model-00002.*not a whole"),
    "no weights": (lambda f: [p.unlink() for p in f.glob("model*")], "no weights there"),
    "ends in words": (
        lambda f: [p.unlink() for p in f.glob("model*")] + [ends(f, "<|im_end|>")],  # found before weights are
        r"generation_config\.json: eos_token_id='<\|im_end\|>' must be the id of a token",
    ),
    "no end": (lambda f: ends(f, []), r"generation_config\.json: eos_token_id=\[\] must be"),
}


def edit(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def ends(folder: Path, tokens: object) -> None:
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": tokens}))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = small_config(32)
    state = random_state(official_keys(config, vision=SMALL_VISION, tower=OLD), 0)
    return write_official(tmp_path_factory.mktemp("release") / "official", state, config, shard_bytes=SHARD)


@pytest.mark.parametrize("case", BAD_FILES)
def test_other_folders_are_refused(official: Path, tmp_path: Path, case: str) -> None:
    shutil.copytree(official, tmp_path / "official")
    damage, message = BAD_FILES[case]
    damage(tmp_path / "official")
    with pytest.raises(DataError, match=message):
        import_official(tmp_path / "official", tmp_path / "model", vision=SMALL_VISION)
    assert not (tmp_path / "model").exists()


def test_a_tied_head_that_is_stored_all_the_same_is_left_out(official: Path, tmp_path: Path) -> None:
    config = small_config(32)
    state = random_state(official_keys(config, vision=SMALL_VISION, tower=OLD), 0)
    state["lm_head.weight"] = state["model.embed_tokens.weight"].clone()
    write_official(tmp_path / "stored", state, config, shard_bytes=SHARD)
    models: list[VideoLM] = []
    for source in (official, tmp_path / "stored"):
        import_official(source, tmp_path / f"{source.name}-model", vision=SMALL_VISION)
        models.append(load_video_lm(tmp_path / f"{source.name}-model")[0])
    assert models[0].state_dict().keys() == models[1].state_dict().keys()
    assert torch.equal(models[0].head(), models[1].head())


@pytest.mark.parametrize(("tokens", "expected"), [(None, {99}), (98, {98}), ([98, 99], {98, 99})])
def test_replies_end_as_generation_config_says_or_config_where_it_says_nothing(
    official: Path, tmp_path: Path, tokens: object, expected: set[int]
) -> None:
    shutil.copytree(official, tmp_path / "official")
    ends(tmp_path / "official", tokens)
    import_official(tmp_path / "official", tmp_path / "model", vision=SMALL_VISION)
    model, _ = load_video_lm(tmp_path / "model")
    assert set(model.llm.generation_config.eos_token_id) == expected
