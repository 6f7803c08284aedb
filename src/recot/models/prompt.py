"""A conversation about videos as the language model's tokens, with the places where compact tokens go.

Legend: L tokens of a prompt, G groups of a video.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from recot.errors import ConfigError, DataError
from recot.grouping import time_text

IGNORED = -100
_MARK = "\ue000"  # a private-use character, which no template writes


@dataclass(frozen=True)
class Visual:
    """Where the compact tokens of one of the sample's videos or images go; ``number`` counts them from 0."""

    number: int


@dataclass(frozen=True)
class Turn:
    """What one side says: text, with videos and images anywhere in it."""

    role: Literal["system", "user", "assistant"]
    parts: tuple[str | Visual, ...]


class Prompt(NamedTuple):
    """A conversation as tokens. A visual takes one place here, whatever its length in the end."""

    ids: Tensor  # (L,) int64; visual n is the id -1 - n, which no text has
    question: Tensor  # (L,) bool: text of the user, and nothing of the template, the system or the answer
    labels: Tensor  # (L,) int64: the ids of what the assistant says, end of turn included; elsewhere IGNORED


def build_prompt(tokenizer: Any, turns: Sequence[Turn], *, reply: bool) -> Prompt:
    """Put a conversation into the tokenizer's chat format.

    What is said is encoded as plain text: special tokens that somebody typed, such as ``<|video_pad|>`` or
    ``<|im_end|>``, are letters like any others and neither become a video nor end a turn (our choice).

    Args:
        tokenizer: a Hugging Face tokenizer with a chat template.
        turns: the conversation.
        reply: whether the assistant is to go on from here, as in inference.

    Raises:
        ConfigError: if the tokenizer has no chat template, or one that doesn't show what is said as it is.
        DataError: if there are no turns, visuals aren't those of ``0, 1, ...`` once each, or the assistant shows some.
    """
    _check(turns)
    pieces = _around(tokenizer, turns, reply=reply)
    ids: list[int] = []
    question: list[bool] = []
    labels: list[int] = []

    def add(new: list[int], *, asked: bool = False, learned: int = 0) -> None:
        """``learned`` of the first tokens are labels."""
        ids.extend(new)
        question.extend([asked] * len(new))
        labels.extend([*new[:learned], *[IGNORED] * (len(new) - learned)])

    add(_encode(tokenizer, pieces[0], special=True))
    for turn, after in zip(turns, pieces[1:], strict=True):
        answered = turn.role == "assistant"
        for part in turn.parts:
            if isinstance(part, Visual):
                add([-1 - part.number])
            else:
                said = _encode(tokenizer, part, special=False)
                # A line break between video and question asks nothing.
                add(said, asked=turn.role == "user" and bool(part.strip()), learned=len(said) * answered)
        add(_encode(tokenizer, after, special=True), learned=int(answered))
    return Prompt(torch.tensor(ids), torch.tensor(question), torch.tensor(labels))


def time_ids(tokenizer: Any, seconds: Sequence[float]) -> list[Tensor]:
    """The language model's own tokens for the time of each group.

    Args:
        tokenizer: of the language model.
        seconds: G presentation times, one a group.

    Returns:
        G tensors int64. Times of 10,000 s and more have a token more than others.
    """
    if not seconds:
        return []
    encoded = tokenizer([time_text(s) for s in seconds], add_special_tokens=False)["input_ids"]
    return [torch.tensor(ids) for ids in encoded]


def _check(turns: Sequence[Turn]) -> None:
    if not turns:
        raise DataError("a conversation without turns: give one turn or more")
    shown = [part.number for turn in turns for part in turn.parts if isinstance(part, Visual)]
    if sorted(shown) != list(range(len(shown))):
        raise DataError(f"a conversation shows the visuals {shown}: show each of 0, 1, ... once")
    if any(isinstance(part, Visual) for turn in turns if turn.role == "assistant" for part in turn.parts):
        raise DataError("the assistant's turn shows a video or image: only the user and the system can")


def _around(tokenizer: Any, turns: Sequence[Turn], *, reply: bool) -> list[str]:
    """What the template writes before, between and after the turns' contents: one text more than there are turns."""
    if tokenizer.chat_template is None:
        raise ConfigError(
            "the tokenizer has no chat template: give one of an instruction-tuned model (model.tokenizer)"
        )
    chat = [{"role": turn.role, "content": _MARK} for turn in turns]
    text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=reply)
    pieces = text.split(_MARK)
    if len(pieces) != len(turns) + 1:
        raise ConfigError(
            f"the tokenizer's chat template writes {len(turns)} turns' contents {len(pieces) - 1} times: it must write "
            "each once, as it is (model.tokenizer)"
        )
    if any(turn.role == "assistant" and not after for turn, after in zip(turns, pieces[1:], strict=True)):
        raise ConfigError("the tokenizer's chat template doesn't end the assistant's turn (model.tokenizer)")
    return list(pieces)


def _encode(tokenizer: Any, text: str, *, special: bool) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False, split_special_tokens=not special)["input_ids"])
