"""Questions that need no video: who knows the words of the tiny world can answer them."""

from collections.abc import Callable

import numpy as np

from recot.data.schema import QA
from recot.tiny_world.vocabulary import COLOURS, OBJECTS, SHAPES

TASK = "common"
SIDES = {"circle": "0", "triangle": "3", "square": "4", "diamond": "4", "cross": "12"}
OPTIONS = 4


def common_questions(rng: np.random.Generator) -> tuple[QA, QA]:
    """One question in two forms: with ``OPTIONS`` options, the answer being one of them word for word, and without."""
    question, answer, others = _KINDS[int(rng.integers(len(_KINDS)))](rng)
    wrong = [other for other in others if other != answer]
    options = [answer, *(wrong[i] for i in rng.permutation(len(wrong))[: OPTIONS - 1])]
    shuffled = [options[i] for i in rng.permutation(OPTIONS)]
    return QA("", question, answer, TASK, shuffled), QA("", question, answer, TASK)


def _shape(rng: np.random.Generator) -> tuple[str, str, tuple[str, ...]]:
    thing = _draw(rng, OBJECTS)
    return f"What shape is the {thing}?", thing.split()[1], SHAPES


def _colour(rng: np.random.Generator) -> tuple[str, str, tuple[str, ...]]:
    thing = _draw(rng, OBJECTS)
    return f"What colour is the {thing}?", thing.split()[0], tuple(COLOURS)


def _sides(rng: np.random.Generator) -> tuple[str, str, tuple[str, ...]]:
    shape = _draw(rng, SHAPES)
    return f"How many sides does a {shape} have?", SIDES[shape], ("0", "3", "4", "5", "6", "8", "12")


_KINDS: tuple[Callable[[np.random.Generator], tuple[str, str, tuple[str, ...]]], ...] = (_shape, _colour, _sides)


def _draw(rng: np.random.Generator, values: tuple[str, ...]) -> str:
    return values[int(rng.integers(len(values)))]
