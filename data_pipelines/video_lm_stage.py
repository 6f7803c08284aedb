"""Stage ``video_lm``: what a video language model makes of the questions without a frame, with one, and with several.

The model is handed in, as a picklable callable that loads it, once in each worker.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa

from data_pipelines.ledger import Ledger, Row
from data_pipelines.media_pictures import decode_picture
from data_pipelines.option_prompts import by_option, letters_of, no_right_place, right_place, rotated_prompts
from data_pipelines.sample_signals import Question, questions_of, sample_fields, sample_values, text_item
from data_pipelines.signals.blind import NO_QUESTION, blind_choice, blind_reply, video_gain
from data_pipelines.signals.one_frame import one_frame_margin
from data_pipelines.signals.signal import Signal
from data_pipelines.signals.single_frame import single_frame
from data_pipelines.stage_worker import Item, Work, one_by_one
from data_pipelines.vision_stage import one_thread
from recot.data.schema import QA

VIDEO_LM_VERSION = 2
"""Rises with every change of what is measured, for ``ledger.config_hash``."""
SAMPLE_SIGNALS = ("one_frame_margin", "video_gain", "single_frame")
VIDEO_LM_COLUMNS = pa.schema(sample_fields(SAMPLE_SIGNALS))


class VideoLanguageModel(Protocol):
    """Tells how likely replies to questions about frames are, which it puts as it was trained to read them."""

    def look(self, frames: np.ndarray, times_s: Sequence[float]) -> Any:
        """What the model sees of (n, S, S, 3) uint8 frames at n seconds, to be asked about; n may be 0."""

    def letter_nll(self, seen: Any, prompts: Sequence[str], letters: str) -> np.ndarray | None:
        """(p prompts, n letters) float64: NLL in nats of each letter as the first token of the reply to each prompt.

        None if frames and prompt are longer than the model reads.
        """

    def reply_nll(self, seen: Any, prompt: str, reply: str) -> tuple[float, int] | None:
        """NLL in nats of saying ``reply`` and nothing more, added up over tokens, and how many these are; or None."""


class Answered(NamedTuple):
    """How likely the right answer is."""

    nll: float  # nats a token
    margin: Signal  # see ``signals.blind``


@dataclass(frozen=True)
class VideoLmWork:
    """Gives the work of this stage (``stage_worker.MakeWork``); picklable.

    Attributes:
        media: ledger of the stage ``media``, from which the frames are read.
        make_model: loads the model.
    """

    media: Ledger
    make_model: Callable[[], VideoLanguageModel]

    @contextmanager
    def __call__(self) -> Iterator[Work]:
        """Load the model."""
        one_thread()
        yield one_by_one(partial(_score, media=self.media, model=self.make_model()))


def video_lm_item(media: str, questions: Sequence[QA]) -> Item:
    """Item of this stage: a video that the stage ``media`` could decode, and its questions."""
    return text_item(media, questions)


def _score(item: Item, *, media: Ledger, model: VideoLanguageModel) -> Row:
    stored = media.read(item["media"], ["frame_size", "frame_times_s", "pictures"])
    frames = np.stack([decode_picture(code, stored["frame_size"]) for code in stored["pictures"]])
    return score_questions(frames, stored["frame_times_s"], questions_of(item), model=model)


def score_questions(
    frames: np.ndarray, times_s: Sequence[float], questions: Sequence[Question], *, model: VideoLanguageModel
) -> Row:
    """Ask each question without a frame, with the one in the middle, and with all.

    Args:
        frames: (k, S, S, 3) uint8 RGB in order of time, k at least 1.
        times_s: k presentation times.
        questions: of the video.
        model: what is asked.

    Returns:
        A row of ``VIDEO_LM_COLUMNS``.
    """
    middle = slice(len(frames) // 2, len(frames) // 2 + 1)
    sights = [model.look(frames[part], times_s[part]) for part in (slice(0), middle, slice(None))]
    return sample_values(SAMPLE_SIGNALS, [_signals(question, sights, model) for question in questions])


def _signals(question: Question, sights: Sequence[Any], model: VideoLanguageModel) -> dict[str, Signal]:
    if question.is_caption:
        return dict.fromkeys(SAMPLE_SIGNALS, Signal(None, "na", "a caption"))
    if question.options and right_place(question) is None:
        return dict.fromkeys(SAMPLE_SIGNALS, no_right_place(question))
    answers = [_answer(question, seen, model) for seen in sights]
    nothing, frame, video = answers
    if nothing is None or frame is None or video is None:
        return dict.fromkeys(SAMPLE_SIGNALS, Signal(None, "na", "longer than the model reads"))
    return {
        "one_frame_margin": one_frame_margin(frame.margin, nothing.margin),
        "video_gain": video_gain(nothing.nll, video.nll),
        "single_frame": single_frame(frame.nll, video.nll),
    }


def _answer(question: Question, seen: Any, model: VideoLanguageModel) -> Answered | None:
    """None if it is longer than the model reads."""
    right = right_place(question)
    if right is None:
        said = model.reply_nll(seen, question.question, question.answer)
        unasked = model.reply_nll(seen, NO_QUESTION, question.answer)
        if said is None or unasked is None:
            return None
        return Answered(said[0] / said[1], blind_reply(said[0], unasked[0])[1])
    letters = model.letter_nll(seen, rotated_prompts(question, ""), letters_of(question))
    if letters is None:
        return None
    nll = by_option(letters)
    return Answered(float(nll[:, right].mean()), blind_choice(nll, right)[1])
