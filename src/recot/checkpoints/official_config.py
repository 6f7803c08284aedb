"""The released checkpoint's config.json, and what recot makes of it."""

from pathlib import Path
from typing import Any

from transformers import Qwen2Config

from recot.checkpoints.architecture import LLM_FIELDS, SYNTHESIZER
from recot.checkpoints.inference import Inference
from recot.errors import DataError
from recot.grouping import GROUP_SIZE
from recot.models.generation import GenerationSettings
from recot.models.selection import KeepRule
from recot.video_io import FrameSampling

SO400M = {
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
    "num_channels": 3,
    "image_size": 384,
    "patch_size": 14,
    "hidden_act": "gelu_pytorch_tanh",
    "layer_norm_eps": 1e-6,
    "attention_dropout": 0.0,
}
"""google/siglip-so400m-patch14-384, whatever the config says."""
GRID = 24
"""Side of the token grid that the 27 x 27 patches are brought to."""
_QWEN2 = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "max_position_embeddings",
    "rms_norm_eps",
    "rope_theta",
    "tie_word_embeddings",
    "eos_token_id",
)
"""Fields that have no default here: what they are decides what the model computes."""
_QWEN2_OPTIONAL = ("hidden_act", "rope_scaling", "use_sliding_window", "sliding_window", "max_window_layers")
_FIXED = {"mm_projector_type": ("mlp2x_gelu",), "mm_spatial_pool_mode": ("average", None)}


def official_architecture(config: dict[str, Any], *, vision: dict[str, Any], where: Path) -> dict[str, Any]:
    """The sections of recot's config.json for a released checkpoint.

    Args:
        config: content of the checkpoint's config.json.
        vision: of the vision tower, as ``SO400M``.
        where: that file, for messages.

    Raises:
        DataError: if a field is missing, or of a model that the release can't be.
    """
    missing = [name for name in (*_QWEN2, "mm_hidden_size", "mm_spatial_pool_stride") if config.get(name) is None]
    if missing:
        raise DataError(f"{where}: no {', '.join(missing)}. Give the folder of a released Video-XL-Pro checkpoint.")
    for name, known in _FIXED.items():
        if config.get(name) not in known:
            raise DataError(f"{where}: {name}={config.get(name)!r}, but only {known[0]!r} can be imported")
    if config["mm_hidden_size"] != vision["hidden_size"]:
        raise DataError(
            f"{where}: mm_hidden_size={config['mm_hidden_size']}, but the vision tower is {vision['hidden_size']} wide"
        )
    llm = Qwen2Config(**{name: config[name] for name in (*_QWEN2, *_QWEN2_OPTIONAL) if config.get(name) is not None})
    width, llm_width = vision["hidden_size"], llm.hidden_size
    return {
        "vision_encoder": {
            "config": vision,
            "layers": vision["num_hidden_layers"] - 1,
            "grid": GRID,
            "chunk_frames": 60,
        },
        "dts": {
            "kind": SYNTHESIZER,
            "width": width,
            "heads": 1,
            "group_size": GROUP_SIZE,
            "layout": "official",
            "chunk_groups": 8,
        },
        "projector": {
            "width": width,
            "llm_width": llm_width,
            "depth": 2,
            "pool_stride": config["mm_spatial_pool_stride"],
        },
        "selector": {
            "kind": "query_aware",
            "width": llm_width,
            "heads": 4,
            "layout": "official",
            "gradient": "additive",
            "time_tokens": 10,
            "chunk_groups": 4,
        },
        "llm": {name: getattr(llm, name) for name in LLM_FIELDS},
        "query": "prompt",
        "max_tokens": None,
    }


def official_inference(vision: dict[str, Any]) -> Inference:
    """As the release's demo: 128 frames spread over the video.

    The share that it keeps is drawn from [0.7, 0.99] at each call; here it is the middle of that (our choice).
    """
    side = vision["image_size"]
    return Inference(
        frame_size=(side, side),
        sampling=FrameSampling(count=128),
        keep=KeepRule(ratio=0.845, multiple_of=16),
        generation=GenerationSettings(max_new_tokens=1024),
    )
