"""Which videos of a corpus are duplicates of others."""

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_pipelines.duplicates.clusters import Groups, Stars, stars
from data_pipelines.duplicates.matching import KINDS, Matcher
from data_pipelines.duplicates.settings import DuplicateSettings

EXACT, PACKETS = "exact", "packets"
_NO_PACKETS = hashlib.md5(b"", usedforsecurity=False).hexdigest()


def find_duplicates(videos: pa.Table, *, settings: DuplicateSettings) -> pa.Table:
    """Clusters of videos that are the same or show the same.

    Four steps, each among what the ones before left as different: the same bytes (``key``), the same packets in another
    container (``packet_md5``), the same frames (perceptual hashes, also trimmed or mirrored), the same content (frame
    embeddings; SemDeDup, arXiv 2303.09540). Every member of a cluster was compared with its centre, see ``clusters``.
    The same packets shown in two rotations are one cluster with the copies of both.

    V videos take O(V log V) time and, besides the table, about 2 kB each for short videos: for every hash 17 bytes and
    for the 16 smallest of each video some 100; and C floats where there are embeddings of C channels.

    Args:
        videos: one row each: ``video_id``, ``key``, ``packet_md5``, ``duration_s``, ``hashes``, ``mirrored_hashes``,
            perhaps ``rotation`` and, if they were embedded, ``embeddings`` and ``embedding_frames``; null where a video
            has none of it.
        settings: what is a copy.

    Returns:
        A row for each video, in the same order; the clusters don't depend on that order:
        ``video_id``;
        ``cluster_id`` int64, numbered by the first id of each cluster, of single videos too;
        ``dup_kind``: ``exact``, ``packets``, ``perceptual`` or ``semantic``, null for single videos;
        ``dup_score`` double: 1 for the first two, the share of the shorter video's frames that match, or the mean
        cosine of frames; null for single videos;
        ``dup_nearest``: the video that kind and score are about: the first one with the same bytes or packets, the
        cluster's centre, or the one that is most like the centre.

    Raises:
        ConfigError: for impossible settings.
        ValueError: if two videos have one id.
    """
    settings.check("duplicates")
    order = pc.sort_indices(videos["video_id"]).to_numpy().astype(np.int64)
    ids = videos["video_id"].take(pa.array(order))
    if pc.count_distinct(ids).as_py() != len(ids):
        raise ValueError("two videos have the same video_id")
    packets = known_packets(videos["packet_md5"])
    keys, md5s, shown = (codes(column)[order] for column in (videos["key"], packets, _as_shown(videos, packets)))
    content, node = np.unique(same_content(keys, shown), return_inverse=True)
    hashes = pc.fill_null(pc.list_value_length(videos["hashes"]), 0).to_numpy()[order]
    most = np.lexsort((-hashes, node))[np.searchsorted(np.sort(node), np.arange(len(content)))]
    found = _stars(Matcher(videos, order[most], settings))
    score = np.where(found.nearest >= 0, found.score, np.nan)[node]
    nearest = np.where(found.nearest >= 0, most[found.nearest], -1)[node]
    kind = np.where(found.nearest >= 0, np.array(KINDS, object)[found.kind], None)[node]
    for name, same in ((PACKETS, first_other(md5s)), (EXACT, first_other(keys))):
        kind[same >= 0], score[same >= 0] = name, 1.0
        nearest = np.where(same >= 0, same, nearest)
    back = np.argsort(order)
    columns = {
        "video_id": videos["video_id"],
        "cluster_id": _numbered(same_content(found.centre[node], md5s))[back],
        "dup_kind": pa.array(kind[back], pa.string()),
        "dup_score": pa.array(score[back], mask=np.isnan(score[back])),
        "dup_nearest": ids.take(pa.array(nearest[back], mask=nearest[back] < 0)),
    }
    return pa.table(columns)


def _stars(matcher: Matcher) -> Stars:
    groups = Groups(matcher.searched)
    for hits in matcher.nearby():
        hits = hits.where(groups.apart(hits.left, hits.right))
        copies = hits.where(matcher.perceptual(hits) > 0)
        groups.join(copies.left, copies.right)
    left, right, _ = matcher.semantic()
    groups.join(left, right)
    return stars(groups.labels(), matcher.lengths, matcher.compare)


def _numbered(cluster: np.ndarray) -> np.ndarray:
    """Labels as 0, 1, ... by where they come first."""
    _, first, label = np.unique(cluster, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[label]


def known_packets(md5s: pa.ChunkedArray) -> pa.ChunkedArray:
    """Null for a video of no packets: it has them in common with all that are broken in this way."""
    return pc.if_else(pc.equal(md5s, _NO_PACKETS), None, md5s)


def _as_shown(videos: pa.Table, packets: pa.ChunkedArray) -> pa.ChunkedArray:
    """The packets and the rotation that they are shown in; null where there are no packets."""
    if "rotation" not in videos.column_names:
        return packets
    return pc.binary_join_element_wise(packets, pc.fill_null(videos["rotation"].cast(pa.string()), ""), " ")


def same_content(*values: np.ndarray) -> np.ndarray:
    """The first row with the same content, for each; rows that have a code in common, or a chain of these, have it.

    Args:
        values: ``(n,)`` int64 each, -1 for none.
    """
    label = np.arange(len(values[0]))
    while True:
        before = label.copy()
        for code in values:
            known = np.flatnonzero(code >= 0)
            smallest = np.full(code.max(initial=0) + 1, len(label))
            np.minimum.at(smallest, code[known], label[known])
            label[known] = smallest[code[known]]
        if np.array_equal(label, before):
            return label


def codes(column: pa.ChunkedArray) -> np.ndarray:
    """``(n,)`` int64: equal numbers for equal values, -1 for null."""
    encoded = column.combine_chunks().dictionary_encode()
    return pc.fill_null(encoded.indices, -1).to_numpy().astype(np.int64)


def first_other(values: np.ndarray) -> np.ndarray:
    """``(n,)`` int64: the first other row with the same code, -1 if there is none."""
    order = np.argsort(values, kind="stable")
    begin = np.searchsorted(values[order], values[order])
    size = np.searchsorted(values[order], values[order], side="right") - begin
    is_first = begin == np.arange(len(values))
    other = order[np.minimum(begin + is_first, len(values) - 1)]
    result = np.full(len(values), -1)
    result[order] = np.where((size > 1) & (values[order] >= 0), other, -1)
    return result
