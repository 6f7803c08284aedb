"""A language model goes on from a prompt of embeddings, of which visual tokens may be a part.

One prompt at a time: a reply can't depend on what else is asked. ``generate`` of transformers samples from the global
random state and neither cuts at stop strings nor holds them back from what it streams; hence the loop here.

Legend: N tokens of the prompt, D width of the language model, V vocabulary, n tokens of a reply or option.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from transformers import DynamicCache, PreTrainedModel, TopPLogitsWarper

from recot.errors import ConfigError, DataError
from recot.models.reply_text import ReplyText

MIN_TEMPERATURE = 1e-3
"""Below, logits leave float32's range; and sampling is greedy but in name."""


@dataclass(frozen=True, kw_only=True)
class GenerationSettings:
    """How a reply is made.

    Args:
        max_new_tokens: a reply ends after so many tokens.
        temperature: 0 takes the likeliest token; otherwise logits are divided by it, and the token is drawn.
        top_p: draw among the fewest tokens whose probabilities add up to this or more (Holtzman et al. 2019).
        stop: the reply ends before the first of these strings.
        seed: of the draws.
        prefill_chunk: tokens of the prompt computed at once; bounds memory, and changes a reply by rounding at most.

    Raises:
        ConfigError: if a value is impossible.
    """

    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    stop: Sequence[str] = ()
    seed: int = 0
    prefill_chunk: int = 1024

    def __post_init__(self) -> None:
        for name, least in (("max_new_tokens", 1), ("seed", 0), ("prefill_chunk", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or not least <= value < 2**63:
                raise ConfigError(f"{name}={value}: give a whole number from {least} to 2^63 - 1")
        if self.temperature != 0 and not MIN_TEMPERATURE <= self.temperature < math.inf:
            raise ConfigError(
                f"temperature={self.temperature}: give 0 for the likeliest tokens, or {MIN_TEMPERATURE} or more"
            )
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p={self.top_p}: give a number above 0 and up to 1")
        if isinstance(self.stop, str) or not all(isinstance(stop, str) and stop for stop in self.stop):
            raise ConfigError(f"stop={self.stop!r}: give a list of strings that aren't empty")


@dataclass(frozen=True)
class Reply:
    """What a language model said."""

    text: str  # without the token or string that ended it
    ids: tuple[int, ...]  # every token that was made, the one that ended it too
    stopped_by: Literal["end", "stop", "length"]  # an end token, a stop string, or max_new_tokens


class Prefilled(NamedTuple):
    """A prompt that has been read."""

    hidden: Tensor  # (1, D): what the decoder makes of the last token; the head turns it into logits of the next
    cache: DynamicCache  # keys and values of all tokens


@torch.no_grad()
def prefill(llm: PreTrainedModel, embeddings: Tensor, *, chunk: int) -> Prefilled:
    """Read a prompt in pieces, so that activations are those of one piece. The result is that of the whole.

    Args:
        llm: a causal language model in inference mode.
        embeddings: (1, N, D) on the model's device.
        chunk: tokens at a time, 1 or more.

    Raises:
        ValueError: if there isn't one prompt with one token or more, ``chunk`` is below 1, or the model is in training
            mode, where it may drop the cache.
    """
    if embeddings.ndim != 3 or len(embeddings) != 1 or embeddings.shape[1] < 1 or chunk < 1:
        raise ValueError(
            f"embeddings {tuple(embeddings.shape)} in chunks of {chunk}: give (1, N, D) with N, chunk >= 1"
        )
    if llm.training:
        raise ValueError("the language model is in training mode: call eval() first")
    cache = DynamicCache()
    for piece in embeddings.split(chunk, dim=1):
        hidden = _read(llm, piece, cache)
    return Prefilled(hidden[:, -1], cache)


@torch.inference_mode()
def generate(
    llm: PreTrainedModel,
    tokenizer: Any,
    embeddings: Tensor,
    settings: GenerationSettings,
    on_text: Callable[[str], None] | None = None,
) -> Reply:
    """Let the model reply to a prompt.

    Draws are made on the CPU, from ``settings.seed`` alone.

    Args:
        llm: a causal language model in inference mode.
        tokenizer: its Hugging Face tokenizer.
        embeddings: (1, N, D), the prompt, on the model's device.
        settings: how.
        on_text: called with each piece of the text as soon as it's certain; the pieces add up to the reply's text.

    Raises:
        DataError: if the model's logits aren't numbers, or are infinite; single ones may be -inf.
        ValueError: as ``prefill``.
    """
    ends = end_tokens(llm, tokenizer)
    generator = torch.Generator().manual_seed(settings.seed)
    text = ReplyText(tokenizer, stop=settings.stop, on_text=on_text)
    hidden, cache = prefill(llm, embeddings, chunk=settings.prefill_chunk)
    ids: list[int] = []
    while True:
        token = _choose(_logits(llm, hidden), settings, generator)
        ids.append(token)
        if token in ends:
            return Reply(text.finish(), tuple(ids), "end")
        if text.add(token):
            return Reply(text.finish(), tuple(ids), "stop")
        if len(ids) == settings.max_new_tokens:
            return Reply(text.finish(), tuple(ids), "length")
        hidden = _read(llm, _embed(llm, torch.tensor([token])), cache)[:, -1]


@torch.inference_mode()
def option_log_likelihoods(
    llm: PreTrainedModel, embeddings: Tensor, options: Sequence[Tensor], *, chunk: int
) -> Tensor:
    """Log-probability, in nats, of each option as what comes next, added up over its tokens.

    The prompt is read once. Options don't see each other: each is read after the prompt and taken from the cache
    again, which needs no copy of it. For one short text reply, see ``recot.models.reply_likelihood``.

    Args:
        llm: a causal language model in inference mode.
        embeddings: (1, N, D), the prompt, on the model's device.
        options: token ids, int64, (n,) each.
        chunk: as for ``prefill``.

    Returns:
        One float32 an option, on the model's device.

    Raises:
        DataError: if there are no options, or one without tokens.
        ValueError: as ``prefill``.
    """
    if not options or not all(len(option) for option in options):
        raise DataError(f"options of {[len(option) for option in options]} tokens: give options with one token or more")
    prompt = prefill(llm, embeddings, chunk=chunk)
    return torch.stack([_log_likelihood(llm, prompt, option) for option in options])


def end_tokens(llm: PreTrainedModel, tokenizer: Any) -> frozenset[int]:
    """Ids that end a reply: those of the model's generation config and config, and the tokenizer's."""
    ends: set[int] = set()
    for given in (llm.generation_config.eos_token_id, llm.config.eos_token_id, tokenizer.eos_token_id):
        if given is not None:
            ends.update([given] if isinstance(given, int) else given)
    return frozenset(ends)


def _log_likelihood(llm: PreTrainedModel, prompt: Prefilled, option: Tensor) -> Tensor:
    """Scalar. The cache holds the prompt alone again afterwards."""
    hidden = prompt.hidden
    if len(option) > 1:
        hidden = torch.cat([hidden, _read(llm, _embed(llm, option[:-1]), prompt.cache)[0]])
        prompt.cache.crop(1 - len(option))
    return -functional.cross_entropy(_logits(llm, hidden), option.to(hidden.device), reduction="sum")


def _embed(llm: PreTrainedModel, ids: Tensor) -> Tensor:
    """(1, n, D)"""
    return llm.get_input_embeddings()(ids[None].to(llm.device))


def _read(llm: PreTrainedModel, embeddings: Tensor, cache: DynamicCache) -> Tensor:
    """(1, n, D) of the decoder for the tokens after those in ``cache``, which takes them in."""
    # By position: transformers 5.24 calls past_key_values cache.
    return llm.get_decoder()(None, None, None, cache, embeddings).last_hidden_state


def _logits(llm: PreTrainedModel, hidden: Tensor) -> Tensor:
    """(n, V) float32 of (n, D): only where they are needed, for over all of a prompt they would be huge."""
    return llm.get_output_embeddings()(hidden).float()


def _choose(logits: Tensor, settings: GenerationSettings, generator: torch.Generator) -> int:
    # The largest is NaN where any is. -inf beside other logits rules a token out, which is all right.
    if not logits.amax().isfinite():
        raise DataError(
            "the language model's logits aren't numbers, or are infinite: its weights are broken, or its dtype "
            "overflows. float16 does with many models: use bfloat16 or float32 (recot ask: --dtype)."
        )
    if settings.temperature == 0:
        return int(logits.argmax())
    kept = TopPLogitsWarper(settings.top_p)(None, logits / settings.temperature)
    return int(torch.multinomial(kept.softmax(dim=-1).cpu(), 1, generator=generator))
