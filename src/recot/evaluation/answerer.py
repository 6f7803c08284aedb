"""The small interface between an evaluation and a model, ours or another one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from recot.errors import ConfigError
from recot.evaluation.items import Item, Prompt

PromptOf = Callable[[Sequence[float]], Prompt]
"""Seconds of the frames that a model sees -> what it is told; of none, where it sees no video."""
NO_VIDEO = Path("<no video>")
"""``Item.video`` where another model than ours is asked without a video. There is no such file."""


@dataclass(frozen=True)
class Answered:
    """What a model said to one question.

    Attributes:
        reply: as it said it; it is read as strictly as any other, also where options were scored.
        saw: for ``Result.saw``, plain JSON values. ``seconds``, by step, is what decoding and the model took.
    """

    reply: str
    saw: Mapping[str, object] = field(default_factory=dict)


class Answerer(Protocol):
    """A model with its settings: how many frames it sees, what control it is under."""

    def answer(self, item: Item, prompt_of: PromptOf) -> Answered:
        """Answer a question. Called with all questions about a video one after the other.

        Args:
            item: the question. The right answer, and the seconds that show it, are for controls only.
            prompt_of: the benchmark's words for it.

        Raises:
            VideoError: if this video can't be used. The question then failed: it is listed and has no score.
        """
        ...


@dataclass(frozen=True)
class Blind:
    """Another model, asked without a video: it gets ``NO_VIDEO``, so it can't show one by mistake.

    Attributes:
        model: answers.
    """

    model: Answerer

    def answer(self, item: Item, prompt_of: PromptOf) -> Answered:
        """See ``Answerer``.

        Raises:
            ConfigError: if the model shows frames all the same, such as those that it kept from another run.
        """

        def words(times_s: Sequence[float]) -> Prompt:
            if len(times_s):
                raise ConfigError(
                    f"control.video=none, but the model shows {len(times_s)} frames of question {item.id}. Where "
                    "item.video is recot.evaluation.answerer.NO_VIDEO, show none and call prompt_of(())."
                )
            return prompt_of(times_s)

        return self.model.answer(replace(item, video=NO_VIDEO), words)
