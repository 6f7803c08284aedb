"""How questions with options are put to a model: once for each rotation of the options, the letters in their order."""

from collections.abc import Sequence

import numpy as np

from data_pipelines.sample_signals import Question
from data_pipelines.signals.blind import LETTERS, right_option, rotations
from data_pipelines.signals.signal import Signal


def right_place(question: Question) -> int | None:
    """Number of the right option; None unless there are 2 to 26 options, one of which the answer names."""
    if not 2 <= len(question.options) <= len(LETTERS):
        return None
    return right_option(question.answer, question.options)


def no_right_place(question: Question) -> Signal:
    """What is said of a question with options without a ``right_place``."""
    count = len(question.options)
    return Signal(None, "na", f"the answer is none of the {count} options, or there are not 2 to 26")


def letters_of(question: Question) -> str:
    """A letter for each option."""
    return LETTERS[: len(question.options)]


def rotated_prompts(question: Question, instruction: str) -> list[str]:
    """n prompts of n options; in prompt r, all options have moved on by r places."""
    return [
        choice_prompt(question.question, [question.options[i] for i in order], instruction)
        for order in rotations(len(question.options))
    ]


def choice_prompt(question: str, options: Sequence[str], instruction: str) -> str:
    """The question, a line ``A. red circle`` for each option, and the instruction, if any."""
    lines = [f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False)]
    return "\n".join([question, *lines, *([instruction] if instruction else [])])


def by_option(nll: np.ndarray) -> np.ndarray:
    """(n rotations, n letters) to (n rotations, n options): NLL of the letter that each option has in that prompt."""
    found = np.empty_like(nll)
    np.put_along_axis(found, rotations(len(nll)), nll, axis=1)
    return found
