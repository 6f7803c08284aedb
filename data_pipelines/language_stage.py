"""Stage ``language``: what a language model makes of the questions without the video, or with one frame of it.

The models are handed in (ARCHITECTURE rule 5), as picklable callables that load them, once in each worker. A language
model is enough for ``blind_right`` and ``blind_margin``; ``video_gain`` and ``single_frame`` need one that sees videos,
and are ``na`` without it (see ``signals.single_frame`` for what stands in).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
import pyarrow as pa

from data_pipelines.ledger import Ledger, Row
from data_pipelines.media_pictures import decode_picture
from data_pipelines.sample_signals import Question, questions_of, sample_fields, sample_values, text_item
from data_pipelines.signals.blind import LETTERS, blind_choice, blind_reply, right_option, rotations, video_gain
from data_pipelines.signals.signal import Signal
from data_pipelines.signals.single_frame import single_frame
from data_pipelines.stage_worker import Item, Work, one_by_one
from data_pipelines.vision_stage import one_thread
from recot.data.schema import QA

LANGUAGE_VERSION = 1
"""Rises with every change of what is measured, for ``ledger.config_hash``."""
SAMPLE_SIGNALS = ("blind_right", "blind_margin", "video_gain", "single_frame")
LANGUAGE_COLUMNS = pa.schema(sample_fields(SAMPLE_SIGNALS))


class LanguageModel(Protocol):
    """Tells how likely replies to what a user says are, in the model's own chat format."""

    def letter_nll(self, prompts: Sequence[str], letters: str) -> np.ndarray:
        """(p prompts, n letters) float64: NLL in nats of each letter as the first token of the reply to each prompt."""

    def reply_nll(self, prompt: str, reply: str) -> float:
        """NLL in nats of saying ``reply`` and nothing more: of its tokens and of the end of the turn, added up."""


class VideoLanguageModel(Protocol):
    """Tells how likely an answer to a question about frames is."""

    def __call__(self, frames: np.ndarray, question: str, answer: str) -> float:
        """NLL in nats a token of the answer, given (n, S, S, 3) uint8 frames in order of time; n may be 0."""


@dataclass(frozen=True)
class LanguageSettings:
    """What decides the scores beside the models.

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
        make_video_model: loads a model that sees videos, None for none.
        media: ledger of the stage ``media``, from which the frames for that model are read.
    """

    make_model: Callable[[], LanguageModel]
    settings: LanguageSettings
    make_video_model: Callable[[], VideoLanguageModel] | None = None
    media: Ledger | None = None

    @contextmanager
    def __call__(self) -> Iterator[Work]:
        """Load the models."""
        one_thread()
        seeing = None if self.make_video_model is None else self.make_video_model()
        work = partial(_score, model=self.make_model(), seeing=seeing, media=self.media, settings=self.settings)
        yield one_by_one(work)


def language_item(media: str, questions: Sequence[QA]) -> Item:
    """Item of this stage: a video's questions, and where to find its frames."""
    return text_item(media, questions)


def _score(
    item: Item,
    *,
    model: LanguageModel,
    seeing: VideoLanguageModel | None,
    media: Ledger | None,
    settings: LanguageSettings,
) -> Row:
    frames = None
    if seeing is not None and media is not None:
        stored = media.read(item["media"], ["frame_size", "pictures"])
        frames = np.stack([decode_picture(code, stored["frame_size"]) for code in stored["pictures"]])
    found = []
    for question in questions_of(item):
        right, margin = blind(question, model=model, settings=settings)
        gain, frame = with_video(question, frames, seeing)
        found.append({"blind_right": right, "blind_margin": margin, "video_gain": gain, "single_frame": frame})
    return sample_values(SAMPLE_SIGNALS, found)


def blind(question: Question, *, model: LanguageModel, settings: LanguageSettings) -> tuple[Signal, Signal]:
    """``blind_right`` and ``blind_margin``, see ``signals.blind``; ``na`` for captions and where no option is right."""
    if question.is_caption:
        return _twice(Signal(None, "na", "a caption"))
    if not question.options:
        return blind_reply(model.reply_nll(question.question, question.answer))
    right, count = right_option(question.answer, question.options), len(question.options)
    if right is None or not 2 <= count <= len(LETTERS):
        return _twice(Signal(None, "na", f"the answer is none of the {count} options, or there are not 2 to 26"))
    turned = rotations(count)
    prompts = [
        choice_prompt(question.question, [question.options[i] for i in order], settings.choice_instruction)
        for order in turned
    ]
    by_place = model.letter_nll(prompts, LETTERS[:count])
    by_option = np.empty_like(by_place)
    np.put_along_axis(by_option, turned, by_place, axis=1)
    return blind_choice(by_option, right)


def choice_prompt(question: str, options: Sequence[str], instruction: str) -> str:
    """The question, a line ``A. red circle`` for each option, and the instruction, if any."""
    lines = [f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False)]
    return "\n".join([question, *lines, *([instruction] if instruction else [])])


def with_video(
    question: Question, frames: np.ndarray | None, model: VideoLanguageModel | None
) -> tuple[Signal, Signal]:
    """``video_gain`` and ``single_frame`` of (k, S, S, 3) frames; ``na`` without a model, and for captions."""
    if model is None or frames is None:
        return _twice(Signal(None, "na", "no video language model"))
    if question.is_caption:
        return _twice(Signal(None, "na", "a caption"))
    middle = len(frames) // 2
    nothing, frame, video = (
        model(shown, question.question, question.answer) for shown in (frames[:0], frames[middle : middle + 1], frames)
    )
    return video_gain(nothing, video), single_frame(frame, video)


def _twice(signal: Signal) -> tuple[Signal, Signal]:
    return signal, signal
