"""LoRA: what is adapted and what isn't, files of adapters, merging."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AutoPeftModelForCausalLM, PeftModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import Qwen2ForCausalLM

from recot.errors import ConfigError, DataError
from recot.models.llm import pretrained_llm, seeded_llm
from recot.models.lora import (
    LoraSettings,
    add_lora,
    base_weights,
    linear_names,
    load_adapter,
    lora_parameters,
    merge,
    save_adapter,
)
from recot.models.vision_encoder import seeded_encoder
from tests.conftest import REPO

CONFIG = {
    "vocab_size": 50,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "tie_word_embeddings": True,
}
LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
IDS = torch.arange(12)[None]


def settings(**changes: Any) -> LoraSettings:
    values = {"rank": 4, "alpha": 8.0, "targets": LAYERS, "dropout": 0.0, "use_rslora": False, "use_dora": False}
    return LoraSettings(**(values | changes))


def llm(seed: int = 0, **changes: Any) -> Qwen2ForCausalLM:
    return seeded_llm(config=CONFIG | changes, seed=seed).eval()


def adapted(seed: int = 0, dtype: torch.dtype = torch.float32, lora: LoraSettings | None = None, **changes: Any) -> Any:
    """A model whose adapters change what it says, as after training."""
    model = llm(seed, **changes)
    for parameter in model.parameters():  # as from_pretrained does; rotary frequencies stay float32
        parameter.data = parameter.data.to(dtype)
    add_lora(model, lora or settings(), seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, parameter in lora_parameters(model).items():
            if "lora_B" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model.eval()


@torch.no_grad()
def logits(model: nn.Module) -> Tensor:
    return model(input_ids=IDS).logits.float()


class Whole(nn.Module):
    """What makes names ambiguous: SigLIP has a q_proj too, and the projector's layers are called 0 and 2."""

    def __init__(self) -> None:
        super().__init__()
        encoder = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
        self.vision_encoder = seeded_encoder(
            config=encoder | {"image_size": 16, "patch_size": 8}, drop_layers=1, grid=2, seed=0
        )
        self.projector = nn.Sequential(nn.Linear(32, 32), nn.GELU(), nn.Linear(32, 32))
        self.llm = llm()


def test_the_exact_trainable_set() -> None:
    model = Whole()
    add_lora(model.llm, settings(targets=["q_proj", "down_proj"]), seed=0)
    model.vision_encoder.requires_grad_(False)
    model.projector.requires_grad_(False)
    expected = {
        f"llm.model.layers.{layer}.{name}.lora_{factor}.default.weight"
        for layer in (0, 1)
        for name in ("self_attn.q_proj", "mlp.down_proj")
        for factor in "AB"
    }
    assert {name for name, p in model.named_parameters() if p.requires_grad} == expected
    assert {f"llm.{name}" for name in lora_parameters(model.llm)} == expected
    assert not any("lora" in name for name, _ in model.vision_encoder.named_parameters())
    shape = model.llm.model.layers[0].mlp.down_proj.lora_A["default"].weight.shape
    assert shape == (4, 48)


def test_all_linear_layers_but_the_head() -> None:
    names = linear_names(llm(tie_word_embeddings=False), LAYERS)
    assert len(names) == 2 * len(LAYERS)
    assert all(name.startswith("model.layers.") for name in names)


@pytest.mark.parametrize("target", ["lm_head", "0", "q", "fc1"])
def test_an_unknown_target_is_told_what_there_is(target: str) -> None:
    with pytest.raises(ConfigError, match=rf"\['{target}'\] is no linear layer.*'down_proj'.*'v_proj'"):
        add_lora(llm(), settings(targets=["q_proj", target]), seed=0)


@pytest.mark.parametrize("wrong", [{"rank": 0}, {"alpha": 0.0}, {"dropout": 1.0}, {"targets": []}])
def test_impossible_settings(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"stage\.lora"):
        settings(**wrong)


def test_fresh_adapters_change_nothing_and_depend_on_the_seed_alone() -> None:
    model = llm()
    before = logits(model)
    state = torch.random.get_rng_state()
    add_lora(model, settings(), seed=3)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(logits(model), before)
    again, other = llm(), llm()
    add_lora(again, settings(), seed=3)
    add_lora(other, settings(), seed=4)
    name = "model.layers.0.self_attn.q_proj.lora_A.default.weight"
    assert torch.equal(lora_parameters(model)[name], lora_parameters(again)[name])
    assert not torch.equal(lora_parameters(model)[name], lora_parameters(other)[name])
    with pytest.raises(ValueError, match="adapters already"):
        add_lora(model, settings(), seed=3)


def test_base_weights_have_their_plain_names() -> None:
    assert base_weights(adapted()).keys() == dict(llm().named_parameters()).keys()


def test_adapters_of_bfloat16_weights_are_float32() -> None:
    model = adapted(dtype=torch.bfloat16)
    assert {p.dtype for p in lora_parameters(model).values()} == {torch.float32}
    assert {p.dtype for p in base_weights(model).values()} == {torch.bfloat16}


@pytest.mark.parametrize("kind", [{}, {"use_rslora": True}, {"use_dora": True}])
def test_saved_adapters_come_back_here_and_in_peft(tmp_path: Path, kind: dict[str, bool]) -> None:
    model = adapted(lora=settings(**kind))
    expected = logits(model)
    assert (expected - logits(llm())).abs().max() > 0.01
    save_adapter(model, tmp_path / "adapter")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["adapter"]
    again = llm()
    load_adapter(again, tmp_path / "adapter")
    assert torch.equal(logits(again), expected)
    theirs = PeftModel.from_pretrained(llm(), tmp_path / "adapter")
    torch.testing.assert_close(logits(theirs), expected, rtol=0, atol=1e-6)


def test_peft_finds_the_base_of_saved_adapters(tmp_path: Path) -> None:
    llm().save_pretrained(tmp_path / "base")
    model = pretrained_llm(name_or_path=str(tmp_path / "base"))
    add_lora(model, settings(), seed=0)
    with torch.no_grad():
        for parameter in lora_parameters(model).values():
            parameter.add_(0.05)
    save_adapter(model, tmp_path / "adapter")
    theirs = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "adapter")
    torch.testing.assert_close(logits(theirs), logits(model), rtol=0, atol=1e-6)


def test_adapters_of_a_seed_name_no_base(tmp_path: Path) -> None:
    save_adapter(adapted(), tmp_path / "adapter")
    assert json.loads((tmp_path / "adapter/adapter_config.json").read_text())["base_model_name_or_path"] is None


def test_adapters_written_by_peft_are_read(tmp_path: Path) -> None:
    theirs = PeftModel(llm(), adapted().peft_config["default"])
    with torch.no_grad():
        for name, p in theirs.named_parameters():
            if "lora_B" in name:
                p.fill_(0.02)
    theirs.save_pretrained(str(tmp_path), save_embedding_layers=False)
    model = llm()
    load_adapter(model, tmp_path)
    torch.testing.assert_close(logits(model), logits(theirs.eval()), rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", [{}, {"use_rslora": True}, {"use_dora": True}])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_merged_model_is_plain_and_says_the_same(
    tmp_path: Path, kind: dict[str, bool], tied: bool, dtype: torch.dtype
) -> None:
    model = adapted(dtype=dtype, lora=settings(**kind), tie_word_embeddings=tied)
    reference = adapted(dtype=dtype, lora=settings(**kind), tie_word_embeddings=tied).float()
    head = model.lm_head.weight.float().clone()
    merged = merge(model)
    assert merged is model
    plain = llm(tie_word_embeddings=tied)
    assert dict(merged.named_parameters()).keys() == dict(plain.named_parameters()).keys()
    assert (merged.lm_head.weight is merged.model.embed_tokens.weight) == tied
    assert torch.equal(merged.lm_head.weight, head)
    merged.save_pretrained(tmp_path)
    again = pretrained_llm(name_or_path=str(tmp_path))
    assert type(again) is Qwen2ForCausalLM
    assert again.dtype == torch.float32
    assert torch.equal(logits(again), logits(merged))
    torch.testing.assert_close(logits(again), logits(reference), rtol=1e-5, atol=1e-5)


def test_nothing_to_save_or_merge(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no adapters to save"):
        save_adapter(llm(), tmp_path / "a")
    with pytest.raises(ValueError, match="no adapters to merge"):
        merge(llm())


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "adapter"
    save_adapter(adapted(), folder)
    return folder


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"seed": 5}, "language model with other weights"),
        ({"hidden_size": 64}, "another width"),
        ({"num_hidden_layers": 1}, r"no layer for model\.layers\.1"),
    ],
)
def test_adapters_of_another_model(saved: Path, other: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_adapter(llm(**other), saved)


def damaged(saved: Path, folder: Path, name: str, content: bytes | None) -> Path:
    for file in saved.iterdir():
        if file.name != name or content is not None:
            (folder / file.name).write_bytes(file.read_bytes() if file.name != name else content or b"")
    return folder


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("adapter_config.json", None, "not a folder of LoRA adapters"),
        ("adapter_model.safetensors", None, "not a folder of LoRA adapters"),
        ("adapter_model.safetensors", b"\x10\0\0\0\0\0\0\0{}", "can't be read"),
        ("adapter_config.json", b"{", "can't be read"),
        ("adapter_config.json", b'{"peft_type": "IA3"}', "another kind|can't be read"),
        ("base.json", b"[]", "base.json: not what recot writes"),
    ],
)
def test_folders_that_are_not_whole(
    saved: Path, tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        load_adapter(llm(), damaged(saved, tmp_path, name, content))


def test_missing_tensors_and_other_settings(saved: Path, tmp_path: Path) -> None:
    damaged(saved, tmp_path, "none", None)
    tensors = load_file(saved / "adapter_model.safetensors")
    name = "base_model.model.model.layers.1.mlp.up_proj.lora_B.weight"
    save_file({k: v for k, v in tensors.items() if k != name}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(DataError, match=r"don't match adapter_config.json.*layers\.1\.mlp\.up_proj\.lora_B"):
        load_adapter(llm(), tmp_path)
    damaged(saved, tmp_path, "none", None)
    config = json.loads((saved / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps(config | {"r": 8}))
    with pytest.raises(DataError, match=r"adapter_config\.json"):
        load_adapter(llm(), tmp_path)


def tiny() -> Qwen2ForCausalLM:
    return pretrained_llm(name_or_path=str(REPO / "src/recot/tiny_world/backbones/llm"))


def test_dora_refuses_rows_of_zeros_and_says_what_works() -> None:
    """Which the tiny language model has: their norm, by which DoRA divides, is 0."""
    model = tiny()
    with pytest.raises(ConfigError, match=r"stage\.lora\.use_dora: DoRA divides by the norm") as caught:
        add_lora(model, settings(use_dora=True), seed=0)
    assert not lora_parameters(model)
    said = str(caught.value)
    refused = [name for name in linear_names(model, LAYERS) if f" {name}," in said or f" {name}." in said]
    assert refused == [name for name in linear_names(model, LAYERS) if "q_proj" in name or "k_proj" in name]
    assert "Give stage.lora.targets=[v_proj,o_proj,gate_proj,up_proj,down_proj] or stage.lora.use_dora=false" in said
    add_lora(model, settings(targets=["v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"], use_dora=True), seed=0)


def test_dora_names_layers_in_full_where_only_some_of_a_name_have_rows_of_zeros() -> None:
    model = llm()
    with torch.no_grad():
        model.model.layers[1].self_attn.q_proj.weight[3] = 0
    q0, q1, v1 = (f"model.layers.{layer}.self_attn.{name}_proj" for layer, name in ((0, "q"), (1, "q"), (1, "v")))
    with pytest.raises(ConfigError, match=re.escape(f"zeros: {q1}. Give stage.lora.targets=[{q0},{v1}] or")):
        add_lora(model, settings(targets=["q_proj", v1], use_dora=True), seed=0)
    with pytest.raises(ConfigError, match=re.escape(f"zeros: {q1}. Give stage.lora.use_dora=false")):
        add_lora(model, settings(targets=[q1], use_dora=True), seed=0)
    add_lora(model, settings(targets=[q0, v1], use_dora=True), seed=0)


def test_targets_may_be_named_in_full() -> None:
    one = "model.layers.1.self_attn.q_proj"
    assert linear_names(llm(), [one]) == [one]
    both = linear_names(llm(), ["down_proj", one])
    assert both == ["model.layers.0.mlp.down_proj", one, "model.layers.1.mlp.down_proj"]
    model = adapted(lora=settings(targets=[one]))
    assert {name.partition(".lora_")[0] for name in lora_parameters(model)} == {one}
    with pytest.raises(ConfigError, match=r"\['self_attn\.q_proj'\] is no .*such as model\.layers\.0\.self_attn\.q_"):
        linear_names(llm(), ["self_attn.q_proj"])


def test_a_name_alone_is_no_list_of_targets() -> None:
    with pytest.raises(ConfigError, match=r"targets=q_proj must be a list of names.*stage\.lora\.targets=\[q_proj\]"):
        settings(targets="q_proj")
