"""The released Video-XL-Pro checkpoint as a folder that recot loads, in the official layouts of its modules.

Legend: C vision width, D LLM width, T frames a group.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from recot.checkpoints.architecture import video_lm_without_weights
from recot.checkpoints.fields import read_json
from recot.checkpoints.hf_folder import SHARD_BYTES, read_tokenizer, require_ids_fit, write_model_folder
from recot.checkpoints.official import SAE_PREFIX, dts_from_official, projector_from_official, selector_from_official
from recot.checkpoints.official_config import SO400M, official_architecture, official_inference
from recot.checkpoints.weights import read_weights, require_shapes
from recot.errors import DataError
from recot.models.attention import MAX_DISTANCE
from recot.models.dts import DynamicTokenSynthesizer
from recot.models.video_lm import VideoLM

TOWER = "model.vision_tower.vision_tower."
NEWLINE = "model.image_newline"
_EMBEDDING, _HEAD = "model.embed_tokens.weight", "lm_head.weight"
_PROJECTOR, _WINDOWS, _TEXT = "model.mm_projector.", "model.WindowTimeToTokenAttention.", "model.text_mlp."


def import_official(
    source: Path,
    target: Path,
    *,
    dtype: str | None = None,
    vision: dict[str, Any] | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Convert a released checkpoint.

    Args:
        source: folder with config.json, safetensors and the tokenizer.
        target: folder to make.
        dtype: torch dtype name of all weights; None for those that they have.
        vision: fields of ``SiglipVisionConfig``; None for the release's own tower.
        shard_bytes: size of a weights file.

    Raises:
        DataError: if a file is missing or damaged, a tensor is missing, left over or of another shape, or a field of
            config.json is missing or of another model, or no token ends a reply.
    """
    vision = SO400M if vision is None else vision
    config = read_json(source / "config.json")
    architecture = official_architecture(config, vision=vision, where=source / "config.json")
    tokenizer = read_tokenizer(source)
    require_ids_fit(tokenizer, architecture["llm"]["vocab_size"], source)
    ends = _ends(source, config)
    weights = from_official(read_weights(source), config, architecture, where=source)
    if dtype is not None:
        weights = {name: tensor.to(getattr(torch, dtype)) for name, tensor in weights.items()}
    write_model_folder(
        target,
        weights=weights,
        architecture=architecture,
        tokenizer=tokenizer,
        inference=official_inference(vision),
        ends=ends,
        shard_bytes=shard_bytes,
    )


def from_official(
    weights: Mapping[str, Tensor], config: dict[str, Any], architecture: dict[str, Any], *, where: Path
) -> dict[str, Tensor]:
    """Tensors of the released checkpoint -> state dict of ``VideoLM``, without the head where it is tied.

    Args:
        weights: all tensors by the checkpoint's keys.
        config: content of its config.json.
        architecture: ``official_architecture`` of that.
        where: the folder, for messages.

    Raises:
        DataError: if tensors are missing, left over or of another shape.
    """
    model = video_lm_without_weights(architecture, tokenizer=None, attention="sdpa", where=f"{where}/config.json")
    tied = architecture["llm"]["tie_word_embeddings"]
    remaining = _without_unused(weights, config, tied=tied, where=where)
    require_shapes(remaining, official_shapes(model, tied=tied), where=where)

    def take(prefix: str, *, keep: str = "") -> dict[str, Tensor]:
        own = [name for name in remaining if name.startswith(prefix)]
        return {keep + name.removeprefix(prefix): remaining.pop(name) for name in own}

    selector = take(_WINDOWS, keep="WindowTimeToTokenAttention.") | take(_TEXT, keep="text_mlp.")
    parts = {
        "vision_encoder": take(TOWER),
        "dts": dts_from_official(take(SAE_PREFIX)),
        "projector": projector_from_official(take(_PROJECTOR)),
        "selector": selector_from_official(selector),
        "llm": remaining,
    }
    return {f"{part}.{name}": tensor for part, own in parts.items() for name, tensor in own.items()}


def official_shapes(model: VideoLM, *, tied: bool) -> dict[str, tuple[int, ...]]:
    """Every tensor that the released checkpoint of a model must hold.

    Args:
        model: of official layout; only its shapes are looked at.
        tied: whether the head is the embeddings.
    """
    assert isinstance(model.dts, DynamicTokenSynthesizer)
    d = model.projector.llm_width
    shapes = _compressor_shapes(model.dts.width, model.dts.group_size)
    linear = {f"{_WINDOWS}{name}_proj": (d, d) for name in ("q", "k", "v", "out")}
    linear |= {f"{_TEXT}0": (d, d), f"{_PROJECTOR}0": (d, model.dts.width), f"{_PROJECTOR}2": (d, d)}
    for name, shape in linear.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    for prefix, part in ((TOWER, model.vision_encoder), ("", model.llm)):
        shapes |= {prefix + name: tuple(tensor.shape) for name, tensor in part.state_dict().items()}
    return {name: shape for name, shape in shapes.items() if not (tied and name == _HEAD)}


def _compressor_shapes(c: int, frames: int) -> dict[str, tuple[int, ...]]:
    blocks: dict[str, tuple[int, ...]] = {}
    for stage in (0, 3):
        spatial, temporal, convolution = (f"{SAE_PREFIX}encoder.{stage + i}." for i in range(3))
        for name in ("q", "k", "v", "proj_out"):
            blocks |= {f"{spatial}{name}.weight": (c, c, 1, 1, 1), f"{spatial}{name}.bias": (c,)}
        for norm in (spatial, temporal):
            blocks |= {f"{norm}norm.weight": (c,), f"{norm}norm.bias": (c,)}
        blocks |= {f"{temporal}qkv.weight": (3 * c, c, 1), f"{temporal}qkv.bias": (3 * c,)}
        blocks |= {f"{temporal}proj_out.weight": (c, c, 1), f"{temporal}proj_out.bias": (c,)}
        for table in ("k", "v"):
            blocks[f"{temporal}relative_position_{table}.embeddings_table"] = (2 * MAX_DISTANCE + 1, c)
        blocks |= {f"{convolution}conv.weight": (c, c, 3, 3, 3), f"{convolution}conv.bias": (c,)}
    return {f"{SAE_PREFIX}temporal_encoding": (frames, c), **blocks}


def _without_unused(
    weights: Mapping[str, Tensor], config: dict[str, Any], *, tied: bool, where: Path
) -> dict[str, Tensor]:
    """Without what the released model holds but never uses, and with one form of the vision tower's keys."""
    nested = f"{TOWER}vision_model."  # of older releases of transformers
    remaining = {name.replace(nested, TOWER): tensor for name, tensor in weights.items()}
    if len(remaining) != len(weights):
        raise DataError(f"{where}: the vision tower is there twice, under {TOWER} and {nested}. Remove one.")
    for kind in ("weight", "bias"):
        remaining.pop(f"{TOWER}post_layernorm.{kind}", None)
    if "unpad" in (config.get("mm_patch_merge_type") or ""):
        remaining.pop(NEWLINE, None)
    head = remaining.get(_HEAD)
    if tied and head is not None:
        if _EMBEDDING in remaining and not head.is_meta and not torch.equal(head, remaining[_EMBEDDING]):
            raise DataError(
                f"{where}/config.json says tie_word_embeddings, but {_HEAD} and {_EMBEDDING} differ: set it to false"
            )
        del remaining[_HEAD]
    return remaining


def _ends(source: Path, config: dict[str, Any]) -> list[int]:
    """Ids that end a reply: of generation_config.json, or of config.json where that has none."""
    path = source / "generation_config.json"
    given = read_json(path).get("eos_token_id") if path.is_file() else None
    where = path
    if given is None:
        given, where = config["eos_token_id"], source / "config.json"
    ends = given if isinstance(given, list) else [given]
    if not ends or not all(type(token) is int for token in ends):
        raise DataError(f"{where}: eos_token_id={given!r} must be the id of a token, or a list of such ids: correct it")
    return ends
