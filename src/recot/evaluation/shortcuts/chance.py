"""What chance gives: exact, from the predictions and the design of the questions.

Whoever doesn't watch a video can't know which of four options was dealt to be the right one. So in the null
hypothesis, the letter of a right answer could as well be any other, whatever the classifier predicts; in a pair of
twins, whose right options are two apart, both letters turn together. Letters are dealt to each task by itself, so the
questions that share a video are independent, and without twins the number of right answers is binomial. (Of four
successive questions of a task, each letter is right once; a classifier that doesn't see a question's number can't make
use of that, and its hits vary as much or less.)
"""

from dataclasses import dataclass

import numpy as np

from recot.tiny_world.planting import OPTIONS

DRAWS = 2000
_TAIL = 0.025


@dataclass(frozen=True)
class Verdict:
    """How a classifier's accuracy compares with chance.

    Attributes:
        questions: how many.
        hits: how many of them it answers right.
        chance_interval: accuracies that chance stays between in 95 of 100 cases.
        p_value: two-sided.
        interval: 95 % of the accuracy, bootstrapped over scenes.
    """

    questions: int
    hits: int
    chance_interval: tuple[float, float]
    p_value: float
    interval: tuple[float, float]

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return self.hits / self.questions

    @property
    def inside(self) -> bool:
        """Whether chance explains the accuracy."""
        return self.chance_interval[0] <= self.accuracy <= self.chance_interval[1]


def judge(predicted: np.ndarray, right: np.ndarray, scenes: np.ndarray, tasks: np.ndarray, seed: int = 0) -> Verdict:
    """Compare a classifier with chance.

    Args:
        predicted: (N,) int in 0..3, the options that it chose.
        right: (N,) int in 0..3.
        scenes: (N,) int64, equal for all questions about a video and its twin.
        tasks: (N,) int or str.
        seed: of the bootstrap.
    """
    hits, count = int((predicted == right).sum()), len(right)
    chances = null_distribution(predicted, right, scenes, tasks)
    below, above = np.cumsum(chances), np.cumsum(chances[::-1])[::-1]
    low, high = int(np.argmax(below > _TAIL)), int(len(chances) - 1 - np.argmax(above[::-1] > _TAIL))
    return Verdict(
        questions=count,
        hits=hits,
        chance_interval=(low / count, high / count),
        p_value=min(1.0, 2 * float(min(below[hits], above[hits]))),
        interval=_bootstrap(predicted == right, scenes, seed),
    )


def null_distribution(predicted: np.ndarray, right: np.ndarray, scenes: np.ndarray, tasks: np.ndarray) -> np.ndarray:
    """Probability of 0, 1, 2, ... right answers by chance; the last are 0 where that many can't be.

    Args:
        predicted: (N,) int in 0..3.
        right: (N,) int in 0..3.
        scenes: (N,) int64.
        tasks: (N,) int or str.
    """
    groups: dict[tuple[int, str], np.ndarray] = {}
    for guess, truth, scene, task in zip(predicted, right, scenes, tasks, strict=True):
        turned = groups.setdefault((int(scene), str(task)), np.zeros(OPTIONS, int))
        turned[(guess - truth) % OPTIONS] += 1  # right when the letters are turned by so many
    chances = np.ones(1)
    for turned in groups.values():
        chances = np.convolve(chances, np.bincount(turned) / OPTIONS)
    return np.pad(chances, (0, len(right) + 1 - len(chances)))


def holm(p_values: list[float]) -> list[float]:
    """Holm's adjusted p-values: under 0.05 where a result stands out even among so many."""
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, (len(p_values) - rank) * p_values[i])
        adjusted[i] = min(1.0, largest)
    return adjusted


def _bootstrap(correct: np.ndarray, scenes: np.ndarray, seed: int) -> tuple[float, float]:
    """Scenes are drawn with all of their questions."""
    _, index = np.unique(scenes, return_inverse=True)
    hits, counts = np.bincount(index, correct), np.bincount(index)
    draws = np.random.default_rng(seed).integers(len(hits), size=(DRAWS, len(hits)))
    low, high = np.quantile(hits[draws].sum(axis=1) / counts[draws].sum(axis=1), [_TAIL, 1 - _TAIL])
    return float(low), float(high)
