"""What a ``VideoLM`` is made of, as plain values in config.json, and the model made of these again, without weights."""

from collections.abc import Callable
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import nn
from transformers import Qwen2Config, Qwen2ForCausalLM, SiglipVisionConfig, SiglipVisionModel
from transformers.models.qwen2.modeling_qwen2 import Qwen2RotaryEmbedding

from recot.checkpoints.fields import require_fields
from recot.errors import DataError
from recot.models.dts import DynamicTokenSynthesizer
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
ARCHITECTURE_FIELDS = ("vision_encoder", "dts", "projector", "selector", "llm", "query", "max_tokens")


def architecture_of(model: VideoLM) -> dict[str, Any]:
    """The sections of config.json, one a part, with the arguments that make it."""
    vision: Any = model.vision_encoder
    dts, projector = model.dts, model.projector
    return {
        "vision_encoder": {
            "config": {name: getattr(vision.config, name) for name in VISION_FIELDS},
            "layers": len(vision.encoder.layers),
            "grid": vision.grid,
            "chunk_frames": vision.chunk_frames,
        },
        "dts": {
            "width": dts.width,
            "heads": dts.heads,
            "group_size": dts.group_size,
            "layout": dts.layout,
            "chunk_groups": dts.chunk_groups,
        },
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
        return VideoLM(
            vision_encoder=made("vision_encoder", _vision_encoder),
            dts=made("dts", _dts),
            projector=made("projector", _projector),
            selector=made("selector", _selector),
            llm=made("llm", lambda section, at: _llm(section, at, attention)),
            tokenizer=tokenizer,
            query=architecture["query"],
            max_tokens=architecture["max_tokens"],
        )


def compute_buffers(model: VideoLM, device: torch.device) -> None:
    """Give the buffers that no file holds, position numbers and rotary frequencies, their values."""
    positions: Any = model.vision_encoder.embeddings
    positions.position_ids = torch.arange(positions.num_positions, device=device)[None]
    model.llm.get_decoder().rotary_emb = Qwen2RotaryEmbedding(model.llm.config).to(device)
    unset = [name for name, tensor in [*model.named_parameters(), *model.named_buffers()] if tensor.is_meta]
    assert not unset, f"{unset} were not given values"


def _vision_encoder(section: Any, where: str) -> FrozenVisionEncoder:
    require_fields(section, ("config", "layers", "grid", "chunk_frames"), where=where)
    config = require_fields(section["config"], VISION_FIELDS, where=f"{where}.config")
    tower = SiglipVisionModel(SiglipVisionConfig(**config, vision_use_head=False))
    return FrozenVisionEncoder(
        tower, layers=section["layers"], grid=section["grid"], chunk_frames=section["chunk_frames"]
    )


def _dts(section: Any, where: str) -> DynamicTokenSynthesizer:
    names = ("width", "heads", "group_size", "layout", "chunk_groups")
    return DynamicTokenSynthesizer(**require_fields(section, names, where=where))


def _projector(section: Any, where: str) -> Projector:
    return Projector(**require_fields(section, ("width", "llm_width", "depth", "pool_stride"), where=where))


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
    arguments = dict(require_fields(section, names, where=where))
    del arguments["kind"]
    return Selector(**arguments)


def _llm(section: Any, where: str, attention: str) -> Qwen2ForCausalLM:
    config = require_fields(section, LLM_FIELDS, where=where)
    return Qwen2ForCausalLM(Qwen2Config(**config, attn_implementation=attention))
