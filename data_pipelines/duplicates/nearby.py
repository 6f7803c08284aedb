"""Which videos may show the same: those that have moments with almost equal hashes, found by sorting.

A moment is a frame and those one and two seconds later, 192 bits: one frame alone is like too many others among a
million videos. With its bits put in another order, it is a number; moments that look alike differ in few bits, and
where the first ones aren't among them, they stand beside each other when these numbers are sorted. Done in 16 random
orders (the idea of Charikar, "Similarity estimation techniques from rounding algorithms", 2002), n moments take
O(n log n) steps, however many of them are equal.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from data_pipelines.duplicates.sequences import Looks, Sequences
from recot.randomness import keyed_rng

ORDERS = 16
NEIGHBOURS = 4
"""On each side."""
SKETCH = 16
"""Moments of a video that take part in an order: its smallest ones. Videos that share frames share many of these."""
NEAR = 52
"""Bits of 192 in which neighbours may differ."""

_BLOCK = 1 << 20
_LONGEST = 1 << 18  # half seconds: 36 hours
_MOST_VIDEOS = 1 << 22


@dataclass(frozen=True)
class Hits:
    """Pairs of videos and how to lay one over the other.

    Attributes:
        left, right: ``(n,)`` int64: videos.
        shift: ``(n,)`` int64 half seconds: what ``left`` shows at t is what ``right`` shows at t + shift.
        mirrored: ``(n,)`` bool: the frames of ``left`` are mirrored.
    """

    left: np.ndarray
    right: np.ndarray
    shift: np.ndarray
    mirrored: np.ndarray

    def __len__(self) -> int:
        return len(self.left)

    def where(self, chosen: np.ndarray) -> "Hits":
        """Some of them, by a mask or indices."""
        return Hits(self.left[chosen], self.right[chosen], self.shift[chosen], self.mirrored[chosen])


def find_nearby(sequences: Sequences, looks: Looks, searched: int, seed: int) -> Iterator[Hits]:
    """For each order of bits, the pairs of videos that have neighbours; a pair may come again.

    Args:
        sequences: of V videos.
        looks: of these.
        searched: the first so many videos are searched for what is like the others, or all V for what is like each
            other. In the latter case, and only there, ``left < right``.
        seed: of the orders.

    Raises:
        ValueError: for more than 2 ** 22 videos or a video of more than 36 hours.
    """
    if len(sequences) > _MOST_VIDEOS or (sequences.lengths * sequences.steps).max(initial=0) > _LONGEST:
        raise ValueError(f"at most {_MOST_VIDEOS} videos of {_LONGEST // 7200} hours can be compared")
    within = searched == len(sequences)
    for number in range(ORDERS):
        order = keyed_rng("duplicates", "order of bits", seed, number).permutation(192)
        index = _sorted_index(_sketch(sequences, looks, 0 if within else searched, len(sequences), order))
        packed = [np.zeros(0, np.int64)]
        for mirrored in (False, True) if len(index.keys) else ():
            moments = _sketch(sequences, looks, 0, searched, order, mirrored=mirrored)
            packed += list(_beside(moments, index, mirrored=mirrored, ascending=within))
        hits = np.sort(np.concatenate(packed))
        new = np.ones(len(hits), dtype=bool)
        new[1:] = hits[1:] != hits[:-1]
        yield _unpack(hits[new])


@dataclass(frozen=True)
class _Moments:
    """``(n, 3)`` hashes, ``(n,)`` keys that they are sorted by, int32 half seconds when they begin, and videos."""

    hashes: np.ndarray
    keys: np.ndarray
    times: np.ndarray
    videos: np.ndarray

    def where(self, chosen: np.ndarray | slice) -> "_Moments":
        return _Moments(*(part[chosen] for part in vars(self).values()))


def _sketch(
    sequences: Sequences, looks: Looks, first: int, stop: int, order: np.ndarray, *, mirrored: bool = False
) -> _Moments:
    """The ``SKETCH`` smallest of each video, ``first <= video < stop``."""
    begin, end = (int(place) for place in np.searchsorted(looks.videos, [first, stop]))
    cuts = np.searchsorted(looks.videos, looks.videos[begin:end:_BLOCK])
    parts = [
        _smallest(sequences, looks, slice(int(a), int(b)), order, mirrored)
        for a, b in pairwise(np.unique([begin, *cuts, end]))
    ]
    empty = _Moments(np.zeros((0, 3), np.uint64), np.zeros(0, np.uint64), np.zeros(0, np.int32), np.zeros(0, np.int32))
    columns = zip(*(vars(part).values() for part in (empty, *parts)), strict=True)
    return _Moments(*(np.concatenate(column) for column in columns))


def _smallest(sequences: Sequences, looks: Looks, chosen: slice, order: np.ndarray, mirrored: bool) -> _Moments:
    """Of moments of whole videos."""
    frames, videos = looks.moments(sequences, chosen), looks.videos[chosen]
    hashes = sequences.values[frames + mirrored * sequences.mirrored_from]
    times = ((frames[:, 0] - sequences.starts[videos]) * sequences.steps[videos]).astype(np.int32)
    moments = _Moments(hashes, _keys(hashes, order), times, videos)
    begin = np.searchsorted(videos, videos)
    if (np.arange(len(videos)) - begin).max(initial=0) < SKETCH:
        return moments
    rank = np.empty(len(videos), np.int64)
    rank[np.lexsort((moments.keys, videos))] = np.arange(len(videos)) - begin
    return moments.where(rank < SKETCH)


def _sorted_index(moments: _Moments) -> _Moments:
    """By key, equal ones as they were; of neighbours that are from one video, the first."""
    moments = moments.where(np.argsort(moments.keys, kind="stable"))
    new = np.ones(len(moments.videos), dtype=bool)
    new[1:] = moments.videos[1:] != moments.videos[:-1]
    return moments.where(new)


def _beside(moments: _Moments, index: _Moments, *, mirrored: bool, ascending: bool) -> Iterator[np.ndarray]:
    """Packed hits of the moments among their neighbours in the index."""
    moments = moments.where(np.argsort(moments.keys, kind="stable"))
    for start in range(0, len(moments.keys), _BLOCK):
        block = moments.where(slice(start, start + _BLOCK))
        after = np.searchsorted(index.keys, block.keys)
        for step in range(-NEIGHBOURS, NEIGHBOURS):
            place = np.clip(after + step, 0, len(index.keys) - 1)
            near = np.flatnonzero(np.bitwise_count(block.hashes ^ index.hashes[place]).sum(1) <= NEAR)
            place = place[near]
            left, right = block.videos[near].astype(np.int64), index.videos[place].astype(np.int64)
            shift = index.times[place] - block.times[near].astype(np.int64)
            if ascending:
                swapped = left > right
                # Mirroring both videos changes nothing but which of them is called the mirrored one.
                left, right = np.where(swapped, right, left), np.where(swapped, left, right)
                shift = np.where(swapped, -shift, shift)
            yield _pack(left, right, shift, mirrored)[left != right]


def _keys(hashes: np.ndarray, order: np.ndarray) -> np.ndarray:
    """``(n,)`` uint64: bit k is bit ``order[k]`` of the 192 of three hashes."""
    place = np.zeros(order.size, np.uint64)
    place[order[:64]] = np.uint64(1) << np.arange(64, dtype=np.uint64)
    values = np.arange(256)
    result = np.zeros(len(hashes), np.uint64)
    for byte in range(order.size // 8):
        table = np.zeros(256, np.uint64)
        for bit in range(8):
            table |= np.where(values >> bit & 1, place[8 * byte + bit], np.uint64(0))
        result |= table[(hashes[:, byte // 8] >> np.uint64(8 * (byte % 8))).astype(np.uint8)]
    return result


def _pack(left: np.ndarray, right: np.ndarray, shift: np.ndarray, mirrored: bool) -> np.ndarray:
    """One int64 a hit: 22 bits a video, 19 for the shift, the sign for whether it is mirrored."""
    number = (left << 41) | (right << 19) | (shift + _LONGEST)
    return ~number if mirrored else number


def _unpack(packed: np.ndarray) -> Hits:
    mirrored = packed < 0
    number = np.where(mirrored, ~packed, packed)
    return Hits(number >> 41, number >> 19 & (_MOST_VIDEOS - 1), (number & 2 * _LONGEST - 1) - _LONGEST, mirrored)
