"""Qwen2 language models: the released ones, and small ones from a seed, in the same class.

Legend: N tokens of a pack, h heads, d width of a head.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import (
    AttentionInterface,
    AttentionMaskInterface,
    AutoConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from recot.errors import ConfigError, DataError
from recot.models.lookup_init import start_looking_up
from recot.models.packing import BY_SAMPLE
from recot.models.tokenizer import train_bpe

Attention = Literal["auto", "flash", "sdpa", "eager"]
FLASH = "flash_attention_2"

CHATML = (
    "{%- for message in messages -%}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}"
)
"""Qwen2's chat format as a Jinja template, without its default system prompt."""


def resolve_attention(attention: Attention, dtype: str) -> str:
    """What computes attention, as transformers calls it.

    The dtype of the weights decides, for what computes in it: nothing autocasts in inference. Where training does, with
    weights in float32, ``sdpa`` computes in the lower precision too, and on a GPU by torch's own flash kernel.

    Args:
        attention: ``auto`` is ``flash`` where it can run, else ``sdpa``.
        dtype: torch dtype name of the weights.

    Returns:
        ``flash_attention_2``, ``eager``, or ``sdpa_by_sample`` for sdpa: transformers' own, which can read packs too.

    Raises:
        ConfigError: for another name, or if ``flash`` can't run here, with the reason.
    """
    if attention not in ("auto", "flash", "sdpa", "eager"):
        raise ConfigError(f"model.llm.attention={attention!r} must be auto, flash, sdpa or eager")
    if attention == "eager":
        return "eager"
    if attention == "sdpa":
        return BY_SAMPLE
    obstacle = _flash_obstacle(dtype)
    if attention == "auto":
        return FLASH if obstacle is None else BY_SAMPLE
    if obstacle is not None:
        raise ConfigError(
            f"model.llm.attention=flash can't run here: {obstacle}. Use model.llm.attention=auto or sdpa."
        )
    return FLASH


def _flash_obstacle(dtype: str) -> str | None:
    if find_spec("flash_attn") is None:
        return "flash-attn isn't installed (pip install -e '.[gpu]')"
    if not torch.cuda.is_available():
        return "there is no CUDA GPU"
    if dtype not in ("bfloat16", "float16"):
        return (
            f"it computes in bfloat16 and float16, but the weights are {dtype} (model.llm.dtype). Under "
            "trainer.precision=bf16-mixed, sdpa computes in bfloat16 by torch's own flash kernel"
        )
    return None


def attend_by_sample(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, **kwargs: Any
) -> tuple[Tensor, None]:
    """transformers' SDPA, which takes a pack's pieces for a mask as well and then computes nothing between samples.

    Args:
        module: the attention layer.
        query: (1, h, N, d).
        key: (1, h or fewer, N, d).
        value: as ``key``.
        attention_mask: pieces that follow on one another, as ``read_pack`` makes them, or what SDPA takes.
        kwargs: for SDPA.

    Returns:
        (1, N, h, d).
    """
    if not isinstance(attention_mask, list):
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    own = [
        sdpa_attention_forward(
            module, query[:, :, at.queries], key[:, :, at.keys], value[:, :, at.keys], at.seen, **kwargs
        )[0]
        for at in attention_mask
    ]
    return torch.cat(own, dim=1), None


AttentionInterface.register(BY_SAMPLE, attend_by_sample)
AttentionMaskInterface.register(BY_SAMPLE, sdpa_mask)


def pretrained_llm(*, name_or_path: str, dtype: str = "float32", attention: Attention = "auto") -> Qwen2ForCausalLM:
    """Load a Qwen2 model by hub name or from a local folder, in inference mode.

    Args:
        name_or_path: e.g. ``Qwen/Qwen2.5-3B-Instruct``, or a folder with config.json and safetensors.
        dtype: torch dtype name of the weights.
        attention: see ``resolve_attention``.

    Raises:
        ConfigError: if such attention can't run here.
        DataError: if the weights can't be found, are of another architecture, or lack keys of the model.
    """
    where = f"model.llm.name_or_path={name_or_path}"
    implementation = resolve_attention(attention, dtype)
    try:
        kind = AutoConfig.from_pretrained(name_or_path).model_type
        if kind != Qwen2Config.model_type:
            raise DataError(f"{where}: a model of type {kind}, not {Qwen2Config.model_type}. Give a Qwen2 model.")
        model, info = Qwen2ForCausalLM.from_pretrained(
            name_or_path,
            dtype=getattr(torch, dtype),
            attn_implementation=implementation,
            output_loading_info=True,
            use_safetensors=True,
        )
    except DataError:
        raise
    except (OSError, SafetensorError, ValueError) as error:
        raise DataError(
            f"{where}: no Qwen2 weights could be loaded from there. Give a hub name (downloaded once, needs a network) "
            f"or a folder with config.json and model.safetensors. ({str(error).splitlines()[0]})"
        ) from error
    if info["missing_keys"] or info["mismatched_keys"]:
        raise DataError(
            f"{where}: not a whole Qwen2 model; missing or of another shape: "
            f"{sorted(map(str, [*info['missing_keys'], *info['mismatched_keys']]))[:8]}"
        )
    return model


def seeded_llm(
    *,
    config: dict[str, Any],
    seed: int,
    shift_heads: list[list[int]] | None = None,
    attention: Attention = "auto",
) -> Qwen2ForCausalLM:
    """A model with random weights that depend on ``seed`` alone, in float32, on the CPU.

    Args:
        config: fields of ``transformers.Qwen2Config``.
        seed: of the weights; the global random state is left as it was.
        shift_heads: if given, weights start as ``recot.models.lookup_init.start_looking_up`` makes them of these.
        attention: see ``resolve_attention``; ``auto`` leaves an ``attn_implementation`` in ``config`` as it is.

    Raises:
        ConfigError: if there are no such heads, or ``config`` names other attention than ``attention``.
    """
    named = config.get("attn_implementation")
    implementation = named if named is not None and attention == "auto" else resolve_attention(attention, "float32")
    if named not in (None, attention, implementation):
        raise ConfigError(
            f"model.llm.attention={attention}, but model.llm.config.attn_implementation={named}: give one of them"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen2ForCausalLM(Qwen2Config(**config | {"attn_implementation": implementation}))
    if shift_heads:
        start_looking_up(model, shift_heads)
    return model


def chat_bpe(texts: list[str], *, vocab_size: int, phrases: Sequence[str] = ()) -> PreTrainedTokenizerFast:
    """A tokenizer trained by ``train_bpe``, with Qwen2's chat format.

    Args:
        texts: as for ``train_bpe``.
        vocab_size: as for ``train_bpe``; phrases come on top.
        phrases: each becomes one token, whatever stands before it. A small model is spared to put together of words
            what is named as a whole (our choice).
    """
    tokenizer = train_bpe(texts, vocab_size=vocab_size)
    tokenizer.add_tokens(list(phrases))
    tokenizer.chat_template = CHATML
    return tokenizer
