"""The training order against its promises: complete, pure, local, proportional, and the same from any position."""

import subprocess
import sys
from itertools import islice, pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from recot.data.order import Draw, SourceFacts, TrainOrder, interleave, plan_batches, plan_once, shares, shuffled

SMALL = settings(max_examples=60, deadline=None)


@st.composite
def orders(draw: st.DrawFn, budget: bool = True) -> TrainOrder:
    sizes = draw(st.lists(st.integers(1, 30), min_size=1, max_size=3))
    weights = draw(st.none() | st.lists(st.floats(0.05, 5), min_size=len(sizes), max_size=len(sizes)))
    costs = [np.array(draw(st.lists(st.integers(1, 9), min_size=n, max_size=n))) for n in sizes]
    shard_size = draw(st.integers(1, 12))
    facts = [
        SourceFacts(np.arange(n) // shard_size, cost, quota)
        for n, cost, quota in zip(sizes, costs, shares(sizes, weights), strict=True)
    ]
    return TrainOrder(
        facts,
        seed=draw(st.integers(0, 3)),
        batch_size=draw(st.integers(1, 6)),
        token_budget=draw(st.none() | st.integers(9, 30)) if budget else None,
        shuffle_window=draw(st.integers(1, 40)),
    )


def epoch_of(order: TrainOrder, epoch: int) -> list[list[Draw]]:
    return [draws for draws, _ in islice(order.walk(epoch, 0, 0, 1), order.batch_count(epoch))]


def flat(batches: list[list[Draw]]) -> list[Draw]:
    return [draw for batch in batches for draw in batch]


@given(shards=st.lists(st.integers(0, 6), min_size=1, max_size=60), window=st.integers(1, 70), seed=st.integers(0, 9))
@SMALL
def test_shuffle_is_shards_as_wholes_then_windows(shards: list[int], window: int, seed: int) -> None:
    shard = np.sort(np.array(shards))
    order = shuffled(shard, window, seed, "x")
    assert sorted(order.tolist()) == list(range(len(shard)))
    unshuffled = shuffled(shard, 1, seed, "x")
    runs = [int(shard[i]) for i in unshuffled]
    starts = [run for previous, run in pairwise([None, *runs]) if run != previous]
    assert len(starts) == len(set(shards)), "with windows of one sample each shard is one contiguous run"
    assert all(i < j for i, j in pairwise(unshuffled.tolist()) if shard[i] == shard[j])
    for first in range(0, len(order), window):
        assert set(order[first : first + window]) == set(unshuffled[first : first + window])


def test_shuffle_mixes_neighbours_and_moves_shards() -> None:
    shard = np.repeat(np.arange(20), 50)
    order = shuffled(shard, 200, 0, "x")
    assert len(set(shard[order[:200]])) >= 4
    assert np.count_nonzero(np.diff(order) == 1) < 20
    first_shards = {int(shuffled(shard, 1, seed, "x")[0] // 50) for seed in range(40)}
    assert len(first_shards) > 10


@given(
    costs=st.lists(st.integers(1, 9), min_size=1, max_size=50),
    batch_size=st.integers(1, 7),
    budget=st.none() | st.integers(9, 40),
)
@SMALL
def test_batches_are_as_full_as_the_limits_allow(costs: list[int], batch_size: int, budget: int | None) -> None:
    starts = plan_batches(np.array(costs), batch_size, budget).tolist()
    batches = [costs[first:last] for first, last in pairwise(starts)]
    limit = float("inf") if budget is None else budget
    assert [cost for batch in batches for cost in batch] == costs
    assert all(1 <= len(batch) <= batch_size and sum(batch) <= limit for batch in batches)
    for batch, following in pairwise(batches):
        assert len(batch) == batch_size or sum(batch) + following[0] > limit


@given(quotas=st.lists(st.integers(1, 40), min_size=1, max_size=4))
@SMALL
def test_sources_are_interleaved_evenly(quotas: list[int]) -> None:
    source = interleave(quotas)
    assert np.bincount(source, minlength=len(quotas)).tolist() == quotas
    for number, quota in enumerate(quotas):
        have = np.cumsum(source == number)
        want = np.arange(1, len(source) + 1) * quota / len(source)
        assert np.abs(have - want).max() <= len(quotas) / 2 + 0.5


def test_shares_follow_weights_and_keep_the_epoch_size() -> None:
    assert shares([10, 1000], None) == [10, 1000]
    assert shares([10, 990], [1, 1]) == [500, 500]
    assert shares([100, 100], [3, 1]) == [150, 50]
    assert shares([100, 100], [1e-9, 1]) == [1, 200], "no source is left out altogether"


@given(order=orders(), epoch=st.integers(0, 4))
@SMALL
def test_an_epoch_is_a_pure_function(order: TrainOrder, epoch: int) -> None:
    again = TrainOrder(
        order.sources,
        seed=order.seed,
        batch_size=order.batch_size,
        token_budget=order.token_budget,
        shuffle_window=order.shuffle_window,
    )
    for other in (3, 0, 1):  # whatever was planned before
        again.batch_count(other)
    assert epoch_of(order, epoch) == epoch_of(again, epoch)


@given(order=orders())
@SMALL
def test_sources_go_on_through_their_own_passes(order: TrainOrder) -> None:
    draws = [draw for epoch in range(4) for draw in flat(epoch_of(order, epoch))]
    for number, source in enumerate(order.sources):
        mine = [draw for draw in draws if draw.source == number]
        size = len(source.shards)
        assert len(mine) == 4 * source.quota
        assert [draw.lap for draw in mine] == [place // size for place in range(len(mine))]
        for lap in range(len(mine) // size):
            assert sorted(draw.sample for draw in mine if draw.lap == lap) == list(range(size))


def test_seeds_epochs_and_sources_give_other_orders() -> None:
    shard = np.arange(100) // 10
    cost = np.ones(100, dtype=np.int64)

    def first_epochs(seed: int) -> list[list[int]]:
        facts = [SourceFacts(shard, cost, 100), SourceFacts(shard, cost, 100)]
        order = TrainOrder(facts, seed=seed, batch_size=8, token_budget=None, shuffle_window=50)
        epochs = [flat(epoch_of(order, epoch)) for epoch in range(2)]
        return [[draw.sample for draw in epoch if draw.source == number] for epoch in epochs for number in range(2)]

    sequences = first_epochs(0) + first_epochs(1)
    assert len({tuple(sequence) for sequence in sequences}) == len(sequences)


@given(order=orders(), world_size=st.integers(1, 5), start=st.integers(0, 40))
@SMALL
def test_ranks_share_the_planned_batches(order: TrainOrder, world_size: int, start: int) -> None:
    counts = [order.batch_count(epoch) for epoch in range(60)]
    if min(counts) < world_size:
        return
    position = start % counts[0]
    steps = 12
    walks = [list(islice(order.walk(0, position, rank, world_size), steps)) for rank in range(world_size)]
    expected: list[list[Draw]] = []
    epoch, here = 0, position
    while len(expected) < steps * world_size:
        whole = (counts[epoch] - here) // world_size * world_size
        expected += epoch_of(order, epoch)[here : here + whole]
        epoch, here = epoch + 1, 0
    for step in range(steps):
        assert [walk[step][0] for walk in walks] == expected[step * world_size : (step + 1) * world_size]
        assert len({walk[step][1] for walk in walks}) == 1, "all ranks stand at the same place after a step"


@given(order=orders(), stop=st.integers(1, 30), world_size=st.integers(1, 3), other=st.integers(1, 3))
@SMALL
def test_going_on_from_a_position_with_another_world_size(
    order: TrainOrder, stop: int, world_size: int, other: int
) -> None:
    if min(order.batch_count(epoch) for epoch in range(60)) < max(world_size, other):
        return
    _, (epoch, position) = next(islice(order.walk(0, 0, 0, world_size), stop - 1, None))
    assert 0 <= position < order.batch_count(epoch)
    rest = epoch_of(order, epoch)[position:]
    whole = len(rest) // other * other
    walks = [list(islice(order.walk(epoch, position, rank, other), whole // other)) for rank in range(other)]
    assert [walk[step][0] for step in range(whole // other) for walk in walks] == rest[:whole]
    unbroken = list(islice(order.walk(0, 0, 0, world_size), stop + 5))
    assert list(islice(order.walk(epoch, position, 0, world_size), 5)) == unbroken[stop:]


def test_validation_takes_every_sample_once_in_index_order() -> None:
    batches = plan_once([np.array([4, 4, 2]), np.array([1, 8])], 2, 8)
    assert batches == [[Draw(0, 0, 0), Draw(0, 1, 0)], [Draw(0, 2, 0), Draw(1, 0, 0)], [Draw(1, 1, 0)]]


def test_order_stays_as_it_was_in_earlier_checkpoints() -> None:
    """A checkpoint's position means nothing once this changes; another process must agree too."""
    code = (
        "import numpy as np; from itertools import islice; from recot.data.order import SourceFacts, TrainOrder;"
        "o = TrainOrder([SourceFacts(np.arange(9) // 4, np.ones(9, int), 9)], seed=7, batch_size=4, token_budget=None,"
        "shuffle_window=6); print([[d.sample for d in b] for b, _ in islice(o.walk(1, 0, 0, 1), 3)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[[1, 4, 7, 5], [0, 6, 8, 3], [2]]"
