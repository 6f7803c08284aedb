"""A model's folder: equal logits after reading, and clear refusals of what isn't a whole folder."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, GenerationConfig

from recot.checkpoints.hf_folder import load_video_lm, read_inference, save_video_lm
from recot.checkpoints.inference import Inference
from recot.checkpoints.weights import INDEX, SINGLE
from recot.errors import DataError
from recot.models.dts import DynamicTokenSynthesizer
from recot.models.generation import GenerationSettings
from recot.models.llm import seeded_llm
from recot.models.lora import LoraSettings, add_lora, lora_parameters, merge
from recot.models.mean_pooling import MeanPooling
from recot.models.projector import Projector
from recot.models.selection import KeepRule
from recot.models.selector import Selector
from recot.models.selector_baselines import BaselineSelector
from recot.models.video_lm import VideoLM
from recot.video_io import FrameSampling
from tests.models.tiny_video_lm import generator, sample, tiny_video_lm, video

HALF = KeepRule(ratio=0.5)
INFERENCE = Inference(
    frame_size=(64, 48),
    sampling=FrameSampling(fps=8.0, max_frames=256),
    keep=KeepRule(budget=40, level="group", pool="max"),
    generation=GenerationSettings(max_new_tokens=12, temperature=0.7, top_p=0.9, stop=("\n", "User:")),
)


def randomised(model: VideoLM) -> VideoLM:
    """Every parameter moved, so that none is equal to what a constructor makes."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator(parameter.numel())))
    return model


@torch.no_grad()
def logits(model: VideoLM) -> torch.Tensor:
    hidden = model([video(3, 1)], [sample("What moves?", (0,))], [HALF]).hidden
    return hidden @ model.head().T


@pytest.fixture(scope="module")
def model() -> VideoLM:
    return randomised(tiny_video_lm())


@pytest.fixture(scope="module")
def sharded(model: VideoLM, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In several files."""
    folder = tmp_path_factory.mktemp("model") / "sharded"
    save_video_lm(model, folder, INFERENCE, shard_bytes=1_000_000)
    return folder


def test_a_folder_gives_back_the_model_exactly(model: VideoLM, sharded: Path) -> None:
    assert len(list(sharded.glob("model-*.safetensors"))) > 2
    assert len({file.stat().st_mode for file in sharded.iterdir()}) == 1
    loaded, inference = load_video_lm(sharded)
    assert inference == INFERENCE == read_inference(sharded)
    state, read = model.state_dict(), loaded.state_dict()
    assert read.keys() == state.keys()
    assert all(torch.equal(read[name], tensor) for name, tensor in state.items())
    assert torch.equal(logits(loaded), logits(model))
    assert not loaded.training
    assert [p.requires_grad for p in loaded.parameters()] == [p.requires_grad for p in model.parameters()]
    settings = GenerationSettings(max_new_tokens=6)
    replies = [m.generate([video(3, 1)], sample("What moves?", (0,)), HALF, settings)[0] for m in (model, loaded)]
    assert replies[0] == replies[1]


def test_the_tied_head_is_stored_once_and_tied_again(model: VideoLM, sharded: Path, tmp_path: Path) -> None:
    assert model.llm.config.tie_word_embeddings
    names = json.loads((sharded / INDEX).read_text())["weight_map"]
    assert "llm.model.embed_tokens.weight" in names
    assert "llm.lm_head.weight" not in names
    loaded, _ = load_video_lm(sharded)
    assert loaded.llm.get_output_embeddings().weight is loaded.llm.get_input_embeddings().weight
    untied = tiny_video_lm(
        llm=seeded_llm(config={**small_llm(model), "tie_word_embeddings": False}, seed=1).eval(),
    )
    save_video_lm(untied, tmp_path / "untied", INFERENCE)
    assert "llm.lm_head.weight" in load_file(tmp_path / "untied" / SINGLE)
    assert torch.equal(logits(load_video_lm(tmp_path / "untied")[0]), logits(untied))


def small_llm(model: VideoLM) -> dict[str, Any]:
    config = model.llm.config
    return {
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "rope_parameters": {"rope_type": "default", "rope_theta": 500.0},
        "rms_norm_eps": 1e-3,
    }


def test_every_argument_of_every_part_comes_back(model: VideoLM, tmp_path: Path) -> None:
    """A model in which nothing has its default."""
    config = {**small_llm(model), "tie_word_embeddings": True, "eos_token_id": 5}
    llm = seeded_llm(config=config, seed=1).eval()
    width = llm.config.hidden_size
    unusual = tiny_video_lm(
        dts=DynamicTokenSynthesizer(width=64, heads=2, layout="official", chunk_groups=3),
        projector=Projector(width=64, llm_width=width, depth=3, pool_stride=4),
        selector=Selector(width=width, heads=2, layout="official", gradient="additive", time_tokens=7, chunk_groups=2),
        llm=llm,
        query="prompt",
        max_tokens=5000,
    )
    unusual.vision_encoder.chunk_frames = 5
    save_video_lm(randomised(unusual), tmp_path / "unusual", INFERENCE)
    loaded, _ = load_video_lm(tmp_path / "unusual")
    assert torch.equal(logits(loaded), logits(unusual))
    assert (loaded.vision_encoder.chunk_frames, loaded.dts.chunk_groups, loaded.selector.chunk_groups) == (5, 3, 2)
    assert loaded.max_tokens == 5000
    assert 5 in loaded.llm.generation_config.eos_token_id
    save_video_lm(loaded, tmp_path / "again", INFERENCE)
    assert (tmp_path / "again" / "config.json").read_bytes() == (tmp_path / "unusual" / "config.json").read_bytes()


def test_mean_pooling_comes_back_with_equal_logits(tmp_path: Path) -> None:
    pooling = randomised(tiny_video_lm(dts=MeanPooling(width=64)))
    save_video_lm(pooling, tmp_path / "model", INFERENCE)
    loaded, _ = load_video_lm(tmp_path / "model")
    assert isinstance(loaded.dts, MeanPooling)
    assert torch.equal(logits(loaded), logits(pooling))


def test_folders_from_before_there_were_kinds_of_compressors_load(
    model: VideoLM, sharded: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(sharded, tmp_path / "old")
    change(folder, lambda c: c["dts"].pop("kind"))
    assert torch.equal(logits(load_video_lm(folder)[0]), logits(model))


def test_baseline_selectors_come_back(tmp_path: Path) -> None:
    save_video_lm(tiny_video_lm(selector=BaselineSelector(kind="first_k")), tmp_path / "model", INFERENCE)
    loaded, _ = load_video_lm(tmp_path / "model")
    assert isinstance(loaded.selector, BaselineSelector)
    assert loaded.selector.kind == "first_k"


def test_dtypes_are_kept_or_chosen(tmp_path: Path) -> None:
    mixed = tiny_video_lm()
    mixed.llm.bfloat16()
    save_video_lm(mixed, tmp_path / "mixed", INFERENCE)
    kept, _ = load_video_lm(tmp_path / "mixed")
    assert {p.dtype for p in kept.llm.parameters()} == {torch.bfloat16} == {kept.llm.dtype}
    assert {p.dtype for p in kept.dts.parameters()} == {torch.float32}
    chosen, _ = load_video_lm(tmp_path / "mixed", dtype="float32")
    assert {p.dtype for p in chosen.parameters()} == {torch.float32}
    torch.testing.assert_close(chosen.head(), mixed.head().float(), rtol=0, atol=0)


def test_other_libraries_read_tokenizer_and_generation_config(model: VideoLM, sharded: Path) -> None:
    read = GenerationConfig.from_pretrained(sharded)
    assert (read.max_new_tokens, read.do_sample, read.temperature, read.top_p) == (12, True, 0.7, 0.9)
    text = "Which of these is shown? 12.5 s"
    assert AutoTokenizer.from_pretrained(sharded)(text) == model.tokenizer(text)


def test_adapters_have_to_be_merged(tmp_path: Path) -> None:
    adapted = tiny_video_lm()
    settings = LoraSettings(
        rank=2, alpha=4.0, targets=["q_proj", "down_proj"], dropout=0.0, use_rslora=False, use_dora=False
    )
    add_lora(adapted.llm, settings, seed=0)
    with torch.no_grad():
        for parameter in lora_parameters(adapted.llm).values():
            parameter.normal_(std=0.1, generator=generator(parameter.numel()))
    adapted.eval()
    with pytest.raises(ValueError, match="merge them first"):
        save_video_lm(adapted, tmp_path / "model", INFERENCE)
    assert not (tmp_path / "model").exists()
    expected = logits(adapted)
    adapted.llm = merge(adapted.llm)
    save_video_lm(adapted, tmp_path / "model", INFERENCE)
    torch.testing.assert_close(logits(load_video_lm(tmp_path / "model")[0]), expected, rtol=1e-4, atol=1e-4)


def test_a_folder_appears_whole_or_not_at_all(
    model: VideoLM, sharded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(type(model.tokenizer), "save_pretrained", full)
    with pytest.raises(OSError, match="no space"):
        save_video_lm(model, tmp_path / "model", INFERENCE)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DataError, match="already exists"):
        save_video_lm(model, sharded, INFERENCE)


def drop_shard(folder: Path) -> None:
    sorted(folder.glob("model-*.safetensors"))[1].unlink()


def truncate_shard(folder: Path) -> None:
    shard = sorted(folder.glob("model-*.safetensors"))[1]
    shard.write_bytes(shard.read_bytes()[:-1000])


def swap_shards(folder: Path) -> None:
    first, second, *_ = sorted(folder.glob("model-*.safetensors"))
    shutil.copyfile(second, first)


def change(folder: Path, edit: Callable[[dict[str, Any]], object], file: str = "config.json") -> None:
    content = json.loads((folder / file).read_text())
    edit(content)
    (folder / file).write_text(json.dumps(content))


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (shutil.rmtree, r"folder: no such folder"),
    "no config": (lambda f: (f / "config.json").unlink(), r"config\.json: missing"),
    "no generation config": (lambda f: (f / "generation_config.json").unlink(), r"generation_config\.json: missing"),
    "no JSON": (lambda f: (f / "config.json").write_text("{"), r"config\.json: can't be read as JSON"),
    "no object": (lambda f: (f / "config.json").write_text("[]"), r"config\.json: holds a list"),
    "another model": (lambda f: change(f, lambda c: c.update(model_type="qwen2")), r"'qwen2', not 'recot_video_lm'"),
    "unknown field": (lambda f: change(f, lambda c: c["dts"].update(headz=3)), r"config\.json, dts: .*'headz'"),
    "unknown section": (lambda f: change(f, lambda c: c.update(masking={})), r"unknown fields \['masking'\]"),
    "missing field": (lambda f: change(f, lambda c: c["llm"].pop("rope_parameters")), r"llm: .*'rope_parameters'"),
    "unknown keep": (lambda f: change(f, lambda c: c["keep"].update(share=1)), r"keep: .*'share'"),
    "impossible keep": (lambda f: change(f, lambda c: c["keep"].update(ratio=7, budget=None)), r"ratio=7"),
    "impossible field": (lambda f: change(f, lambda c: c["llm"].update(hidden_size="wide")), r"llm: .*hidden_size"),
    "no tokens": (
        lambda f: change(f, lambda c: c.update(max_tokens=0)),
        r"config\.json: model\.max_tokens=0: .*from 1",
    ),
    "words for tokens": (lambda f: change(f, lambda c: c.update(max_tokens="many")), r"config\.json: .*='many'"),
    "impossible layers": (lambda f: change(f, lambda c: c["vision_encoder"].update(layers=9)), r"give 1\.\.4"),
    "a frame without width": (lambda f: change(f, lambda c: c.update(frame_size=[64])), r"config\.json: frame_size="),
    "a frame of nothing": (lambda f: change(f, lambda c: c.update(frame_size=[0, 0])), r"frame_size=\[0, 0\]"),
    "less than nothing": (lambda f: change(f, lambda c: c.update(frame_size=[-4, 64])), r"frame_size=\[-4, 64\]"),
    "no grid": (lambda f: change(f, lambda c: c["vision_encoder"].update(grid=0)), r"vision_encoder: grid=0"),
    "no frames at once": (
        lambda f: change(f, lambda c: c["vision_encoder"].update(chunk_frames=0)),
        r"vision_encoder: chunk_frames=0",
    ),
    "no groups at once": (lambda f: change(f, lambda c: c["dts"].update(chunk_groups=0)), r"dts: chunk_groups=0"),
    "no groups scored": (
        lambda f: change(f, lambda c: c["selector"].update(chunk_groups=0)),
        r"selector: chunk_groups=0",
    ),
    "no heads": (
        lambda f: change(f, lambda c: c["llm"].update(num_attention_heads=0)),
        r"config\.json, llm: num_attention_heads=0",
    ),
    "no heads of the tower": (
        lambda f: change(f, lambda c: c["vision_encoder"]["config"].update(num_attention_heads=0)),
        r"vision_encoder\.config: num_attention_heads=0",
    ),
    "another compressor": (lambda f: change(f, lambda c: c["dts"].update(kind="max")), r"dts: kind='max'"),
    "a string for a list": (
        lambda f: change(f, lambda c: c.update(stop_strings="ab"), "generation_config.json"),
        r"generation_config\.json: stop_strings='ab'",
    ),
    "no tokenizer config": (
        lambda f: (f / "tokenizer_config.json").unlink(),
        r"folder/tokenizer_config\.json: missing",
    ),
    "words for a number": (
        lambda f: change(f, lambda c: c.update(temperature="hot"), "generation_config.json"),
        r"generation_config\.json, has a value of another kind",
    ),
    "another tokenizer": (
        lambda f: change(f, lambda c: c["model"]["vocab"].update(zzz=99_999), "tokenizer.json"),
        r"ids up to 99999, but the language model only",
    ),
    "no shard": (drop_shard, r"model-00002-of-\d+\.safetensors: missing.*half copied"),
    "truncated shard": (truncate_shard, r"model-00002-of-\d+\.safetensors: not a whole safetensors file"),
    "swapped shards": (swap_shards, r"model-00001-of-\d+\.safetensors: not what model\.safetensors\.index\.json"),
    "no weights": (lambda f: (f / INDEX).unlink(), r"no weights there"),
    "broken index": (lambda f: (f / INDEX).write_text("{}"), r"not an index of weights"),
    "index that leaves": (
        lambda f: change(f, lambda c: c["weight_map"].update({"a": "../a.safetensors"}), INDEX),
        r"not a file's name",
    ),
    "no tokenizer": (lambda f: [p.unlink() for p in f.glob("tokenizer*")], r"no tokenizer"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_folders_are_refused(sharded: Path, tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "folder"
    shutil.copytree(sharded, folder)
    do, message = DAMAGES[damage]
    do(folder)
    with pytest.raises(ValueError, match=message):
        load_video_lm(folder)


def test_weights_of_another_width_are_named_with_both_shapes(sharded: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    shutil.copytree(sharded, folder)
    change(folder, lambda c: c["projector"].update(depth=1))
    with pytest.raises(DataError, match=r"Not expected: projector\.layers\.2\.bias"):
        load_video_lm(folder)
    change(folder, lambda c: (c["projector"].update(depth=2), c["llm"].update(intermediate_size=96)))
    with pytest.raises(DataError, match=r"llm\.model\.layers\.0\.mlp\.gate_proj\.weight is \(\d+, \d+\), not \(96, "):
        load_video_lm(folder)


def test_truncated_single_file_is_refused(model: VideoLM, tmp_path: Path) -> None:
    save_video_lm(model, tmp_path / "model", INFERENCE)
    file = tmp_path / "model" / SINGLE
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(DataError, match=r"model\.safetensors: not a whole safetensors file"):
        load_video_lm(tmp_path / "model")
    save_file({"a": torch.zeros(1)}, file)
    with pytest.raises(DataError, match=r"Missing: dts\..*Not expected: a\."):
        load_video_lm(tmp_path / "model")
