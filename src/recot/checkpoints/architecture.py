"""What a ``VideoLM`` is made of, as plain values in config.json, and the model made of these again, without weights."""

from collections.abc import Callable, Collection
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import nn
from transformers import Qwen2Config, Qwen2ForCausalLM, SiglipVisionConfig, SiglipVisionModel
from transformers.models.qwen2.modeling_qwen2 import Qwen2RotaryEmbedding

from recot.checkpoints.fields import require_counts, require_fields
from recot.errors import ConfigError, DataError
from recot.models.dts import DynamicTokenSynthesizer
from recot.models.mean_pooling import MeanPooling
from recot.models.projector import Projector
from recot.models.selector import Selector
from recot.models.selector_baselines import BaselineSelector
from recot.models.video_lm import VideoLM
from recot.models.vision_encoder import FrozenVisionEncoder

VISION_FIELDS = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_channels",
    "image_size",
    "patch_size",
    "hidden_act",
    "layer_norm_eps",
    "attention_dropout",
)
LLM_FIELDS = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "hidden_act",
    "max_position_embeddings",
    "initializer_range",
    "rms_norm_eps",
    "tie_word_embeddings",
    "rope_parameters",
    "use_sliding_window",
    "sliding_window",
    "max_window_layers",
    "layer_types",
    "attention_dropout",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
)
_COUNTS = frozenset(
    {
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "num_channels",
        "image_size",
        "patch_size",
        "vocab_size",
        "max_position_embeddings",
        "layers",
        "grid",
        "chunk_frames",
        "chunk_groups",
        "width",
        "llm_width",
        "heads",
        "group_size",
        "depth",
        "pool_stride",
        "time_tokens",
    }
)
"""Fields of any section that are whole numbers from 1 up."""
SYNTHESIZER, MEAN_POOLING = "dynamic_token_synthesizer", "mean_pooling"
"""Kinds of the section ``dts``."""
ARCHITECTURE_FIELDS = ("vision_encoder", "dts", "projector", "selector", "llm", "query", "max_tokens")


def architecture_of(model: VideoLM) -> dict[str, Any]:
    """The sections of config.json, one a part, with the arguments that make it."""
    vision: Any = model.vision_encoder
    projector = model.projector
    return {
        "vision_encoder": {
            "config": {name: getattr(vision.config, name) for name in VISION_FIELDS},
            "layers": len(vision.encoder.layers),
            "grid": vision.grid,
            "chunk_frames": vision.chunk_frames,
        },
        "dts": _dts_fields(model.dts),
        "projector": {
            "width": projector.width,
            "llm_width": projector.llm_width,
            "depth": sum(isinstance(layer, nn.Linear) for layer in projector.layers),
            "pool_stride": projector.pool_stride,
        },
        "selector": _selector_fields(model.selector),
        "llm": {name: getattr(model.llm.config, name) for name in LLM_FIELDS},
        "query": model.query,
        "max_tokens": model.max_tokens,
    }


def video_lm_without_weights(architecture: dict[str, Any], *, tokenizer: Any, attention: str, where: str) -> VideoLM:
    """The model of ``architecture_of``'s result, on the meta device: it takes no memory, and has no values yet.

    Args:
        architecture: the sections.
        tokenizer: of the language model.
        attention: of the language model, by transformers' name.
        where: the file that they are from, for messages.

    Raises:
        DataError: if a section has missing, unknown or impossible fields.
    """
    architecture = require_fields(architecture, ARCHITECTURE_FIELDS, where=where)

    def made(name: str, make: Callable[[dict[str, Any], str], Any]) -> Any:
        try:
            return make(architecture[name], f"{where}, {name}")
        except DataError:
            raise
        except (StrictDataclassError, ValueError, TypeError, KeyError) as error:
            raise DataError(f"{where}, {name}: {error}. Give the config.json that came with the model.") from error

    with torch.device("meta"):
        parts = {
            "vision_encoder": made("vision_encoder", _vision_encoder),
            "dts": made("dts", _dts),
            "projector": made("projector", _projector),
            "selector": made("selector", _selector),
            "llm": made("llm", lambda section, at: _llm(section, at, attention)),
        }
        try:
            return VideoLM(
                **parts, tokenizer=tokenizer, query=architecture["query"], max_tokens=architecture["max_tokens"]
            )
        except ConfigError as error:
            raise DataError(f"{where}: {error}. Correct it there, or export the model again.") from error


def compute_buffers(model: VideoLM, device: torch.device) -> None:
    """Give the buffers that no file holds, position numbers and rotary frequencies, their values."""
    positions: Any = model.vision_encoder.embeddings
    positions.position_ids = torch.arange(positions.num_positions, device=device)[None]
    model.llm.get_decoder().rotary_emb = Qwen2RotaryEmbedding(model.llm.config).to(device)


def _vision_encoder(section: Any, where: str) -> FrozenVisionEncoder:
    _section(section, ("config", "layers", "grid", "chunk_frames"), where)
    config = _section(section["config"], VISION_FIELDS, f"{where}.config")
    tower = SiglipVisionModel(SiglipVisionConfig(**config, vision_use_head=False))
    return FrozenVisionEncoder(
        tower, layers=section["layers"], grid=section["grid"], chunk_frames=section["chunk_frames"]
    )


def _section(section: Any, names: Collection[str], where: str) -> dict[str, Any]:
    """One that has exactly these fields, and counts that are possible."""
    fields = require_fields(section, names, where=where)
    require_counts(fields, [name for name in names if name in _COUNTS], where=where)
    return fields


def _dts_fields(dts: nn.Module) -> dict[str, Any]:
    if isinstance(dts, MeanPooling):
        return {"kind": MEAN_POOLING, "width": dts.width}
    assert isinstance(dts, DynamicTokenSynthesizer)
    return {
        "kind": SYNTHESIZER,
        "width": dts.width,
        "heads": dts.heads,
        "group_size": dts.group_size,
        "layout": dts.layout,
        "chunk_groups": dts.chunk_groups,
    }


def _dts(section: Any, where: str) -> nn.Module:
    # Folders that were written before there were kinds name none.
    arguments = dict(section)
    kind = arguments.pop("kind", SYNTHESIZER)
    if kind == MEAN_POOLING:
        return MeanPooling(**_section(arguments, ("width",), where))
    if kind != SYNTHESIZER:
        raise DataError(f"{where}: kind={kind!r}, but only {SYNTHESIZER} and {MEAN_POOLING} are known")
    names = ("width", "heads", "group_size", "layout", "chunk_groups")
    return DynamicTokenSynthesizer(**_section(arguments, names, where))


def _projector(section: Any, where: str) -> Projector:
    return Projector(**_section(section, ("width", "llm_width", "depth", "pool_stride"), where))


def _selector_fields(selector: nn.Module) -> dict[str, Any]:
    if isinstance(selector, BaselineSelector):
        return {"kind": selector.kind}
    assert isinstance(selector, Selector)
    return {
        "kind": "query_aware",
        "width": selector.question_proj.in_features,
        "heads": selector.attention.heads,
        "layout": selector.layout,
        "gradient": selector.gradient,
        "time_tokens": selector.time_tokens,
        "chunk_groups": selector.chunk_groups,
    }


def _selector(section: Any, where: str) -> nn.Module:
    if section["kind"] != "query_aware":
        return BaselineSelector(**require_fields(section, ("kind",), where=where))
    names = ("kind", "width", "heads", "layout", "gradient", "time_tokens", "chunk_groups")
    arguments = dict(_section(section, names, where))
    del arguments["kind"]
    return Selector(**arguments)


def _llm(section: Any, where: str, attention: str) -> Qwen2ForCausalLM:
    config = _section(section, LLM_FIELDS, where)
    return Qwen2ForCausalLM(Qwen2Config(**config, attn_implementation=attention))
