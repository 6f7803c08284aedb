"""A trained language model and its tokenizer with more phrases that are one token each."""

from collections.abc import Sequence

import torch
from transformers import PreTrainedTokenizerFast, Qwen2ForCausalLM

from recot.errors import ConfigError
from recot.models.llm import Attention, pretrained_llm
from recot.models.tokenizer import load_tokenizer


def tokenizer_with(*, path: str, phrases: Sequence[str]) -> PreTrainedTokenizerFast:
    """The tokenizer of a folder; phrases that it doesn't have as one token come behind its own tokens, in their order.

    Args:
        path: hub name or folder.
        phrases: each is one token from now on, whatever stands before it.

    Raises:
        DataError: if there is no tokenizer.
    """
    tokenizer = load_tokenizer(path)
    tokenizer.add_tokens(list(phrases))
    return tokenizer


def llm_with(*, name_or_path: str, phrases: Sequence[str], attention: Attention = "auto") -> Qwen2ForCausalLM:
    """The model of a folder with embeddings for the tokens of ``tokenizer_with``.

    A phrase's embedding starts as the mean of those of the tokens that it took before, which is the usual way.

    Args:
        name_or_path: hub name or folder, of model and tokenizer.
        phrases: as for ``tokenizer_with``.
        attention: see ``recot.models.llm.resolve_attention``.

    Raises:
        ConfigError: if such attention can't run here, or the model's embeddings aren't tied to its output layer.
        DataError: if model or tokenizer can't be loaded.
    """
    llm = pretrained_llm(name_or_path=name_or_path, attention=attention)
    if not llm.config.tie_word_embeddings:
        raise ConfigError(
            f"{name_or_path}: its output layer isn't tied to its embeddings, but phrases are added only where it is"
        )
    before, after = load_tokenizer(name_or_path), tokenizer_with(path=name_or_path, phrases=phrases)
    new = [phrase for phrase in phrases if phrase not in before.get_vocab()]
    rows = llm.get_input_embeddings().weight.detach().clone()
    parts = [rows[before(phrase, add_special_tokens=False)["input_ids"]].mean(dim=0) for phrase in new]
    llm.resize_token_embeddings(max(len(after), len(rows)), mean_resizing=False)
    with torch.no_grad():
        for phrase, part in zip(new, parts, strict=True):
            llm.get_input_embeddings().weight[after.convert_tokens_to_ids(phrase)] = part
    return llm
