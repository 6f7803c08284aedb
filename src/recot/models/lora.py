"""LoRA adapters (arXiv 2106.09685) on the linear layers of a language model, and on nothing else.

Adapters go into the model itself: it stays the same object with the same methods, its adapted layers become peft's.
Adapters name their layers in full. A name's end, such as ``q_proj``, would hit SigLIP's attention too.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model, set_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn
from transformers import Qwen2ForCausalLM

from recot.atomic import fsync_path, new_folder, write_file
from recot.errors import ConfigError, DataError
from recot.models.fingerprint import weights_fingerprint

PEFT_PREFIX = "base_model.model."
"""What peft puts before names in its files."""
_ADAPTER_KEY = re.compile(r"(.+)\.(lora_A\.weight|lora_B\.weight|lora_magnitude_vector)")
ADAPTER_CONFIG = "adapter_config.json"
_FILES = (ADAPTER_CONFIG, "adapter_model.safetensors")


@dataclass(frozen=True, kw_only=True)
class LoraSettings:
    """What adapters are like.

    Attributes:
        rank: of the two factors.
        alpha: the factors' product is scaled by alpha / rank, or alpha / sqrt(rank) with ``use_rslora``.
        targets: names of linear layers as the model calls them: ``q_proj`` is those of all its layers,
            ``model.layers.3.self_attn.q_proj`` one.
        dropout: on the adapters' input, in training.
        use_rslora: arXiv 2312.03732.
        use_dora: arXiv 2402.09353.

    Raises:
        ConfigError: for numbers that can't be, or targets that are no list.
    """

    rank: int
    alpha: float
    targets: Sequence[str]
    dropout: float
    use_rslora: bool
    use_dora: bool

    def __post_init__(self) -> None:
        if isinstance(self.targets, str) or not isinstance(self.targets, Sequence):
            raise ConfigError(
                f"stage.lora.targets={self.targets} must be a list of names, also for one: stage.lora.targets=[q_proj]"
            )
        if self.rank < 1 or self.alpha <= 0 or not 0 <= self.dropout < 1 or not self.targets:
            raise ConfigError(
                f"stage.lora: rank={self.rank} must be 1 or more, alpha={self.alpha} above 0, dropout={self.dropout} "
                f"at least 0 and below 1, and targets={list(self.targets)} must name a layer"
            )


def linear_names(llm: Qwen2ForCausalLM, targets: Sequence[str]) -> list[str]:
    """Full names of a language model's linear layers that ``targets`` name; never the output layer.

    Raises:
        ConfigError: listing the names there are, if a target is no layer's full name, nor the last part of one.
    """
    head = llm.get_output_embeddings()
    linear = [name for name, module in llm.named_modules() if isinstance(module, nn.Linear) and module is not head]
    there = {_last(name) for name in linear}
    unknown = sorted(set(targets) - there - set(linear))
    if unknown:
        raise ConfigError(
            f"stage.lora.targets: {unknown} is no linear layer of the language model; there are {sorted(there)}, and "
            f"full names, such as {linear[0]}"
        )
    return [name for name in linear if name in targets or _last(name) in targets]


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def add_lora(llm: Qwen2ForCausalLM, settings: LoraSettings, *, seed: int) -> None:
    """Put adapters into a language model and freeze the rest. Until they are trained they change nothing.

    Args:
        llm: without adapters. They are float32, whatever its weights are: bfloat16 would round small updates away.
        settings: what they are like.
        seed: of their weights; the global random state is left as it was.

    Raises:
        ConfigError: if a target isn't there, or DoRA can't be had of some.
        ValueError: if there are adapters already.
    """
    _require_plain(llm)
    if settings.use_dora:
        _require_rows(llm, settings.targets)
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]  # peft divides it, nothing more
        target_modules=linear_names(llm, settings.targets),
        lora_dropout=settings.dropout,
        use_rslora=settings.use_rslora,
        use_dora=settings.use_dora,
        task_type="CAUSAL_LM",
    )
    _inject(llm, config, seed)


def _require_rows(llm: Qwen2ForCausalLM, targets: Sequence[str]) -> None:
    """DoRA divides by the norm of each row of weights: a row of zeros would become NaN."""
    names = linear_names(llm, targets)
    refused = [name for name in names if (llm.get_submodule(name).weight == 0).all(dim=1).any()]
    if not refused:
        return
    works: list[str] = []
    for target in targets:
        own = linear_names(llm, [target])
        left = [name for name in own if name not in refused]
        works += [target] if left == own else left
    instead = f"stage.lora.targets=[{','.join(works)}] or " if works else ""
    raise ConfigError(
        "stage.lora.use_dora: DoRA divides by the norm of each row of weights, and some rows of these layers are all "
        f"zeros: {', '.join(refused)}. Give {instead}stage.lora.use_dora=false"
    )


def lora_parameters(llm: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters of adapters by their names in ``llm``; empty if it has none."""
    return {
        f"{name}.{own}": parameter
        for name, module in llm.named_modules()
        if isinstance(module, LoraLayer)
        for own, parameter in module.named_parameters()  # type: ignore[attr-defined]  # each one is a module, too
        if own.split(".")[0] in LoraLayer.adapter_layer_names
    }


def base_weights(llm: nn.Module) -> dict[str, nn.Parameter]:
    """All other parameters, by the names that they have without adapters."""
    adapters = lora_parameters(llm)
    return {plain_name(name): p for name, p in llm.named_parameters() if name not in adapters}


def plain_name(name: str) -> str:
    """A weight's name in the model without adapters."""
    return name.replace(".base_layer.", ".")


def save_adapter(llm: Qwen2ForCausalLM, folder: Path, *, replace: bool = True) -> None:
    """Write the adapters alone, as peft does, whole or not at all.

    ``base.json`` beside them says which weights they belong to.

    Args:
        llm: with adapters.
        folder: to make.
        replace: whether a folder that is there is replaced, or refused.

    Raises:
        DataError: if the folder is there already and isn't to be replaced, or can't be written.
        ValueError: if there are no adapters.
    """
    if not lora_parameters(llm):
        raise ValueError("the language model has no adapters to save")
    state = get_peft_model_state_dict(llm, save_embedding_layers=False)
    tensors = {PEFT_PREFIX + name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    config = llm.peft_config["default"].to_dict() | {"inference_mode": True}
    config["target_modules"] = sorted(config["target_modules"])
    if llm.name_or_path:
        config["base_model_name_or_path"] = llm.name_or_path  # where peft's AutoPeftModel looks for the base
    base = {"name_or_path": llm.name_or_path, "fingerprint": weights_fingerprint(base_weights(llm))}
    with new_folder(folder, replace=replace) as made:
        write_file(made / _FILES[0], _json(config))
        write_file(made / _FILES[1], save(tensors, metadata={"format": "pt"}))
        write_file(made / "base.json", _json(base))
        fsync_path(made)


def load_adapter(llm: Qwen2ForCausalLM, folder: Path) -> None:
    """Put adapters from a folder of ``save_adapter`` or of peft into the language model that they were trained with.

    Args:
        llm: without adapters. It is frozen, and so are they.
        folder: with adapter_config.json and adapter_model.safetensors. Of peft's own folders, which have no
            ``base.json``, only names and shapes can be compared.

    Raises:
        DataError: if the folder isn't whole, or belongs to another model.
        ValueError: if there are adapters already.
    """
    _require_plain(llm)
    config, tensors = _read(folder)
    _check(llm, folder, tensors)
    _inject(llm, config, seed=0)
    expected = {name: tuple(t.shape) for name, t in get_peft_model_state_dict(llm, save_embedding_layers=False).items()}
    other = {name for name, _ in expected.items() ^ {(name, tuple(t.shape)) for name, t in tensors.items()}}
    if other:
        raise DataError(f"{folder}: weights don't match adapter_config.json: {sorted(other)[:8]}. Copy it again.")
    set_peft_model_state_dict(llm, tensors)


def merge(llm: Qwen2ForCausalLM) -> Qwen2ForCausalLM:
    """Add adapters to the weights that they adapt, in float32, and remove them.

    The output layer isn't adapted, so where it shares the input embeddings' weights, it goes on to.

    Args:
        llm: with adapters; it is used up.

    Returns:
        The same object: a plain model in float32. Rounding it to another dtype is the caller's choice.

    Raises:
        ValueError: if there are no adapters.
    """
    adapted = [(name, module) for name, module in llm.named_modules() if isinstance(module, LoraLayer)]
    if not adapted:
        raise ValueError("the language model has no adapters to merge")
    llm.float()
    for name, module in adapted:
        module.merge(safe_merge=True)
        parent, _, own = name.rpartition(".")
        setattr(llm.get_submodule(parent), own, module.get_base_layer())
    del llm.peft_config
    llm.config.dtype = torch.float32
    return llm


def _inject(llm: Qwen2ForCausalLM, config: LoraConfig, seed: int) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(config, llm)
    for parameter in lora_parameters(llm).values():
        parameter.data = parameter.data.float()


def _require_plain(llm: nn.Module) -> None:
    if lora_parameters(llm):
        raise ValueError("the language model has adapters already: merge them first")


def _read(folder: Path) -> tuple[LoraConfig, dict[str, Tensor]]:
    if not all((folder / name).is_file() for name in _FILES):
        raise DataError(f"{folder}: not a folder of LoRA adapters, which has the files {' and '.join(_FILES)}")
    try:
        config = LoraConfig.from_pretrained(str(folder))
        tensors = load_file(folder / _FILES[1])
    except (SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(
            f"{folder}: adapters can't be read ({error}). A truncated copy has to be copied again."
        ) from error
    if not isinstance(config, LoraConfig):
        raise DataError(f"{folder}/{_FILES[0]}: adapters of another kind than LoRA")
    return config, {name.removeprefix(PEFT_PREFIX): tensor for name, tensor in tensors.items()}


def _check(llm: Qwen2ForCausalLM, folder: Path, tensors: dict[str, Tensor]) -> None:
    layers = {name: module for name, module in llm.named_modules() if isinstance(module, nn.Linear)}
    for key, tensor in tensors.items():
        match = _ADAPTER_KEY.fullmatch(key)
        layer = layers.get(match[1]) if match else None
        if match is None or layer is None:
            raise DataError(f"{folder}: adapters of another model: this language model has no layer for {key}")
        width = layer.in_features if match[2].startswith("lora_A") else layer.out_features
        found = tensor.shape[-1] if match[2].startswith("lora_A") else tensor.shape[0]
        if found != width:
            raise DataError(
                f"{folder}: adapters of a model of another width: {key} is {tuple(tensor.shape)}, but the layer maps "
                f"{layer.in_features} to {layer.out_features}. Give the language model that they were trained with."
            )
    base = folder / "base.json"
    if base.is_file():
        _check_base(llm, base)


def _check_base(llm: Qwen2ForCausalLM, file: Path) -> None:
    try:
        base: dict[str, Any] = json.loads(file.read_text())
        name, expected = base["name_or_path"], base["fingerprint"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file}: not what recot writes there. Copy the folder again.") from error
    if weights_fingerprint(base_weights(llm)) != expected:
        raise DataError(
            f"{file.parent}: adapters of a language model with other weights (it was loaded from {name or 'a seed'}). "
            "Give that one under model.llm."
        )


def _json(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=1, sort_keys=True, default=str) + "\n").encode()
