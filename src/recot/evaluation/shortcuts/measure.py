"""All classifiers on all tasks: fitted to one folder's questions, counted on another's."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from recot.errors import DataError
from recot.evaluation.shortcuts.chance import Verdict, holm, judge
from recot.evaluation.shortcuts.classifiers import CLASSIFIERS
from recot.evaluation.shortcuts.questions import Choice

FEWEST = 40
"""Training questions a task."""


def measure(
    train: Sequence[Choice], test: Sequence[Choice], progress: Callable[[str], None] = lambda name: None
) -> dict[str, dict[str, Any]]:
    """Classifier -> ``overall`` figures and those by task under ``tasks``.

    The verdict on a classifier is that on all tasks together; among tasks, ``holm_p_value`` corrects for their number.

    Args:
        train: questions to fit to.
        test: questions of other scenes.
        progress: is told each classifier before its turn.

    Raises:
        DataError: if both have a scene in common, other tasks, or training questions are too few.
    """
    tasks = _check(train, test)
    results: dict[str, dict[str, Any]] = {}
    for name, fit in CLASSIFIERS.items():
        progress(name)
        guesses = []
        for task in tasks:
            answerer = fit([choice for choice in train if choice.task == task])
            guesses.append(answerer([choice for choice in test if choice.task == task]))
        ordered = [choice for task in tasks for choice in test if choice.task == task]
        results[name] = _judge_all(np.concatenate(guesses), ordered, tasks)
    return results


def _judge_all(predicted: np.ndarray, choices: Sequence[Choice], tasks: Sequence[str]) -> dict[str, Any]:
    right = np.array([choice.right for choice in choices])
    scenes = np.array([choice.scene for choice in choices])
    names = np.array([choice.task for choice in choices])
    by_task = {t: _figures(judge(*(a[names == t] for a in (predicted, right, scenes, names)))) for t in tasks}
    adjusted = holm([figures["p_value"] for figures in by_task.values()])
    for figures, p_value in zip(by_task.values(), adjusted, strict=True):
        figures["holm_p_value"] = p_value
    return {"overall": _figures(judge(predicted, right, scenes, names)), "tasks": by_task}


def _figures(verdict: Verdict) -> dict[str, Any]:
    return {
        "questions": verdict.questions,
        "accuracy": verdict.accuracy,
        "interval": list(verdict.interval),
        "chance_interval": list(verdict.chance_interval),
        "p_value": verdict.p_value,
        "inside": verdict.inside,
    }


def _check(train: Sequence[Choice], test: Sequence[Choice]) -> list[str]:
    common = {choice.scene for choice in train} & {choice.scene for choice in test}
    if common:
        raise DataError(
            f"Training and test videos have {len(common)} scenes in common, {min(common)} for one, so nothing is held "
            "out. Make the test videos with --split test."
        )
    counts = {task: sum(choice.task == task for choice in train) for task in dict.fromkeys(c.task for c in train)}
    asked = {choice.task for choice in test}
    if set(counts) != asked:
        raise DataError(
            f"The training videos ask {', '.join(counts)}, the test videos {', '.join(sorted(asked))}. "
            "Make both with the same --frames."
        )
    if min(counts.values()) < FEWEST:
        raise DataError(
            f"The training videos ask {min(counts.values())} questions of a task, but classifiers need {FEWEST}. "
            f"Make {FEWEST} videos or more."
        )
    return list(counts)
