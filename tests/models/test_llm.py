"""Small Qwen2 models from a seed, and what loading one can get wrong."""

import importlib.machinery
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from recot.errors import ConfigError, DataError
from recot.models import llm as llm_module
from recot.models.llm import Attention, chat_bpe, pretrained_llm, resolve_attention, seeded_llm
from recot.models.tokenizer import load_tokenizer

CONFIG = {
    "vocab_size": 300,
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "tie_word_embeddings": True,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    seeded_llm(config=CONFIG, seed=3).save_pretrained(tmp_path)
    return tmp_path


def test_weights_depend_on_the_seed_alone() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first = seeded_llm(config=CONFIG, seed=0).state_dict()
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(6)
    again, other = (seeded_llm(config=CONFIG, seed=seed).state_dict() for seed in (0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["model.embed_tokens.weight"], other["model.embed_tokens.weight"])


def test_a_saved_model_comes_back(folder: Path) -> None:
    model = pretrained_llm(name_or_path=str(folder))
    saved = seeded_llm(config=CONFIG, seed=3).state_dict()
    assert not model.training
    assert all(torch.equal(saved[name], value) for name, value in model.state_dict().items())
    assert pretrained_llm(name_or_path=str(folder), dtype="bfloat16").dtype == torch.bfloat16


def test_no_model_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"model\.llm\.name_or_path={tmp_path}.*Give a hub name"):
        pretrained_llm(name_or_path=str(tmp_path))


def test_pickled_weights_are_refused(folder: Path) -> None:
    weights = folder / "model.safetensors"
    torch.save(load_file(weights), folder / "pytorch_model.bin")
    weights.unlink()
    with pytest.raises(DataError, match="safetensors"):
        pretrained_llm(name_or_path=str(folder))


def test_missing_weights_are_named(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(DataError, match=r"not a whole Qwen2 model.*layers\.1\.mlp\.up_proj\.weight"):
        pretrained_llm(name_or_path=str(folder))


def test_damaged_and_foreign_folders(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "siglip"}))
    with pytest.raises(DataError, match="siglip"):
        pretrained_llm(name_or_path=str(folder))
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:1000])
    with pytest.raises(DataError, match=r"no Qwen2 weights could be loaded"):
        pretrained_llm(name_or_path=str(folder))


def test_chat_format() -> None:
    tokenizer = chat_bpe(["user assistant system hello"], vocab_size=300)
    chat = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "42"}]
    said = tokenizer.apply_chat_template(chat, tokenize=False)
    assert said == "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n42<|im_end|>\n"
    asked = tokenizer.apply_chat_template(chat[:1], tokenize=False, add_generation_prompt=True)
    assert asked == "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"
    assert tokenizer.decode(tokenizer(asked)["input_ids"]) == asked


def test_phrases_are_single_tokens_and_stay_so(tmp_path: Path) -> None:
    text = "scene 1: red circle moves up and left.\nred circle moves up"
    tokenizer = chat_bpe([text], vocab_size=300, phrases=["red circle", "moves up", "moves up and left"])
    tokenizer.save_pretrained(tmp_path)
    for each in (tokenizer, load_tokenizer(tmp_path)):
        ids = each(text)["input_ids"]
        assert [each.decode([i]) for i in ids].count("red circle") == 2
        assert [each.decode([i]) for i in ids].count("moves up and left") == 1
        assert each.decode(ids) == text


def machine(monkeypatch: pytest.MonkeyPatch, *, flash: bool, gpu: bool) -> None:
    spec = importlib.machinery.ModuleSpec("flash_attn", None) if flash else None
    monkeypatch.setattr(llm_module, "find_spec", lambda name: spec)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)


def test_automatic_attention_is_flash_where_it_can_run(monkeypatch: pytest.MonkeyPatch) -> None:
    for flash, gpu, dtype, expected in (
        (True, True, "bfloat16", "flash_attention_2"),
        (True, True, "float16", "flash_attention_2"),
        (True, True, "float32", "sdpa_by_sample"),
        (True, False, "bfloat16", "sdpa_by_sample"),
        (False, True, "bfloat16", "sdpa_by_sample"),
    ):
        machine(monkeypatch, flash=flash, gpu=gpu)
        assert resolve_attention("auto", dtype) == expected
        assert resolve_attention("eager", dtype) == "eager"


@pytest.mark.parametrize(
    ("flash", "gpu", "dtype", "why"),
    [
        (False, True, "bfloat16", r"isn't installed \(pip install -e '\.\[gpu\]'\)"),
        (True, False, "bfloat16", "no CUDA GPU"),
        (True, True, "float32", "the weights are float32 .* sdpa computes in bfloat16"),
    ],
)
def test_flash_attention_that_cannot_run_says_why(
    monkeypatch: pytest.MonkeyPatch, folder: Path, flash: bool, gpu: bool, dtype: str, why: str
) -> None:
    machine(monkeypatch, flash=flash, gpu=gpu)
    with pytest.raises(ConfigError, match=rf"model\.llm\.attention=flash can't run here: .*{why}"):
        pretrained_llm(name_or_path=str(folder), dtype=dtype, attention="flash")


def test_attention_is_what_was_asked_for(folder: Path) -> None:
    kinds: tuple[tuple[Attention, str], ...] = (("sdpa", "sdpa_by_sample"), ("eager", "eager"))
    for attention, name in kinds:
        assert pretrained_llm(name_or_path=str(folder), attention=attention).config._attn_implementation == name
        assert seeded_llm(config=CONFIG, seed=0, attention=attention).config._attn_implementation == name
    eager = CONFIG | {"attn_implementation": "eager"}
    assert seeded_llm(config=eager, seed=0).config._attn_implementation == "eager"
    with pytest.raises(ConfigError, match=r"attention=sdpa, but model\.llm\.config\.attn_implementation=eager"):
        seeded_llm(config=eager, seed=0, attention="sdpa")
    with pytest.raises(ConfigError, match="must be auto, flash, sdpa or eager"):
        seeded_llm(config=CONFIG, seed=0, attention="fast")  # type: ignore[arg-type]
