"""Language models with random weights, over the tiny world's tokenizer."""

from importlib.resources import files
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Qwen2ForCausalLM

from recot.models.llm import seeded_llm
from recot.models.tokenizer import load_tokenizer

FOLDER = str(files("recot.tiny_world") / "backbones" / "llm")
TOKENIZER = load_tokenizer(FOLDER)
VOCABULARY = len(TOKENIZER)
PROMPT = 37  # tokens
CONFIG = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.2,
    "eos_token_id": None,
}
WINDOW = {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}


def random_llm(attention: str = "sdpa", seed: int = 0, **config: Any) -> Qwen2ForCausalLM:
    llm = seeded_llm(config=CONFIG | config, seed=seed).eval()
    llm.set_attn_implementation(attention)
    return llm


def random_ids(seed: int, tokens: int = PROMPT) -> Tensor:
    return torch.randint(8, VOCABULARY, (tokens,), generator=torch.Generator().manual_seed(seed))


def embed(llm: nn.Module, ids: Tensor) -> Tensor:
    return llm.get_input_embeddings()(ids[None]).detach()


@torch.no_grad()
def whole_logits(llm: nn.Module, embeddings: Tensor) -> Tensor:
    """(N, V) without a cache."""
    return llm(inputs_embeds=embeddings, use_cache=False).logits[0]
