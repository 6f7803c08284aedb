"""How a question, its options and what is known are put to a language model, and what it has to reply."""

from collections.abc import Sequence

from recot.data.schema import QA
from recot.errors import DataError

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def user_text(qa: QA, facts: Sequence[str] = ()) -> str:
    """What the user says: the facts, if any, a line each, then the question as in ``question_text``."""
    return "\n".join([*facts, question_text(qa)])


def question_text(qa: QA) -> str:
    """The question; then, where there are options, a line ``A. red circle`` for each."""
    lettered = [f"{letter}. {option}" for letter, option in zip(LETTERS, qa.options, strict=False)]
    return "\n".join([qa.question, *lettered])


def reply_text(qa: QA) -> str:
    """What the model says: the letter of the right option, or the answer itself where there are no options.

    Raises:
        DataError: if the answer is none of the options, or there are more options than letters.
    """
    if not qa.options:
        return qa.answer
    if qa.answer not in qa.options[: len(LETTERS)]:
        raise DataError(
            f"question {qa.sample_id or qa.question!r}: the answer {qa.answer!r} is none of the options {qa.options}. "
            "It must be one of the first 26, word for word."
        )
    return LETTERS[qa.options.index(qa.answer)]
