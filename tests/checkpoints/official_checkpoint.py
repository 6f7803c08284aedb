"""Checkpoints with the keys of the released one, written out by hand, at any width."""

import json
import math
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import save_torch_state_dict
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from recot.models.llm import CHATML

OLD = "model.vision_tower.vision_tower.vision_model."
NEW = "model.vision_tower.vision_tower."
FULL = {
    "architectures": ["LlavaQwenForCausalLM"],
    "attention_dropout": 0.0,
    "bos_token_id": 151643,
    "eos_token_id": 151645,
    "hidden_act": "silu",
    "hidden_size": 2048,
    "image_aspect_ratio": "anyres",
    "initializer_range": 0.02,
    "intermediate_size": 11008,
    "max_position_embeddings": 32768,
    "max_window_layers": 70,
    "mm_hidden_size": 1152,
    "mm_patch_merge_type": "unires",
    "mm_projector_type": "mlp2x_gelu",
    "mm_resampler_type": None,
    "mm_spatial_pool_mode": "average",
    "mm_spatial_pool_stride": 2,
    "mm_vision_select_layer": -2,
    "mm_vision_tower": "google/siglip-so400m-patch14-384",
    "model_type": "llava_qwen",
    "num_attention_heads": 16,
    "num_hidden_layers": 36,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-6,
    "rope_scaling": None,
    "rope_theta": 1000000.0,
    "sliding_window": 32768,
    "tie_word_embeddings": True,
    "tokenizer_model_max_length": 32768,
    "torch_dtype": "float16",
    "use_cache": True,
    "use_sliding_window": False,
    "vocab_size": 151936,
}
SMALL_VISION = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_channels": 3,
    "image_size": 384,
    "patch_size": 14,
    "hidden_act": "gelu_pytorch_tanh",
    "layer_norm_eps": 1e-6,
    "attention_dropout": 0.0,
}


def small_config(width: int, **changes: Any) -> dict[str, Any]:
    """The release's config.json, narrow."""
    return (
        FULL
        | {
            "hidden_size": width,
            "intermediate_size": 48,
            "mm_hidden_size": 64,
            "num_attention_heads": 4,
            "num_hidden_layers": 2,
            "vocab_size": 102,
            "bos_token_id": 98,
            "eos_token_id": 99,
        }
        | changes
    )


def official_keys(config: dict[str, Any], *, vision: dict[str, Any], tower: str) -> dict[str, tuple[int, ...]]:
    """Every key of a released checkpoint and its shape, the tied head left out."""
    c, d = vision["hidden_size"], config["hidden_size"]
    keys: dict[str, tuple[int, ...]] = {"model.sae.temporal_encoding": (4, c)}
    for i in (0, 3):
        keys |= {f"model.sae.encoder.{i}.norm.weight": (c,), f"model.sae.encoder.{i}.norm.bias": (c,)}
        for name in ("q", "k", "v", "proj_out"):
            keys[f"model.sae.encoder.{i}.{name}.weight"] = (c, c, 1, 1, 1)
            keys[f"model.sae.encoder.{i}.{name}.bias"] = (c,)
    for j in (1, 4):
        keys |= {
            f"model.sae.encoder.{j}.norm.weight": (c,),
            f"model.sae.encoder.{j}.norm.bias": (c,),
            f"model.sae.encoder.{j}.qkv.weight": (3 * c, c, 1),
            f"model.sae.encoder.{j}.qkv.bias": (3 * c,),
            f"model.sae.encoder.{j}.proj_out.weight": (c, c, 1),
            f"model.sae.encoder.{j}.proj_out.bias": (c,),
            f"model.sae.encoder.{j}.relative_position_k.embeddings_table": (129, c),
            f"model.sae.encoder.{j}.relative_position_v.embeddings_table": (129, c),
        }
    for k in (2, 5):
        keys |= {
            f"model.sae.encoder.{k}.conv.weight": (c, c, 3, 3, 3),
            f"model.sae.encoder.{k}.conv.bias": (c,),
        }
    for name in ("q", "k", "v", "out"):
        keys[f"model.WindowTimeToTokenAttention.{name}_proj.weight"] = (d, d)
        keys[f"model.WindowTimeToTokenAttention.{name}_proj.bias"] = (d,)
    keys |= {
        "model.text_mlp.0.weight": (d, d),
        "model.text_mlp.0.bias": (d,),
        "model.mm_projector.0.weight": (d, c),
        "model.mm_projector.0.bias": (d,),
        "model.mm_projector.2.weight": (d, d),
        "model.mm_projector.2.bias": (d,),
    }
    return keys | _tower_keys(vision, tower) | _llm_keys(config)


def _tower_keys(vision: dict[str, Any], tower: str) -> dict[str, tuple[int, ...]]:
    c, hidden, patch = vision["hidden_size"], vision["intermediate_size"], vision["patch_size"]
    patches = (vision["image_size"] // patch) ** 2
    keys: dict[str, tuple[int, ...]] = {
        "embeddings.patch_embedding.weight": (c, 3, patch, patch),
        "embeddings.patch_embedding.bias": (c,),
        "embeddings.position_embedding.weight": (patches, c),
        "post_layernorm.weight": (c,),
        "post_layernorm.bias": (c,),
    }
    for i in range(vision["num_hidden_layers"] - 1):
        linear = {f"self_attn.{name}_proj": (c, c) for name in ("q", "k", "v", "out")}
        linear |= {"mlp.fc1": (hidden, c), "mlp.fc2": (c, hidden)}
        for name, shape in linear.items():
            keys |= {
                f"encoder.layers.{i}.{name}.weight": shape,
                f"encoder.layers.{i}.{name}.bias": shape[:1],
            }
        for name in ("layer_norm1", "layer_norm2"):
            keys |= {f"encoder.layers.{i}.{name}.weight": (c,), f"encoder.layers.{i}.{name}.bias": (c,)}
    return {tower + name: shape for name, shape in keys.items()}


def _llm_keys(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    d, hidden = config["hidden_size"], config["intermediate_size"]
    narrow = d // config["num_attention_heads"] * config["num_key_value_heads"]
    keys: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (config["vocab_size"], d),
        "model.norm.weight": (d,),
    }
    for i in range(config["num_hidden_layers"]):
        keys |= {
            f"model.layers.{i}.self_attn.q_proj.weight": (d, d),
            f"model.layers.{i}.self_attn.q_proj.bias": (d,),
            f"model.layers.{i}.self_attn.k_proj.weight": (narrow, d),
            f"model.layers.{i}.self_attn.k_proj.bias": (narrow,),
            f"model.layers.{i}.self_attn.v_proj.weight": (narrow, d),
            f"model.layers.{i}.self_attn.v_proj.bias": (narrow,),
            f"model.layers.{i}.self_attn.o_proj.weight": (d, d),
            f"model.layers.{i}.mlp.gate_proj.weight": (hidden, d),
            f"model.layers.{i}.mlp.up_proj.weight": (hidden, d),
            f"model.layers.{i}.mlp.down_proj.weight": (d, hidden),
            f"model.layers.{i}.input_layernorm.weight": (d,),
            f"model.layers.{i}.post_attention_layernorm.weight": (d,),
        }
    return keys


def random_state(shapes: dict[str, tuple[int, ...]], seed: int) -> dict[str, Tensor]:
    """Matrices of variance 1 / inputs, norms about 1, float32."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes.items():
        z = torch.randn(shape, generator=generator)
        if "norm" in name and name.endswith("weight"):
            state[name] = 1 + 0.1 * z
        else:
            state[name] = 0.1 * z if len(shape) == 1 else z * math.prod(shape[1:]) ** -0.5
    return state


def char_tokenizer() -> PreTrainedTokenizerFast:
    """Letters by the ids of the reference cases: ``Time`` 10, space 11, ``.`` 12, s 13, ``:`` 14, digits 0 to 9."""
    vocabulary = {str(digit): digit for digit in range(10)} | {"Time": 10, " ": 11, ".": 12, "s": 13, ":": 14}
    vocabulary |= {letter: 20 + i for i, letter in enumerate("abcdefghijklmnopqrtuvwxyzTAWQ?\n")}
    vocabulary |= {"<unk>": 95, "<|im_start|>": 97, "<|endoftext|>": 98, "<|im_end|>": 99}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Split(Regex(r"Time|[\s\S]"), "isolated")
    core.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        unk_token="<unk>",
        additional_special_tokens=["<|im_start|>"],
        chat_template=CHATML,
    )


def write_official(folder: Path, state: dict[str, Tensor], config: dict[str, Any], *, shard_bytes: int) -> Path:
    """A folder as the release's: sharded safetensors, config, tokenizer."""
    folder.mkdir()
    save_torch_state_dict(state, folder, max_shard_size=shard_bytes)
    (folder / "config.json").write_text(json.dumps(config))
    char_tokenizer().save_pretrained(folder)
    return folder
