"""Which of the samples that are good enough to take, where there are more than a budget allows.

Strata share the budget by Webster's divisor method with a minimum (Balinski and Young, Fair Representation, 1982):
first the ``floor`` best of every stratum, then by ``(rank + 1/2) / n ** alpha``, where n is the stratum's size. So
``alpha`` = 1 keeps the proportions, 0 makes strata equal, and what lies between shrinks the large ones. This puts all
samples in one order and a budget keeps a beginning of it: more budget never drops what less had kept.
"""

import hashlib
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recot.errors import ConfigError

UNITS = ("samples", "hours", "tokens")
STRATA = ("source", "duration_s", "task_type", "embedding_cluster")
REASONS = ("too_many_questions", "over_budget")
_CONFIG_KEY = "pruning.policy.selection"
_BLOCK = 65536


@dataclass
class Selection:
    """What to keep of the good samples.

    Attributes:
        budget: how much to keep, in ``unit``, at least 1 sample or token; None for all.
        unit: ``samples`` (a video without questions is one), ``hours`` of video, or ``tokens``. A video's hours and
            visual tokens count once for all its samples; in hours, a video that is kept brings all its samples.
        max_qa_per_video: questions that a video may have; None for any number.
        strata: columns that make the strata. ``duration_s`` is cut at ``duration_edges_s``; ``embedding_cluster`` is
            left out where the table has none.
        duration_edges_s: ascending seconds; a duration that equals an edge lies above it.
        floor: samples that every stratum keeps as long as the budget allows.
        alpha: from 0, equal strata, to 1, proportional ones.
        weights: signal -> weight in the score that ranks a stratum. The score sums weight x percentile of the signal
            among the candidates of its source, 1/2 where it has no value, so that scales don't matter.
        seed: of the order of equals.
    """

    budget: float | None
    unit: str
    max_qa_per_video: int | None
    strata: list[str]
    duration_edges_s: list[float]
    floor: int
    alpha: float
    weights: dict[str, float]
    seed: int

    def check(self) -> None:
        """Raise ``ConfigError`` for a value that has the right type but can't work."""
        if self.unit not in UNITS:
            raise ConfigError(f"{_CONFIG_KEY}.unit={self.unit}: expected one of {', '.join(UNITS)}")
        if self.budget is not None and not self.budget > 0:
            raise ConfigError(f"{_CONFIG_KEY}.budget={self.budget}: expected a number above 0, or null for no budget")
        if self.budget is not None and self.unit != "hours" and self.budget < 1:
            raise ConfigError(
                f"{_CONFIG_KEY}.budget={self.budget}: expected at least 1, for it counts {self.unit}; only "
                "unit=hours takes fractions"
            )
        if self.max_qa_per_video is not None and self.max_qa_per_video < 1:
            raise ConfigError(f"{_CONFIG_KEY}.max_qa_per_video={self.max_qa_per_video}: expected at least 1, or null")
        if not set(self.strata) <= set(STRATA):
            raise ConfigError(f"{_CONFIG_KEY}.strata={self.strata}: expected some of {', '.join(STRATA)}")
        if list(self.duration_edges_s) != sorted(set(self.duration_edges_s)):
            raise ConfigError(f"{_CONFIG_KEY}.duration_edges_s={self.duration_edges_s}: expected ascending seconds")
        if self.floor < 0:
            raise ConfigError(f"{_CONFIG_KEY}.floor={self.floor}: expected 0 or more")
        if not 0 <= self.alpha <= 1:
            raise ConfigError(f"{_CONFIG_KEY}.alpha={self.alpha}: expected a number from 0 to 1")


@dataclass(frozen=True)
class Selected:
    """What becomes of n candidates.

    Attributes:
        codes: (n,) int16, -1 for those that are kept, else the place of the reason in ``REASONS``.
        strata: dictionary of strings, e.g. ``activitynet/30-60 s/counting``.
        rank: (n,) int64 place in the stratum, 0 is the best; -1 for those with too many questions.
        score: (n,) float64 that ranks.
    """

    codes: np.ndarray
    strata: pa.DictionaryArray
    rank: np.ndarray
    score: np.ndarray


def select(candidates: pa.Table, selection: Selection) -> Selected:
    """Keep at most ``max_qa_per_video`` questions of every video, and then what fits the budget.

    The budget is never exceeded, and what is left of it is less than the next candidate costs. The result depends on
    the order of rows nowhere.

    Args:
        candidates: ``id`` string, unique; ``video`` integer, equal for the samples of a video; ``task_type`` string,
            null for a video without questions; the columns of ``selection.strata``; ``source``; those signals of
            ``selection.weights`` that were measured; ``visual_tokens`` of the video and ``text_tokens`` of the sample,
            null for a video without questions, for a budget in tokens.

    Raises:
        ConfigError: for a budget in tokens where tokens weren't counted.
    """
    tie = _hashes(candidates["id"], selection.seed)
    codes = np.full(len(tie), -1, np.int16)
    codes[_beyond_limit(candidates, tie, selection)] = REASONS.index("too_many_questions")
    strata = _strata(candidates, selection)
    stratum = strata.indices.to_numpy()
    score = _scores(candidates, selection)
    left = np.flatnonzero(codes < 0)
    left = left[np.lexsort((tie[left], -score[left], stratum[left]))]
    rank = np.full(len(tie), -1, np.int64)
    rank[left] = _place_in_run(stratum[left])
    if selection.budget is not None:
        size = np.bincount(stratum[left], minlength=len(strata.dictionary))[stratum[left]]
        after_floor = rank[left] >= selection.floor
        turn = np.where(after_floor, (rank[left] + 0.5) / size**selection.alpha, rank[left])
        order = left[np.lexsort((tie[left], turn, after_floor))]
        codes[order[~_affordable(candidates, order, selection)]] = REASONS.index("over_budget")
    return Selected(codes, strata, rank, score)


def _beyond_limit(candidates: pa.Table, tie: np.ndarray, selection: Selection) -> np.ndarray:
    """Rows of the questions that their video has too many of: tasks take turns, and chance picks within a task."""
    video = candidates["video"].to_numpy()
    if selection.max_qa_per_video is None:
        return np.empty(0, np.int64)
    task = _numbered(candidates["task_type"])[0]
    order = np.lexsort((tie, task, video))
    turn = np.empty(len(order), np.int64)
    turn[order] = _place_in_run(video[order], task[order])
    order = np.lexsort((tie, turn, video))
    return order[_place_in_run(video[order]) >= selection.max_qa_per_video]


def _affordable(candidates: pa.Table, order: np.ndarray, selection: Selection) -> np.ndarray:
    """(len(order),) bool, whether each of the rows ``order``, in the order of their turn, is paid for."""
    assert selection.budget is not None
    video = np.unique(candidates["video"].to_numpy()[order], return_inverse=True)[1]
    of_video, own, budget = _costs(candidates, selection, selection.budget)
    of_video, own = of_video[order], own[order]
    possible = of_video + own <= budget  # what costs more than all must not stop the others
    first = np.zeros(len(video), bool)
    first[np.flatnonzero(possible)[np.unique(video[possible], return_index=True)[1]]] = True
    cost = np.where(possible, own + np.where(first, of_video, 0), 0)
    kept = possible & (np.cumsum(cost) <= budget)
    paid = np.zeros(video.max(initial=-1) + 1, bool)
    paid[video[kept]] = True
    return kept | (possible & paid[video] & (own == 0))


def _costs(candidates: pa.Table, selection: Selection, budget: float) -> tuple[np.ndarray, np.ndarray, int]:
    """(n,) int64 of the videos, (n,) int64 of the samples alone, and the budget: samples, milliseconds or tokens."""
    nothing = np.zeros(len(candidates), np.int64)
    if selection.unit == "samples":
        return nothing, nothing + 1, int(budget)
    if selection.unit == "hours":
        seconds = candidates["duration_s"].to_numpy()
        assert not np.isnan(seconds).any(), "a video that decodes has a duration"
        return np.ceil(seconds * 1000).astype(np.int64), nothing, int(budget * 3_600_000)
    if not {"visual_tokens", "text_tokens"} <= set(candidates.column_names):
        raise ConfigError(f"{_CONFIG_KEY}.unit=tokens: tokens weren't counted; expected samples or hours")
    text = pc.fill_null(candidates["text_tokens"].cast(pa.int64()), 0)  # a video without questions has no text
    return candidates["visual_tokens"].to_numpy(), text.to_numpy(), int(budget)


def _scores(candidates: pa.Table, selection: Selection) -> np.ndarray:
    source = _numbered(candidates["source"])[0]
    score = np.zeros(len(candidates))
    for signal, weight in selection.weights.items():
        if signal in candidates.column_names:
            score += weight * _percentiles(candidates[signal].cast(pa.float64()).to_numpy(), source)
    return score


def _percentiles(values: np.ndarray, group: np.ndarray) -> np.ndarray:
    """(n,) share of the group's values that are lower, equal ones counted half; 1/2 for NaN."""
    percentile = np.full(len(values), 0.5)
    rows = np.flatnonzero(~np.isnan(values))
    rows = rows[np.lexsort((values[rows], group[rows]))]
    first, count = _runs(group[rows], values[rows])
    middle = np.repeat(first + count / 2, count)
    first, count = _runs(group[rows])
    percentile[rows] = (middle - np.repeat(first, count)) / np.repeat(count, count)
    return percentile


def _strata(candidates: pa.Table, selection: Selection) -> pa.DictionaryArray:
    combined, labels = np.zeros(len(candidates), np.int64), [""]
    for column in selection.strata:
        if column == "embedding_cluster" and column not in candidates.column_names:
            continue
        if column == "duration_s":
            edges = np.asarray(selection.duration_edges_s)
            part = np.searchsorted(edges, candidates[column].to_numpy(), side="right")
            names = _duration_names(list(selection.duration_edges_s))
        else:
            part, names = _numbered(candidates[column])
        found, combined = np.unique(combined * len(names) + part, return_inverse=True)
        labels = [f"{labels[f // len(names)]}/{names[f % len(names)]}" for f in found.tolist()]
    return pa.DictionaryArray.from_arrays(
        pa.array(combined.astype(np.int32)), pa.array([label.removeprefix("/") for label in labels])
    )


def _duration_names(edges: list[float]) -> list[str]:
    between = [f"{low:g}-{high:g} s" for low, high in pairwise(edges)]
    return [f"under {edges[0]:g} s", *between, f"from {edges[-1]:g} s"] if edges else ["any duration"]


def _numbered(column: pa.ChunkedArray) -> tuple[np.ndarray, list[str]]:
    """(n,) int64 numbers of the values in their order, and the values as text; null is ``none``."""
    encoded = column.combine_chunks().dictionary_encode(null_encoding="encode")
    names = ["none" if value is None else str(value) for value in encoded.dictionary.to_pylist()]
    order = sorted(range(len(names)), key=names.__getitem__)
    place = np.empty(len(names), np.int64)
    place[order] = np.arange(len(names))
    return place[encoded.indices.to_numpy()], [names[i] for i in order]


def _runs(*columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where runs of rows with equal values start, and how many rows each has."""
    new = np.ones(len(columns[0]), bool)
    new[1:] = np.any([column[1:] != column[:-1] for column in columns], axis=0)
    first = np.flatnonzero(new)
    return first, np.diff(np.append(first, len(new)))


def _place_in_run(*columns: np.ndarray) -> np.ndarray:
    """(n,) 0, 1, 2, ... in every run of equal values."""
    first, count = _runs(*columns)
    return np.arange(len(columns[0])) - np.repeat(first, count)


def _hashes(ids: pa.ChunkedArray, seed: int) -> np.ndarray:
    """(n,) uint64 of every id, the same in every run and on every machine."""
    key = seed.to_bytes(8, "big", signed=True)
    found = [np.empty(0, np.uint64)]
    for start in range(0, len(ids), _BLOCK):
        block = ids.slice(start, _BLOCK).to_pylist()
        digests = b"".join(hashlib.blake2b(i.encode(), digest_size=8, key=key).digest() for i in block)
        found.append(np.frombuffer(digests, ">u8").astype(np.uint64))
    return np.concatenate(found)
