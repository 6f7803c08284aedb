"""One question about one video or image, from the file to the answer."""

import os
from collections.abc import Callable
from dataclasses import dataclass

import torch

from recot.errors import DataError
from recot.inference.moments import KeptGroups, kept_groups
from recot.inference.usage import Usage
from recot.inference.video import ChosenFrames, read_image, read_video
from recot.models.generation import GenerationSettings, Reply, generate
from recot.models.prompt import Turn, Visual, build_prompt
from recot.models.selection import KeepRule
from recot.models.video_input import Sample
from recot.models.video_lm import VideoLM
from recot.video_io import VideoLimits

LIMITS = VideoLimits(timeout_s=600.0)
"""Somebody who waits can end it; a piece of a large video, its frames minutes apart, takes longer than a training
sample may (our choice)."""

QUESTION_SHARE = 4
"""A question may take a quarter of what the model reads: the video and the reply need the rest (our choice)."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the model said, and what that took."""

    reply: Reply
    frames: int  # chosen of the video, without repeats that fill the last group; 1 for an image or a single frame
    tokens_seen: int  # compact tokens of the whole video
    tokens_kept: int  # of these, what the language model was given
    groups: KeptGroups | None  # None for an image or a single frame: nothing is selected away
    seconds: dict[str, float]  # by step: read (decode, encode, compress), select, generate
    peak_memory_mib: dict[str, float]  # see ``Usage``


@torch.inference_mode()
def ask(
    model: VideoLM,
    path: str | os.PathLike[str],
    chosen: ChosenFrames | None,
    question: str,
    *,
    frame_size: tuple[int, int],
    rule: KeepRule,
    settings: GenerationSettings,
    on_text: Callable[[str], None] | None = None,
    progress: bool = False,
) -> Answer:
    """Ask about a video of any length, or about an image.

    Args:
        model: in inference mode.
        path: a local file.
        chosen: frames of a video, as from ``choose_frames``; None for an image.
        question: plain text; special tokens in it are letters like any others.
        frame_size: height and width in pixels that the model was trained with.
        rule: how much of a video the language model gets to see.
        settings: how the reply is made.
        on_text: called with each new piece of the reply.
        progress: show a bar while the video is read.

    Raises:
        DataError: if the question is empty or longer than ``QUESTION_SHARE`` allows, or it and the video are too long
            for the language model; for an image that can't be read.
        VideoError: if the video can't be decoded.
    """
    sample = question_sample(model, question)
    _check_question_length(model, len(sample.prompt.ids))
    _check_length(model, len(sample.prompt.ids) + settings.max_new_tokens)
    usage = Usage(next(model.parameters()).device)
    with usage.step("read"):
        if chosen is None:
            visual = read_image(model, path, frame_size=frame_size)
        else:
            visual = read_video(model, path, chosen, frame_size=frame_size, limits=LIMITS, progress=progress)
    assert visual.tokens is not None
    with usage.step("select"):
        packed, choice = model.prepare([visual], [sample], [rule])
    _check_length(model, packed.embeddings.shape[1] + settings.max_new_tokens)
    with usage.step("generate"):
        reply = generate(model.llm, model.tokenizer, packed.embeddings, settings, on_text)
    groups = None if choice is None else kept_groups(choice)
    tokens_seen = visual.tokens.shape[0] * visual.tokens.shape[1]
    return Answer(
        reply=reply,
        frames=1 if chosen is None or chosen.still else len(chosen.indices),
        tokens_seen=tokens_seen,
        tokens_kept=tokens_seen if groups is None else groups.tokens_kept,
        groups=groups,
        seconds=usage.seconds,
        peak_memory_mib=usage.peak_memory_mib(),
    )


def question_sample(model: VideoLM, question: str) -> Sample:
    """The prompt that asks about one video or image, as in training: it comes first, then the question.

    Raises:
        DataError: as ``check_question``.
    """
    check_question(question)
    turns = [Turn("user", (Visual(0), "\n", question))]
    return Sample(prompt=build_prompt(model.tokenizer, turns, reply=True), visuals=(0,))


def check_question(question: str) -> None:
    """Return if this is something to ask.

    Raises:
        DataError: if it's empty, or bytes of another encoding that came through as lone surrogates.
    """
    if not question.strip():
        raise DataError("the question is empty: ask something about the video")
    try:
        question.encode()
    except UnicodeEncodeError as error:
        raise DataError("the question is not valid UTF-8: give it in the encoding of this terminal") from error


def _check_question_length(model: VideoLM, tokens: int) -> None:
    most = model.max_tokens // QUESTION_SHARE
    if tokens > most:
        raise DataError(
            f"the question takes {tokens} tokens, but only {most} are left to it, a quarter of the {model.max_tokens} "
            "that the model reads; the video and the reply need the rest: ask a shorter question"
        )


def _check_length(model: VideoLM, tokens: int) -> None:
    if tokens > model.max_tokens:
        raise DataError(
            f"question, video and reply take {tokens} tokens, but the model reads {model.max_tokens} at most: ask a "
            "shorter question, keep fewer video tokens (--keep, --budget), see fewer frames (--fps, --max-frames), or "
            "shorten the reply (--max-new-tokens)"
        )
