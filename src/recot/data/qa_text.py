"""How a question and its options are put to a language model, and what it has to reply."""

from recot.data.schema import QA
from recot.errors import DataError

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
REQUEST = "Describe the video."
"""Stands for a question that has no text, as where an annotation is only a caption (our choice)."""


def question_text(qa: QA) -> str:
    """The question; then, where there are options, a line ``A. red circle`` for each."""
    lettered = [f"{letter}. {option}" for letter, option in zip(LETTERS, qa.options, strict=False)]
    return "\n".join([qa.question if qa.question.strip() else REQUEST, *lettered])


def reply_text(qa: QA) -> str:
    """What the model says: the letter of the right option, or the answer itself where there are no options.

    Raises:
        DataError: if the answer is none of the options, or there are more options than letters.
    """
    if not qa.options:
        return qa.answer
    if len(qa.options) > len(LETTERS) or qa.answer not in qa.options:
        raise DataError(
            f"question {qa.sample_id or qa.question!r}: the answer {qa.answer!r} is none of the options {qa.options}. "
            "It must be one of them, word for word, and there can be 26 at most."
        )
    return LETTERS[qa.options.index(qa.answer)]
