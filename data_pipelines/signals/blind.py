"""Whether a question is answered right by who doesn't see the video. It then teaches to guess.

Source: after GDO (arXiv 2603.12478), which compares the loss with and without the video, and the filters of
Video-R1 and VidGround, which drop what a language model alone gets right. Rotating the options, and all thresholds,
are ours. NLL is the negative log likelihood in nats.

The model must be unsure where it can't know. One that always had the facts when it was asked is sure of its guesses,
one in four of which is right: of the tiny world's good questions with options, 13 % were right under every rotation for
such a model, and none once it had been asked planted questions without facts as well. Such a model has learned what to
say when it knows nothing ("not shown"), and is right with it wherever that is the answer. So what it would say to
anything doesn't count: the content-free input of contextual calibration (arXiv 2102.09690).
"""

import math
import re
from collections.abc import Sequence

import numpy as np

from data_pipelines.signals.signal import Signal

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
NO_QUESTION = "?"
_LEAST_NLL = 1e-9
"""Likelihoods closer to 1 than this can't be told apart; it bounds the margin of a free-form answer at 20.7."""
_LETTERED = re.compile(r"^\(?([A-Z])(?:[.):]\s*(.*)|\)?)$", re.DOTALL)


def rotations(count: int) -> np.ndarray:
    """(count, count) int64: row r lists which option stands in each place when all have moved on by r places."""
    places = np.arange(count)
    return (places[None, :] + places[:, None]) % count


def right_option(answer: str, options: Sequence[str]) -> int | None:
    """Number of the option that an answer names: by its words, its letter ("B", "(B)") or both ("B. a dog")."""
    if answer in options:
        return options.index(answer)
    lettered = _LETTERED.match(answer.strip())
    if lettered is None:
        return None
    letter, words = lettered.groups()
    number = LETTERS.index(letter)
    if number >= len(options) or (words and words.strip() != options[number].strip()):
        return None
    return number


def blind_choice(nll: np.ndarray, right: int) -> tuple[Signal, Signal]:
    """``blind_right`` and ``blind_margin`` of a question with options.

    ``blind_right`` is the share of rotations under which the right option's letter is the most likely one: 1 where
    the words tell, and not the place. A model that has a favourite among the options, though, is right with one in n.
    ``blind_margin`` is the NLL of the likeliest wrong option minus that of the right one, letters averaged over
    rotations: how sure the model is, in nats; above 0 it prefers the right one.

    Default: drop above a margin of 4 (ours). A model that has the letter wrong once may be sure all the same, and one
    that is right each time unsure. On the tiny world (seed 1), good questions with options stay below 2, and all but
    3 of 1,071 in free form below 4; those that need no video have 4.5 and more.

    Args:
        nll: (n, n) float64, NLL of the letter of option o (column) under rotation r (row), without the video.
        right: number of the right option.
    """
    share = float((nll.argmin(axis=1) == right).mean())
    mean = nll.mean(axis=0)
    return Signal(share), Signal(float(np.delete(mean, right).min() - mean[right]))


def blind_reply(nll: float, nll_unasked: float) -> tuple[Signal, Signal]:
    """``blind_right`` and ``blind_margin`` of a free-form question.

    There are no wrong options to compare with, so all other replies together take their place: ``blind_margin`` is
    the log odds of saying exactly the answer, log(p / (1 - p)) with p = exp(-nll), less the log odds of saying it to
    ``NO_QUESTION`` where these are above 0. ``blind_right`` is 1 where the margin is above 0; else 0. A long answer is
    never said word for word: for those, ``video_gain`` is the measure.

    Args:
        nll: total NLL of the answer's tokens and of the end of the turn, given the question without the video.
        nll_unasked: the same given ``NO_QUESTION``.
    """
    margin = _log_odds(nll) - max(_log_odds(nll_unasked), 0.0)
    return Signal(float(margin > 0)), Signal(margin)


def _log_odds(nll: float) -> float:
    return -math.log(math.expm1(max(nll, _LEAST_NLL))) if nll < 700 else -nll


def video_gain(nll_blind: float, nll_video: float) -> Signal:
    """NLL(answer | question) - NLL(answer | question, video) of one model, nats a token: what the video tells.

    Default: drop at 0 and below (GDO, arXiv 2603.12478).
    """
    return Signal(nll_blind - nll_video)
