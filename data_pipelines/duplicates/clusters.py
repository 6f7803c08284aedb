"""From pairs of copies to clusters that are stars: every member is a copy of one video, the centre.

Pairs alone would chain: a is like b, b a bit like c, c a bit like d, until one cluster holds what has nothing in
common. So pairs only say which videos may belong together; then, in each such group, members are compared with the
centre itself, and those that aren't its copies are left for another centre or stay alone.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

PIVOTS = 8
"""Videos of a group that may become its centre: the longest. Groups of 8 or fewer are compared each with each."""
ROUNDS = 16
"""Clusters that a group can fall into; what is left then stays alone. So a tangle costs time linear in its size."""

Compare = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Two ``(n,)`` int64 of videos -> ``(n,)`` float64 scores, 0 for no copy, and ``(n,)`` kinds."""


class Groups:
    """Sets of videos, joined pair by pair; all alone at first."""

    def __init__(self, videos: int) -> None:
        self._parents = np.arange(videos)

    def join(self, left: np.ndarray, right: np.ndarray) -> None:
        """Put the sets of each pair together."""
        apart = self.apart(left, right)
        left, right = left[apart], right[apart]
        for a, b in zip(left.tolist(), right.tolist(), strict=True):
            first, second = self._root(a), self._root(b)
            self._parents[max(first, second)] = min(first, second)

    def apart(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """``(n,)`` bool: which pairs are in two sets."""
        labels = self.labels()
        return labels[left] != labels[right]

    def labels(self) -> np.ndarray:
        """``(V,)`` int64: the smallest video of each one's set."""
        while True:
            above = self._parents[self._parents]
            if np.array_equal(above, self._parents):
                return above
            self._parents = above

    def _root(self, video: int) -> int:
        parents = self._parents
        while parents[video] != video:
            parents[video] = parents[parents[video]]
            video = int(parents[video])
        return video


@dataclass(frozen=True)
class Stars:
    """Clusters of V videos.

    Attributes:
        centre: ``(V,)`` int64: each video's centre, itself if it is alone.
        nearest: ``(V,)`` int64: the centre; for a centre, the member with the best score; -1 if alone.
        score: ``(V,)`` float64: of that pair, 0 if alone.
        kind: ``(V,)`` int64: of that pair.
    """

    centre: np.ndarray
    nearest: np.ndarray
    score: np.ndarray
    kind: np.ndarray


def stars(groups: np.ndarray, lengths: np.ndarray, compare: Compare) -> Stars:
    """Clusters within groups.

    The centre is the one of the ``PIVOTS`` longest members that has most copies in the group (of equals the longest,
    then the first), and takes these; then the same again with the others.

    Args:
        groups: ``(V,)`` int64: label of each video's group.
        lengths: ``(V,)`` int64.
        compare: two videos at a time; the same whichever comes first.
    """
    count = len(groups)
    result = Stars(np.arange(count), np.full(count, -1), np.zeros(count), np.zeros(count, int))
    active = np.flatnonzero(np.bincount(groups, minlength=count)[groups] > 1)
    for _ in range(ROUNDS):
        active = active[np.lexsort((active, -lengths[active], groups[active]))]
        begin = np.searchsorted(groups[active], groups[active])
        size = np.searchsorted(groups[active], groups[active], side="right") - begin
        active, begin, size = active[size > 1], begin[size > 1], size[size > 1]
        if not len(active):
            break
        begin = np.searchsorted(groups[active], groups[active])
        active = active[_one_round(active, begin, size, compare, result)]
    return result


def _one_round(active: np.ndarray, begin: np.ndarray, size: np.ndarray, compare: Compare, result: Stars) -> np.ndarray:
    """Take a cluster out of each group; which of the videos are left, as a mask.

    Args:
        active: ``(n,)`` videos, group by group, the longest first.
        begin: ``(n,)`` where in ``active`` each one's group begins.
        size: ``(n,)`` how many it has.
        compare: as for ``stars``.
        result: filled in.
    """
    pivots = np.minimum(size, PIVOTS)
    member = np.repeat(np.arange(len(active)), pivots)
    rank = np.arange(len(member)) - np.repeat(np.cumsum(pivots) - pivots, pivots)
    pivot = begin[member] + rank
    # Of two pivots, the pair comes once.
    once = (pivot < member) | (member - begin[member] >= PIVOTS)
    pivot, member = pivot[once], member[once]
    score, kind = compare(active[pivot], active[member])
    found = score > 0
    pivot, member, score, kind = pivot[found], member[found], score[found], kind[found]
    mutual = member - begin[member] < PIVOTS
    both = (np.concatenate([pivot, member[mutual]]), np.concatenate([member, pivot[mutual]]))
    score, kind = np.concatenate([score, score[mutual]]), np.concatenate([kind, kind[mutual]])
    copies = np.bincount(both[0], minlength=len(active))
    order = np.lexsort((np.arange(len(active)), -copies, begin))
    centres = order[np.unique(begin[order], return_index=True)[1]]
    chosen = np.zeros(len(active), dtype=bool)
    chosen[centres[copies[centres] > 0]] = True
    taken = chosen[both[0]]
    _record(result, active[both[0][taken]], active[both[1][taken]], score[taken], kind[taken])
    left = ~chosen
    left[both[1][taken]] = False
    # Pivots that have no copy are alone for good, so that others come to be pivots.
    barren = (np.arange(len(active)) - begin < PIVOTS) & (copies == 0)
    return left & ~barren


def _record(result: Stars, centre: np.ndarray, member: np.ndarray, score: np.ndarray, kind: np.ndarray) -> None:
    result.centre[member] = centre
    result.nearest[member], result.score[member], result.kind[member] = centre, score, kind
    order = np.lexsort((-member, score, centre))  # of each centre, the best comes last
    centre, member, score, kind = centre[order], member[order], score[order], kind[order]
    result.nearest[centre], result.score[centre], result.kind[centre] = member, score, kind
