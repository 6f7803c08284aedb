"""Classifiers that answer without watching. Each is fitted to the training questions of one task.

They are as strong as classifiers of so few facts sensibly are, since what is wanted of them is to fail.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from recot.evaluation.shortcuts.features import FileFacts, OptionFacts, QuestionWords
from recot.evaluation.shortcuts.questions import Choice
from recot.tiny_world.planting import OPTIONS

_HELD_OUT = 0.2
_PENALTIES = (0.001, 0.03)  # inverse strengths
_Context = Callable[[Sequence[Choice]], np.ndarray]


class Answerer(Protocol):
    """Chooses an option of each question."""

    def __call__(self, choices: Sequence[Choice]) -> np.ndarray:
        """(N,) int in 0..3."""


def content_by_question(train: Sequence[Choice]) -> Answerer:
    """The answer's text from the question's words, then the most probable of the options."""
    model = _Text(train, [choice.options[choice.right] for choice in train])

    def answer(choices: Sequence[Choice]) -> np.ndarray:
        known = {name: i for i, name in enumerate(model.classes)}
        log = np.log(model.probabilities(choices))
        never = log.min(axis=1) - 1  # an answer that training never saw
        scores = [
            [log[n, known[option]] if option in known else never[n] for option in choice.options]
            for n, choice in enumerate(choices)
        ]
        return np.argmax(scores, axis=1)

    return answer


def letter_by_question(train: Sequence[Choice]) -> Answerer:
    """The letter from the question's words."""
    model = _Text(train, [choice.right for choice in train])
    letters = np.array(model.classes)
    return lambda choices: letters[model.probabilities(choices).argmax(axis=1)]


def by_options(train: Sequence[Choice]) -> Answerer:
    """From the four options alone."""
    return _best_scorer(train, None)


def by_question_and_options(train: Sequence[Choice]) -> Answerer:
    """From all the text."""
    return _best_scorer(train, QuestionWords)


def by_metadata(train: Sequence[Choice]) -> Answerer:
    """From the video file's size, duration and bit rate, and what the options make of them."""
    return _best_scorer(train, FileFacts)


CLASSIFIERS: dict[str, Callable[[Sequence[Choice]], Answerer]] = {
    "question only, content": content_by_question,
    "question only, letter": letter_by_question,
    "options only": by_options,
    "question and options": by_question_and_options,
    "file size, bit rate, duration": by_metadata,
}


class _Text:
    """Logistic regression on the question's words; the frequencies of the answers where all questions are one."""

    def __init__(self, train: Sequence[Choice], answers: Sequence[str] | Sequence[int]) -> None:
        self._words = QuestionWords(train, pairs=True)
        self.classes, index = np.unique(np.array(answers), return_inverse=True)
        self._frequencies = np.bincount(index) / len(index)
        self._model: LogisticRegression | None = None
        if self._words.names and len(self.classes) > 1:
            with warnings.catch_warnings():
                # Spans of time are many classes, and still no regression problem.
                warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
                self._model = LogisticRegression(C=0.3, max_iter=200, tol=1e-3).fit(self._words(train), index)

    def probabilities(self, choices: Sequence[Choice]) -> np.ndarray:
        """(N, len(classes))."""
        if self._model is None:
            return np.tile(self._frequencies, (len(choices), 1))
        return np.maximum(self._model.predict_proba(self._words(choices)), 1e-12)


@dataclass(frozen=True)
class _Table:
    """``options`` (N, 4, D), the columns of each; ``context`` (N, K); ``simple`` of the D are crossed with it."""

    options: np.ndarray
    context: np.ndarray
    simple: int

    def crossed(self) -> np.ndarray:
        """(N, 4, D + K * simple): a linear scorer sees context only through products, what options share cancels."""
        products = np.einsum("nk,nod->nokd", self.context, self.options[..., : self.simple])
        return np.concatenate([self.options, products.reshape(*self.options.shape[:2], -1)], axis=2)

    def stacked(self) -> np.ndarray:
        """(N, 4, D + K): a tree finds the products itself."""
        context = np.broadcast_to(self.context[:, None], (*self.options.shape[:2], self.context.shape[1]))
        return np.concatenate([self.options, context], axis=2)


_Scorer = Callable[[_Table], np.ndarray]


def _linear(table: _Table, right: np.ndarray, penalty: float) -> _Scorer:
    """Logistic regression on the differences between the right option and each wrong one."""
    crossed = table.crossed()
    spread = crossed.std(axis=(0, 1))
    scale = np.where(spread > 1e-9, 1 / np.maximum(spread, 1e-9), 0.0)
    crossed *= scale
    rows = np.arange(len(right))
    differences = np.concatenate([crossed[rows, right] - crossed[rows, (right + k) % OPTIONS] for k in (1, 2, 3)])
    signs = np.where(np.arange(len(differences)) % 2, 1, -1)
    model = LogisticRegression(C=penalty, fit_intercept=False, max_iter=200, tol=1e-3)
    model.fit(differences * signs[:, None], signs)
    weights = model.coef_[0] * scale
    return lambda other: other.crossed() @ weights


def _boosted(table: _Table, right: np.ndarray) -> _Scorer:
    """Gradient boosting of trees: is this option the right one?"""
    stacked = table.stacked()
    labels = np.arange(OPTIONS) == right[:, None]
    model = HistGradientBoostingClassifier(
        learning_rate=0.06, max_iter=100, max_leaf_nodes=8, l2_regularization=5.0, early_stopping=False, random_state=0
    )
    model.fit(stacked.reshape(-1, stacked.shape[2]), labels.ravel())
    width = stacked.shape[2]
    return lambda other: model.decision_function(other.stacked().reshape(-1, width)).reshape(-1, OPTIONS)


def _best_scorer(train: Sequence[Choice], make_context: Callable[[Sequence[Choice]], _Context] | None) -> Answerer:
    """Of linear scorers and trees, what answers most on the last fifth of the training scenes, fitted to all."""
    facts = OptionFacts(train)
    context = None if make_context is None else make_context(train)

    def table(choices: Sequence[Choice]) -> _Table:
        empty = np.empty((len(choices), 0))
        return _Table(facts(choices), empty if context is None else context(choices), facts.simple)

    fitted = _split(train)
    right = np.array([choice.right for choice in train])
    whole = table(train)
    part = _Table(whole.options[fitted], whole.context[fitted], whole.simple)
    rest = _Table(whole.options[~fitted], whole.context[~fitted], whole.simple)
    kinds: list[Callable[[_Table, np.ndarray], _Scorer]] = [
        *(lambda t, r, c=c: _linear(t, r, c) for c in _PENALTIES),
        _boosted,
    ]
    hits = [int((kind(part, right[fitted])(rest).argmax(axis=1) == right[~fitted]).sum()) for kind in kinds]
    scorer = kinds[int(np.argmax(hits))](whole, right)
    return lambda choices: scorer(table(choices)).argmax(axis=1)


def _split(train: Sequence[Choice]) -> np.ndarray:
    """(N,) bool: not of the last fifth of the scenes, so that twins stay together."""
    order = {scene: i for i, scene in enumerate(dict.fromkeys(choice.scene for choice in train))}
    kept = len(order) - max(1, round(_HELD_OUT * len(order)))
    return np.array([order[choice.scene] < kept for choice in train])
