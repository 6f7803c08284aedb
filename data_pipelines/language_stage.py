"""Stage ``language``: what a language model makes of the questions without the video.

The model is handed in, as a picklable callable that loads it, once in each worker.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
import pyarrow as pa

from data_pipelines.ledger import Row
from data_pipelines.option_prompts import by_option, letters_of, no_right_place, right_place, rotated_prompts
from data_pipelines.sample_signals import Question, questions_of, sample_fields, sample_values, text_item
from data_pipelines.signals.blind import NO_QUESTION, blind_choice, blind_reply
from data_pipelines.signals.signal import Signal
from data_pipelines.stage_worker import Item, Work, one_by_one
from data_pipelines.vision_stage import one_thread
from recot.data.schema import QA

LANGUAGE_VERSION = 3
"""Rises with every change of what is measured, for ``ledger.config_hash``."""
SAMPLE_SIGNALS = ("blind_right", "blind_margin")
LANGUAGE_COLUMNS = pa.schema(sample_fields(SAMPLE_SIGNALS))


class LanguageModel(Protocol):
    """Tells how likely replies to what a user says are, in the model's own chat format."""

    def letter_nll(self, prompts: Sequence[str], letters: str) -> np.ndarray:
        """(p prompts, n letters) float64: NLL in nats of each letter as the first token of the reply to each prompt."""

    def reply_nll(self, prompt: str, reply: str) -> float:
        """NLL in nats of saying ``reply`` and nothing more: of its tokens and of the end of the turn, added up."""


@dataclass(frozen=True)
class LanguageSettings:
    """What decides the scores beside the model.

    Attributes:
        choice_instruction: a last line for questions with options, such as "Answer with the letter of the right
            option."; empty for none.
    """

    choice_instruction: str


@dataclass(frozen=True)
class LanguageWork:
    """Gives the work of this stage (``stage_worker.MakeWork``); picklable.

    Attributes:
        make_model: loads the language model.
        settings: see there.
    """

    make_model: Callable[[], LanguageModel]
    settings: LanguageSettings

    @contextmanager
    def __call__(self) -> Iterator[Work]:
        """Load the model."""
        one_thread()
        yield one_by_one(partial(_score, model=self.make_model(), settings=self.settings))


def language_item(media: str, questions: Sequence[QA]) -> Item:
    """Item of this stage: the questions of a video that the stage ``media`` could decode."""
    return text_item(media, questions)


def _score(item: Item, *, model: LanguageModel, settings: LanguageSettings) -> Row:
    found = []
    for question in questions_of(item):
        right, margin = blind(question, model=model, settings=settings)
        found.append({"blind_right": right, "blind_margin": margin})
    return sample_values(SAMPLE_SIGNALS, found)


def blind(question: Question, *, model: LanguageModel, settings: LanguageSettings) -> tuple[Signal, Signal]:
    """``blind_right`` and ``blind_margin``, see ``signals.blind``; ``na`` for captions and where no option is right."""
    if question.is_caption:
        return _twice(Signal(None, "na", "a caption"))
    if not question.options:
        return blind_reply(*(model.reply_nll(asked, question.answer) for asked in (question.question, NO_QUESTION)))
    right = right_place(question)
    if right is None:
        return _twice(no_right_place(question))
    prompts = rotated_prompts(question, settings.choice_instruction)
    return blind_choice(by_option(model.letter_nll(prompts, letters_of(question))), right)


def _twice(signal: Signal) -> tuple[Signal, Signal]:
    return signal, signal
