"""Which member of a cluster of duplicates stays."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

KINDS = ("exact", "packets", "perceptual", "semantic")
"""From the same bytes to the same meaning."""
_PACKETS, _PERCEPTUAL = KINDS.index("packets"), KINDS.index("perceptual")


@dataclass(frozen=True)
class Copies:
    """What n videos copy.

    Attributes:
        of: (n,) int64, row of the video that stays instead of this one; -1 where none does.
        kind: (n,) int16, place in ``KINDS`` of how alike the two are; -1 where ``of`` is.
        merged: (n,) bool, copies with the same pictures at the same times: their questions hold for the kept video.
    """

    of: np.ndarray
    kind: np.ndarray
    merged: np.ndarray


def find_copies(videos: pa.Table, good: np.ndarray, kinds: Collection[str]) -> Copies:
    """Choose who stays: of each content, and then of each cluster of near duplicates, the best good member.

    The best one has the longest duration (to 0.1 s, since copies in other containers differ in the last digits), then
    the most pixels, then the best health, then comes first. A cluster without a good member has no copies in it.

    Args:
        videos: ``key`` string, null where unreadable; where they are known, ``packet_md5``, ``duration_s``,
            ``width``, ``height``, ``rotation``, ``health``, and ``cluster_id`` with ``dup_kind``.
        good: (n,) bool, videos without another reason to go.
        kinds: near duplicates that go; members of a cluster whose ``dup_kind`` is another one stay out of it.
    """
    itself = np.arange(len(videos))
    order = _best_first(videos)
    content = _numbers(videos, "key")
    stays = np.where(good & (content < 0), itself, _best(content, good, order))
    wanted = pa.array([None, "exact", *kinds], pa.string())
    clusters = _numbers(videos, "cluster_id")
    if "dup_kind" in videos.column_names:
        clusters[~np.asarray(pc.is_in(videos["dup_kind"].combine_chunks(), value_set=wanted))] = -1
    if kinds:
        in_cluster = _best(clusters, good & (stays == itself), order)
        stays = np.where(stays >= 0, stays, itself)
        stays = np.where(in_cluster[stays] >= 0, in_cluster[stays], stays)
        stays = np.where(good[stays], stays, -1)
    of = np.where(stays == itself, -1, stays)
    kind = _kinds(videos, of)
    return Copies(of, kind, (kind >= 0) & (kind <= _PACKETS))


def _best_first(videos: pa.Table) -> np.ndarray:
    """(n,) rows from the best to the worst."""
    pixels = _floats(videos, "width") * _floats(videos, "height")
    duration = np.round(_floats(videos, "duration_s"), 1)
    return np.lexsort((-_floats(videos, "health"), -pixels, -duration))


def _best(groups: np.ndarray, good: np.ndarray, order: np.ndarray) -> np.ndarray:
    """(n,) int64 row of the group's first good row in ``order``; -1 where there is none and for group -1."""
    best = np.full(groups.max(initial=-1) + 2, -1, np.int64)  # the last one is that of group -1
    candidates = order[good[order] & (groups[order] >= 0)][::-1]
    best[groups[candidates]] = candidates  # of equal places, the last one written counts
    return best[groups]


def _kinds(videos: pa.Table, of: np.ndarray) -> np.ndarray:
    kind = np.full(len(videos), -1, np.int16)
    rows = np.flatnonzero(of >= 0)
    said = np.zeros(len(videos), np.int16)
    if "dup_kind" in videos.column_names:
        said = pc.fill_null(pc.index_in(videos["dup_kind"], value_set=pa.array(KINDS)), 0).to_numpy().astype(np.int16)
    # What a member was found by may tie it to a third one, so that being the same is looked up.
    kind[rows] = np.maximum(np.maximum(said[rows], said[of[rows]]), _PERCEPTUAL)
    turned = _floats(videos, "rotation")  # the same packets in another rotation show something else
    for place, column, same in ((_PACKETS, "packet_md5", turned[rows] == turned[of[rows]]), (0, "key", True)):
        content = _numbers(videos, column)
        kind[rows[(content[rows] == content[of[rows]]) & (content[rows] >= 0) & same]] = place
    return kind


def _numbers(videos: pa.Table, column: str) -> np.ndarray:
    """(n,) int64, equal for equal values; -1 for null, or for all where the table has no such column."""
    if column not in videos.column_names:
        return np.full(len(videos), -1, np.int64)
    indices = videos[column].combine_chunks().dictionary_encode().indices
    return pc.fill_null(indices, -1).to_numpy().astype(np.int64)


def _floats(videos: pa.Table, column: str) -> np.ndarray:
    """(n,) float64, -1 for what isn't known."""
    if column not in videos.column_names:
        return np.full(len(videos), -1.0)
    return np.nan_to_num(videos[column].cast(pa.float64()).to_numpy(), nan=-1.0)
