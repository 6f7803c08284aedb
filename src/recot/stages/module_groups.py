"""What of a model a stage trains, and how fast."""

from collections.abc import Iterator, Mapping

import torch
from torch import nn

from recot.errors import ConfigError
from recot.models.lora import lora_parameters
from recot.models.vision_encoder import FrozenVisionEncoder
from recot.stages.optimization import decay_groups

LORA = "lora"


class ModuleGroups:
    """Gives each part of a model its own learning rate, and freezes the others.

    Parts are the model's submodules that have parameters, by name, and ``lora``: the adapters in its ``llm``, which
    then means the rest of it. Whether a parameter needs a gradient is set at once.

    Args:
        model: with its adapters, if it is to have any, and not yet sharded.
        rates: part -> learning rate. Parts that are null or not named are frozen.

    Raises:
        ConfigError: for a part that isn't there or can't be trained, weights that aren't float32, an impossible rate,
            or nothing to train.
    """

    def __init__(self, model: nn.Module, rates: Mapping[str, float | None]) -> None:
        self.model = model
        self.parts = _parts(model)
        known = {*self.parts, *dict(model.named_children()), LORA}
        if not set(rates) <= known:
            raise ConfigError(
                f"stage.train: {sorted(set(rates) - known)} is no part of the model; there are {sorted(known)}"
            )
        for name, rate in rates.items():
            if rate is not None and (isinstance(rate, bool) or not isinstance(rate, int | float) or rate <= 0):
                raise ConfigError(
                    f"stage.train.{name} must be a learning rate above 0, or null to freeze, got {rate!r}"
                )
        self.rates = {name: float(rate) for name, rate in rates.items() if rate is not None}
        if not self.rates:
            raise ConfigError(f"stage.train gives no part a learning rate: name one of {sorted(self.parts)}")
        for name in self.rates:
            self._require_trainable(name)
        for name, parameters in self.parts.items():
            for parameter in parameters:
                parameter.requires_grad_(name in self.rates)

    def _require_float32(self, name: str) -> None:
        short = {str(p.dtype).removeprefix("torch.") for p in self.parts[name] if p.dtype != torch.float32}
        if short:
            raise ConfigError(
                f"stage.train.{name}: its weights are {', '.join(sorted(short))}, which would round most steps of the "
                "optimizer away. Load them as float32 (model.llm.dtype=float32); trainer.precision=bf16-mixed still "
                "computes in bfloat16"
            )

    def _require_trainable(self, name: str) -> None:
        where = f"stage.train.{name}"
        if isinstance(getattr(self.model, name, None), FrozenVisionEncoder):
            raise ConfigError(f"{where}: the vision encoder runs without gradients; set it to null")
        if name not in self.parts:
            what = "the language model has no adapters: set stage.lora, or" if name == LORA else "it has no parameters:"
            raise ConfigError(f"{where}: {what} set it to null")
        self._require_float32(name)

    def optimizer_groups(self, weight_decay: float) -> list[dict[str, object]]:
        """AdamW groups with ``lr`` and a ``name``; biases, norms and other vectors don't decay."""
        parts = _parts(self.model)  # sharding puts other parameters in place of those seen first
        return [
            {**group, "lr": rate, "name": name + kind}
            for name, rate in self.rates.items()
            for kind, group in zip(("", " (no decay)"), decay_groups(parts[name], weight_decay), strict=True)
            if group["params"]
        ]

    def frozen_to_eval(self) -> None:
        """Put each module without anything to train into inference mode: to call after ``train()``."""
        for module in _frozen_modules(self.model):
            module.eval()

    def table(self) -> str:
        """Parameters and learning rate of each part."""
        rows = [("part", "parameters", "trained", "learning rate")]
        for name, parameters in self.parts.items():
            size, rate = sum(p.numel() for p in parameters), self.rates.get(name)
            trained = 0 if rate is None else size
            rows.append((name, f"{size:,}", f"{trained:,}", "frozen" if rate is None else f"{rate:g}"))
        sizes = [sum(int(row[i].replace(",", "")) for row in rows[1:]) for i in (1, 2)]
        rows.append(("all", f"{sizes[0]:,}", f"{sizes[1]:,}", ""))
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        return "\n".join(
            f"{a:<{widths[0]}}  {b:>{widths[1]}}  {c:>{widths[2]}}  {d:>{widths[3]}}".rstrip() for a, b, c, d in rows
        )


def _parts(model: nn.Module) -> dict[str, list[nn.Parameter]]:
    """Each parameter of the model, in exactly one part."""
    parts = {name: list(module.parameters()) for name, module in model.named_children()}
    parts |= {name: [parameter] for name, parameter in model.named_parameters(recurse=False)}
    llm = getattr(model, "llm", None)
    adapters = lora_parameters(llm) if isinstance(llm, nn.Module) else {}
    if adapters:
        own = {id(p) for p in adapters.values()}
        parts["llm"] = [p for p in parts["llm"] if id(p) not in own]
        parts[LORA] = list(adapters.values())
    return {name: parameters for name, parameters in parts.items() if parameters}


def _frozen_modules(module: nn.Module) -> Iterator[nn.Module]:
    """The outermost modules that have parameters, none of them trained. One without any goes with what it is in."""
    parameters = list(module.parameters())
    if parameters and not any(p.requires_grad for p in parameters):
        yield module
    else:
        for child in module.children():
            yield from _frozen_modules(child)
