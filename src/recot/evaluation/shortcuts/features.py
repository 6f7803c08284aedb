"""Questions, options and file facts as numbers. Fitted on training questions of one task; every column has a name.

Legend: N questions, 4 options, D columns an option, K columns of context.
"""

import re
from collections.abc import Sequence

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer

from recot.evaluation.shortcuts.questions import Choice
from recot.tiny_world.planting import OPTIONS
from recot.tiny_world.vocabulary import NOT_SHOWN

_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_WORDS = r"[^\s?,]+"
_RAREST = 0.005  # of the texts, for a word or a pair of words to have a column
_MOST = 80  # columns of words


class Words:
    """Which words, and which pairs of neighbouring words if wanted, are in a text; those of all texts don't count."""

    def __init__(self, texts: Sequence[str], *, pairs: bool) -> None:
        self._vectorizer = CountVectorizer(
            token_pattern=_WORDS, ngram_range=(1, 1 + pairs), binary=True, min_df=_RAREST, max_features=_MOST
        )
        counts = np.asarray(self._vectorizer.fit_transform(texts).mean(axis=0))[0]
        self._kept = np.flatnonzero(counts < 1)
        self.names = [str(name) for name in self._vectorizer.get_feature_names_out()[self._kept]]

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """(N, len(names)) float, 0 or 1."""
        return self._vectorizer.transform(texts).toarray()[:, self._kept].astype(float)


class QuestionWords:
    """Context: the words of the question."""

    def __init__(self, choices: Sequence[Choice], *, pairs: bool = False) -> None:
        self._words = Words([choice.question for choice in choices], pairs=pairs)
        self.names = [f"question has '{name}'" for name in self._words.names]

    def __call__(self, choices: Sequence[Choice]) -> np.ndarray:
        """(N, K) float."""
        return self._words([choice.question for choice in choices])


class FileFacts:
    """Context: size, duration and bit rate, each with mean 0 and variance 1, and their squares."""

    def __init__(self, choices: Sequence[Choice]) -> None:
        facts = self._facts(choices)
        self._mean, self._spread = facts.mean(axis=0), facts.std(axis=0)
        self._kept = self._spread > 1e-6 * np.abs(self._mean)
        names = np.array(["bytes", "seconds", "bits a second", "bytes a frame"])[self._kept]
        self.names = [*map(str, names), *(f"{name}, squared" for name in names)]

    def __call__(self, choices: Sequence[Choice]) -> np.ndarray:
        """(N, K) float."""
        scaled = ((self._facts(choices) - self._mean)[:, self._kept]) / self._spread[self._kept]
        return np.hstack([scaled, scaled**2])

    @staticmethod
    def _facts(choices: Sequence[Choice]) -> np.ndarray:
        seen = [choice.metadata for choice in choices]
        return np.array([(m.bytes, m.duration_s, m.bits_a_second, m.bytes_a_frame) for m in seen], float)


class OptionFacts:
    """Each option: its words, place, length, numbers and likeness, and how it ranks among the four."""

    def __init__(self, choices: Sequence[Choice]) -> None:
        self._words = Words([option for choice in choices for option in choice.options], pairs=True)
        own = [f"option has '{name}'" for name in self._words.names]
        others = [f"others have '{name}'" for name in self._words.names]
        places = [f"stands at {letter}" for letter in "ABCD"]
        not_shown = ["is 'not shown'", "'not shown' is offered"]
        not_shown += [f"stands {k} after 'not shown'" for k in range(1, OPTIONS)]
        ranked = ["characters", "likeness", "alphabet", "first number", "last number", "difference"]
        ranks = [f"{kind} of {name}" for name in ranked for kind in ("value", "distance to mean", "rank")]
        extremes = [f"has the {kind} {name}" for name in ranked for kind in ("smallest", "largest", "middle")]
        self.names = [*own, *places, *not_shown, *ranks, *extremes, "words of the question", *others]
        self.simple = len(self.names) - len(others)
        """So many first columns say something of the option itself; the rest, of the others."""

    def __call__(self, choices: Sequence[Choice]) -> np.ndarray:
        """(N, 4, D) float."""
        options = [option for choice in choices for option in choice.options]
        words = self._words(options).reshape(len(choices), OPTIONS, -1)
        others = words.sum(axis=1, keepdims=True) - words
        places = np.broadcast_to(np.eye(OPTIONS), (len(choices), OPTIONS, OPTIONS))
        ranked = self._ranked(choices, words, others)
        parts = [words, places, _not_shown(choices), *ranked, others]
        return np.concatenate(parts, axis=2)

    def _ranked(self, choices: Sequence[Choice], words: np.ndarray, others: np.ndarray) -> list[np.ndarray]:
        lengths = np.array([[len(option) for option in choice.options] for choice in choices], float)
        likeness = (words * others).sum(axis=2) / np.maximum(1, np.sqrt(words.sum(axis=2)))
        order = [sorted(choice.options) for choice in choices]
        alphabet = [[names.index(o) for o in choice.options] for names, choice in zip(order, choices, strict=True)]
        first, last = np.moveaxis(np.array([[_ends(o) for o in choice.options] for choice in choices]), 2, 0)
        values = [lengths, likeness, np.array(alphabet, float), first, last, last - first]
        asked = [set(re.findall(_WORDS, choice.question)) for choice in choices]
        shared = [
            [len(words & set(re.findall(_WORDS, option))) for option in choice.options]
            for words, choice in zip(asked, choices, strict=True)
        ]
        compared = [_compare(value) for value in values]
        return [
            np.concatenate([numbers for numbers, _ in compared], axis=2),
            np.concatenate([extremes for _, extremes in compared], axis=2),
            np.array(shared, float)[..., None],
        ]


def _ends(option: str) -> tuple[float, float]:
    """Its first and its last number, NaN without any."""
    numbers = [float(number) for number in _NUMBER.findall(option)]
    return (numbers[0], numbers[-1]) if numbers else (np.nan, np.nan)


def _compare(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, 4), NaN where there is none, into (N, 4, 3) value, distance to the mean, rank, and (N, 4, 3) extremes."""
    known = ~np.isnan(values)
    count = np.maximum(1, known.sum(axis=1, keepdims=True))
    filled = np.where(known, values, 0.0)
    mean = filled.sum(axis=1, keepdims=True) / count
    distance = np.where(known, values - mean, 0.0)
    lower = (filled[:, None, :] < filled[:, :, None]) & known[:, None, :]
    higher = (filled[:, None, :] > filled[:, :, None]) & known[:, None, :]
    rank = np.where(known, (lower.sum(axis=2) - higher.sum(axis=2)) / count, 0.0)
    lowest, highest = known & (higher.sum(axis=2) == count - 1), known & (lower.sum(axis=2) == count - 1)
    nearest = known & (abs(distance) <= np.where(known, abs(distance), np.inf).min(axis=1, keepdims=True))
    return np.stack([filled, distance, rank], axis=2), np.stack([lowest, highest, nearest], axis=2).astype(float)


def _not_shown(choices: Sequence[Choice]) -> np.ndarray:
    """(N, 4, 5): is it, is it among them, and how many places further on this option stands."""
    here = np.array([[option == NOT_SHOWN for option in choice.options] for choice in choices], float)
    offered = np.broadcast_to(here.any(axis=1, keepdims=True), here.shape)
    after = [np.roll(here, k, axis=1) for k in range(1, OPTIONS)]
    return np.stack([here, offered, *after], axis=2)
