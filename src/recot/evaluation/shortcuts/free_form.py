"""Free-form questions: how far an answer gets that no video was watched for."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from recot.evaluation.shortcuts.questions import Open


def free_form(train: Sequence[Open], test: Sequence[Open]) -> list[dict[str, Any]]:
    """One row a task: shares of exact matches on test questions.

    ``majority`` always gives the most frequent training answer. ``uniform over answers`` draws from the answers of
    training, ``uniform over the named`` from those that the question itself names (NaN where it names none); both are
    expected shares, without a draw. There are no options, so chance is no fixed number: a model has to beat all three.
    """
    rows = []
    for task in dict.fromkeys(question.task for question in train):
        answers = Counter(question.answer for question in train if question.task == task)
        asked = [question for question in test if question.task == task]
        (majority, _), *_ = answers.most_common(1)
        named = [{answer for answer in answers if _names(question.question, answer)} for question in asked]
        shares = [q.answer in names and 1 / len(names) for q, names in zip(asked, named, strict=True) if names]
        rows.append(
            {
                "task": task,
                "questions": len(asked),
                "answers": len(answers),
                "majority answer": majority,
                "majority": float(np.mean([q.answer == majority for q in asked])),
                "uniform over answers": float(np.mean([(q.answer in answers) / len(answers) for q in asked])),
                "uniform over the named": float(np.mean(shares)) if len(shares) == len(asked) else None,
            }
        )
    return rows


def _names(question: str, answer: str) -> bool:
    """Whether a question like ``Which ...: red circle, blue cross or white square?`` lists this answer."""
    _, _, listed = question.rstrip("?").partition(": ")
    return answer in re.split(r", | or ", listed)
