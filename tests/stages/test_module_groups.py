"""What trains: exactly what has a learning rate, in training mode, each parameter once."""

from typing import Any

import pytest
import torch
from torch import nn

from recot.errors import ConfigError
from recot.models.llm import seeded_llm
from recot.models.lora import LoraSettings, add_lora
from recot.models.vision_encoder import seeded_encoder
from recot.stages.module_groups import ModuleGroups
from recot.stages.optimization import warmup_cosine
from tests.models.small_backbones import ENCODER, LLM


class Uniform(nn.Module):
    """A selector without parameters."""


class Model(nn.Module):
    def __init__(self, *, lora: bool = False, selector: nn.Module | None = None) -> None:
        super().__init__()
        self.vision_encoder = seeded_encoder(config=ENCODER, drop_layers=1, grid=2, seed=0)
        self.dts = nn.Sequential(nn.Conv2d(4, 4, 3), nn.GroupNorm(1, 4), nn.Dropout(0.1))
        self.projector = nn.Sequential(nn.Linear(4, 32), nn.GELU(), nn.Linear(32, 32))
        self.selector = nn.Linear(32, 32) if selector is None else selector
        self.newline = nn.Parameter(torch.zeros(32))
        self.llm = seeded_llm(config=LLM, seed=0)
        if lora:
            settings = LoraSettings(rank=2, alpha=4, targets=["q_proj"], dropout=0.1, use_rslora=False, use_dora=False)
            add_lora(self.llm, settings, seed=0)


def trained(model: nn.Module) -> set[str]:
    return {name for name, p in model.named_parameters() if p.requires_grad}


def test_only_what_has_a_rate_trains() -> None:
    model = Model()
    ModuleGroups(model, {"projector": 1e-3, "selector": 1e-4, "dts": None})
    assert trained(model) == {
        *(f"projector.{i}.{kind}" for i in (0, 2) for kind in ("weight", "bias")),
        "selector.weight",
        "selector.bias",
    }
    ModuleGroups(model, {"newline": 1e-3})
    assert trained(model) == {"newline"}


def test_adapters_and_the_rest_of_the_language_model_are_two_parts() -> None:
    model = Model(lora=True)
    ModuleGroups(model, {"lora": 1e-3, "llm": None})
    lora = {f"llm.model.layers.{i}.self_attn.q_proj.lora_{f}.default.weight" for i in (0, 1) for f in "AB"}
    assert trained(model) == lora
    ModuleGroups(model, {"llm": 1e-5})
    assert trained(model) == {name for name, _ in model.named_parameters() if name.startswith("llm.")} - lora


def test_each_trained_parameter_is_in_one_group_at_its_parts_rate() -> None:
    model = Model(lora=True)
    groups = ModuleGroups(model, {"projector": 1e-3, "dts": 3e-4, "lora": 2e-4, "llm": 1e-5})
    optimizer = torch.optim.AdamW(groups.optimizer_groups(0.1))
    names = {id(p): name for name, p in model.named_parameters()}
    rates: dict[str, float] = {}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            name = names[id(parameter)]
            assert name not in rates
            rates[name] = group["lr"]
            assert group["weight_decay"] == (0.1 if parameter.ndim >= 2 else 0.0)
    assert rates.keys() == trained(model)
    expected = {"projector": 1e-3, "dts": 3e-4, "llm": 1e-5}
    assert all(rate == (2e-4 if "lora_" in name else expected[name.split(".")[0]]) for name, rate in rates.items())
    labels = [group["name"] for group in optimizer.param_groups]
    assert labels == [
        *("projector", "projector (no decay)", "dts", "dts (no decay)"),
        *("lora", "llm", "llm (no decay)"),
    ]
    assert len({group["name"] for group in groups.optimizer_groups(0.0)}) == len(labels)
    warmup_cosine(optimizer, 2, 10)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(1e-3 / 2)
    assert optimizer.param_groups[-1]["lr"] == pytest.approx(1e-5 / 2)


def test_frozen_modules_stay_in_inference_mode() -> None:
    model = Model(lora=True)
    groups = ModuleGroups(model, {"projector": 1e-3, "lora": 1e-4})
    model.train()
    groups.frozen_to_eval()
    modes = {name: module.training for name, module in model.named_modules()}
    assert not any(modes[name] for name in modes if name.startswith(("dts", "selector", "vision_encoder")))
    assert all(modes[name] for name in modes if name.startswith("projector"))
    layer = "llm.model.layers.0"
    query = f"{layer}.self_attn.q_proj"
    assert modes[f"{query}.lora_A.default"]
    assert modes[f"{query}.lora_dropout.default"]
    assert not any(modes[name] for name in (f"{query}.base_layer", f"{layer}.mlp", f"{layer}.input_layernorm"))


def test_the_table_says_what_trains() -> None:
    table = ModuleGroups(Model(lora=True), {"projector": 1e-3, "lora": 2e-4}).table().splitlines()
    rows = {row.split()[0]: row.split()[1:] for row in table}
    size = 4 * 32 + 32 + 32 * 32 + 32
    adapters = 2 * (2 * 32 + 32 * 2)
    assert rows["projector"] == [f"{size:,}", f"{size:,}", "0.001"]
    assert rows["lora"] == [str(adapters), str(adapters), "0.0002"]
    assert rows["dts"] == ["156", "0", "frozen"]
    model = Model(lora=True)
    assert rows["all"] == [f"{sum(p.numel() for p in model.parameters()):,}", f"{size + adapters:,}"]


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        ({"projektor": 1e-3}, r"\['projektor'\] is no part of the model; there are \['dts', 'llm', 'lora'"),
        ({"projector": 0.0}, "stage.train.projector must be a learning rate above 0"),
        ({"projector": True}, "stage.train.projector must be a learning rate above 0"),
        ({"projector": "1e-3x"}, "stage.train.projector must be a learning rate above 0"),
        ({"projector": None}, "gives no part a learning rate"),
        ({}, "gives no part a learning rate"),
        ({"lora": 1e-4}, "the language model has no adapters: set stage.lora"),
        ({"selector": 1e-4}, "stage.train.selector: it has no parameters"),
        ({"vision_encoder": 1e-4}, "stage.train.vision_encoder: the vision encoder runs without gradients"),
    ],
)
def test_impossible_rates(rates: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ModuleGroups(Model(selector=Uniform()), rates)


def test_parts_that_are_not_there_may_be_frozen() -> None:
    groups = ModuleGroups(Model(selector=Uniform()), {"projector": 1e-3, "lora": None, "selector": None})
    trained = {name for name, p in groups.model.named_parameters() if p.requires_grad}
    assert trained == {f"projector.{name}" for name, _ in groups.model.projector.named_parameters()}


def test_weights_that_steps_would_be_rounded_away_from_are_refused() -> None:
    model = Model(lora=True)
    for parameter in model.llm.parameters():
        if not parameter.requires_grad:  # all but the adapters
            parameter.data = parameter.data.bfloat16()
    assert ModuleGroups(model, {"lora": 1e-3, "projector": 1e-3}).rates["lora"] == 1e-3
    with pytest.raises(ConfigError, match=r"stage\.train\.llm: its weights are bfloat16.*model\.llm\.dtype=float32"):
        ModuleGroups(model, {"llm": 1e-5})
