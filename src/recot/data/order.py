"""Which sample comes when: the training order, as a pure function of (seed, epoch) and of the indexed data.

Nothing here depends on workers, ranks, earlier epochs or a global state, so any position of any epoch can be
computed at once, and a run that resumes there sees what an unbroken run would have seen.

Legend: N samples of a source, E draws of an epoch, B planned batches of an epoch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from recot.randomness import keyed_rng


class Draw(NamedTuple):
    """One place of a batch: a sample of a source, both by number, drawn for the ``lap``-th time (0, 1, ...)."""

    source: int
    sample: int
    lap: int


@dataclass(frozen=True)
class SourceFacts:
    """What the order needs to know of one shard folder.

    Attributes:
        shards: (N,) int64, the shard each sample is in.
        costs: (N,) int64, encoder tokens a draw of each sample costs.
        quota: draws of an epoch that come from this source, at least 1.
    """

    shards: np.ndarray
    costs: np.ndarray
    quota: int


def shares(sizes: Sequence[int], weights: Sequence[float] | None) -> list[int]:
    """How many draws of an epoch each source gets.

    Without weights every sample is drawn once an epoch. With weights an epoch has still as many draws as all
    sources have samples (up to rounding), and each source has its part of them, at least one (our choice).

    Args:
        sizes: samples of each source.
        weights: positive, on any scale.
    """
    if weights is None:
        return list(sizes)
    total = sum(weights)
    return [max(1, round(sum(sizes) * weight / total)) for weight in weights]


def shuffled(shards: np.ndarray, window: int, *key: int | str) -> np.ndarray:
    """One pass over a source: shards in random order, samples shuffled within windows of that sequence.

    Reading stays local (a window touches a few neighbouring shards), and no shuffle buffer has to be filled or
    saved: the sequence is cut into blocks of ``window`` samples and each block is permuted.

    Args:
        shards: (N,) int64, the shard each sample is in.
        window: samples of a block, at least 1.
        key: the whole of the randomness.

    Returns:
        (N,) int64, a permutation of ``0..N-1``.
    """
    rng = keyed_rng(*key)
    names, which = np.unique(shards, return_inverse=True)
    rank = rng.permutation(len(names))
    order = np.argsort(rank[which], kind="stable")
    block = np.arange(len(order)) // window
    return order[np.lexsort((rng.random(len(order)), block))]


def interleave(quotas: Sequence[int]) -> np.ndarray:
    """Sources mixed as evenly as their shares allow: source i's j-th draw stands at the time (j + 1/2) / quota.

    Returns:
        (sum of quotas,) int64, the source of each draw.
    """
    source = np.repeat(np.arange(len(quotas)), quotas)
    time = np.concatenate([(np.arange(quota) + 0.5) / quota for quota in quotas])
    return source[np.lexsort((source, time))]


def plan_batches(costs: np.ndarray, batch_size: int, token_budget: int | None) -> np.ndarray:
    """Where batches start: each takes draws until one more would exceed the count or the budget.

    Args:
        costs: (E,) int64 encoder tokens of each draw, none over the budget.
        batch_size: most samples of a batch.
        token_budget: most encoder tokens of a batch, or None.

    Returns:
        (B + 1,) int64, batch b being draws ``starts[b]:starts[b + 1]``.
    """
    if token_budget is None:
        return np.append(np.arange(0, len(costs), batch_size), len(costs))
    starts, count, tokens = [0], 0, 0
    for place, cost in enumerate(costs.tolist()):
        if count == batch_size or tokens + cost > token_budget:
            starts.append(place)
            count, tokens = 0, 0
        count += 1
        tokens += cost
    return np.array([*starts, len(costs)], dtype=np.int64)


def plan_once(costs: Sequence[np.ndarray], batch_size: int, token_budget: int | None) -> list[list[Draw]]:
    """Every sample of every source once, in the order of the index, in batches as `plan_batches` makes them.

    Args:
        costs: of each source, (N,) int64 encoder tokens of its samples.
        batch_size: most samples of a batch.
        token_budget: most encoder tokens of a batch, or None.
    """
    draws = [Draw(number, sample, 0) for number, source in enumerate(costs) for sample in range(len(source))]
    starts = plan_batches(np.concatenate(costs), batch_size, token_budget)
    return [draws[first:last] for first, last in pairwise(starts.tolist())]


class TrainOrder:
    """The planned batches of every epoch, and the way through them for one rank.

    A source with quota q contributes draws ``epoch * q .. (epoch + 1) * q`` of an endless sequence: pass after
    pass over its samples, each pass (``lap``) shuffled anew. So a source whose share is larger than its size
    repeats within an epoch, and one whose share is smaller goes on in the next epoch where it stopped.
    """

    def __init__(
        self,
        sources: Sequence[SourceFacts],
        *,
        seed: int,
        batch_size: int,
        token_budget: int | None,
        shuffle_window: int,
    ) -> None:
        self.sources = list(sources)
        self.seed = seed
        self.batch_size = batch_size
        self.token_budget = token_budget
        self.shuffle_window = shuffle_window
        # Of two epochs because the workers read ahead into the next one while this one is trained.
        self._planned = lru_cache(maxsize=2)(self._plan)

    def mean_cost(self) -> float:
        """Encoder tokens of an epoch; exact where every sample is drawn once, else on average."""
        return sum(float(source.costs.mean()) * source.quota for source in self.sources)

    def batch_count(self, epoch: int) -> int:
        """B, before batches are dealt to ranks. Differs between epochs only under a token budget."""
        return len(self._planned(epoch)[1]) - 1

    def advance(self, epoch: int, position: int, world_size: int) -> tuple[int, int]:
        """The (epoch, position) after all ranks have taken one batch from ``position``.

        A rest of fewer batches than ranks is dropped: every rank has the same number of batches.
        """
        position += world_size
        if position + world_size > self.batch_count(epoch):
            return epoch + 1, 0
        return epoch, position

    def walk(
        self, epoch: int, position: int, rank: int, world_size: int
    ) -> Iterator[tuple[list[Draw], tuple[int, int]]]:
        """A rank's batches from ``position`` on, through all later epochs, without end.

        Args:
            epoch: where to start.
            position: the next planned batch of that epoch, counted over all ranks.
            rank: takes batches ``position + rank``, ``position + world_size + rank``, ...
            world_size: number of ranks.

        Yields:
            ``(draws, (epoch, position))``: a batch, and where all ranks stand after it.
        """
        if position + world_size > self.batch_count(epoch):
            epoch, position = epoch + 1, 0
        while True:
            after = self.advance(epoch, position, world_size)
            yield self._batch(epoch, position + rank), after
            epoch, position = after

    def _batch(self, epoch: int, position: int) -> list[Draw]:
        draws, starts = self._planned(epoch)
        return [Draw(*draw) for draw in draws[starts[position] : starts[position + 1]].tolist()]

    def _plan(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """``(draws, starts)``: (E, 3) int64 source, index, lap; and (B + 1,) int64 as `plan_batches`."""
        draws = np.empty((sum(source.quota for source in self.sources), 3), dtype=np.int64)
        costs = np.empty(len(draws), dtype=np.int64)
        mixed = interleave([source.quota for source in self.sources])
        for number, source in enumerate(self.sources):
            places = np.flatnonzero(mixed == number)
            index, lap = self._source_draws(number, epoch)
            draws[places] = np.stack([np.full_like(index, number), index, lap], axis=1)
            costs[places] = source.costs[index]
        return draws, plan_batches(costs, self.batch_size, self.token_budget)

    def _source_draws(self, number: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """``(index, lap)``, both (quota,) int64: what source ``number`` contributes to an epoch."""
        source = self.sources[number]
        size = len(source.shards)
        place = np.arange(epoch * source.quota, (epoch + 1) * source.quota)
        lap = place // size
        index = np.empty_like(place)
        for one in np.unique(lap):
            order = shuffled(source.shards, self.shuffle_window, self.seed, int(one), number, "order")
            index[lap == one] = order[place[lap == one] % size]
        return index, lap
