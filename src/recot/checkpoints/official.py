"""Weights of the released Video-XL-Pro checkpoint, renamed and re-laid for recot's modules.

Legend: C width.
"""

from collections.abc import Mapping

import torch
from einops import rearrange
from torch import Tensor

SAE_PREFIX = "model.sae."


def dts_from_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """State dict of the released compressor ("SAE") -> state dict of ``DynamicTokenSynthesizer``.

    Args:
        state: tensors named ``temporal_encoding`` and ``encoder.{0..5}.*``, without the checkpoint's prefix.

    Returns:
        Tensors for ``DynamicTokenSynthesizer(layout="official")`` of the same width.

    Raises:
        ValueError: naming keys that are missing or not expected.
    """
    remaining = dict(state)

    def take(name: str) -> Tensor:
        if name not in remaining:
            raise ValueError(f"the released compressor's state dict lacks {name!r}")
        return remaining.pop(name)

    converted = {"temporal_code": take("temporal_encoding")}
    for stage in range(2):
        blocks = (f"encoder.{3 * stage}.", f"encoder.{3 * stage + 1}.", f"encoder.{3 * stage + 2}.")
        names = ("spatial", "temporal", "downsample")
        converters = (_spatial, _temporal, _downsample)
        for block, name, convert in zip(blocks, names, converters, strict=True):
            parts = {key.removeprefix(block): take(key) for key in list(remaining) if key.startswith(block)}
            converted |= {f"stages.{stage}.{name}.{key}": value for key, value in convert(parts).items()}
    if remaining:
        raise ValueError(f"the released compressor's state dict has unexpected keys: {sorted(remaining)}")
    return converted


def _spatial(parts: dict[str, Tensor]) -> dict[str, Tensor]:
    def matrix(name: str) -> Tensor:
        return rearrange(parts[f"{name}.weight"], "o c 1 1 1 -> o c")

    return {
        "norm.weight": parts["norm.weight"],
        "norm.bias": parts["norm.bias"],
        "qkv.weight": torch.cat([matrix(name) for name in "qkv"]),
        "qkv.bias": torch.cat([parts[f"{name}.bias"] for name in "qkv"]),
        "proj.weight": matrix("proj_out"),
        "proj.bias": parts["proj_out.bias"],
    }


def _temporal(parts: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        "norm.weight": parts["norm.weight"],
        "norm.bias": parts["norm.bias"],
        "qkv.weight": rearrange(parts["qkv.weight"], "o c 1 -> o c"),
        "qkv.bias": parts["qkv.bias"],
        "proj.weight": rearrange(parts["proj_out.weight"], "o c 1 -> o c"),
        "proj.bias": parts["proj_out.bias"],
        "relative_k": parts["relative_position_k.embeddings_table"],
        "relative_v": parts["relative_position_v.embeddings_table"],
    }


def _downsample(parts: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        "weight": rearrange(parts["conv.weight"], "o c t h w -> t h w c o").contiguous(),
        "bias": parts["conv.bias"],
    }


def projector_from_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """State dict of the released projector -> state dict of ``Projector`` of the same widths and depth.

    Args:
        state: tensors named ``{0,2,..}.{weight,bias}``, without the prefix ``model.mm_projector.``.

    Raises:
        ValueError: naming keys that are missing or not expected.
    """
    depth = max(1, (len(state) + 1) // 2)
    names = {f"{2 * i}.{kind}": f"layers.{2 * i}.{kind}" for i in range(depth) for kind in ("weight", "bias")}
    return _renamed(state, names, "projector")


def selector_from_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """State dict of the released selector -> state dict of ``Selector(layout="official")`` of the same width.

    Args:
        state: tensors named ``WindowTimeToTokenAttention.*`` and ``text_mlp.0.*``, without the prefix ``model.``.

    Raises:
        ValueError: naming keys that are missing or not expected.
    """
    parts = {f"WindowTimeToTokenAttention.{name}_proj": f"attention.{name}_proj" for name in ("q", "k", "v", "out")}
    parts["text_mlp.0"] = "question_proj"
    names = {f"{old}.{kind}": f"{new}.{kind}" for old, new in parts.items() for kind in ("weight", "bias")}
    return _renamed(state, names, "selector")


def _renamed(state: Mapping[str, Tensor], names: dict[str, str], what: str) -> dict[str, Tensor]:
    missing, unexpected = sorted(set(names) - set(state)), sorted(set(state) - set(names))
    if missing or unexpected:
        raise ValueError(f"the released {what}'s state dict lacks {missing} and has unexpected keys {unexpected}")
    return {new: state[old] for old, new in names.items()}
