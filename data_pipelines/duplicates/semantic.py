"""Whether two videos show the same in the same order, by the embeddings of a few of their frames.

Legend: V videos, k frames of each, C channels.
"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_pipelines.duplicates.settings import DuplicateSettings
from data_pipelines.kmeans import kmeans_centres, nearest_centre, normalised
from recot.randomness import keyed_rng

LEAF = 1000
"""Videos in a k-means cluster, at most: within these, each is compared with each."""
NEIGHBOURS = 8
"""Most similar videos of its cluster that one is compared with frame by frame."""

_BRANCHES, _SAMPLE = 16, 4096
_ALIKE = 0.9  # cosine from which two frames are one look
_SAME_DURATION_S = 0.1
_BLOCK = 1 << 22  # floats


class Embedded:
    """The frame embeddings of V videos. A video without, with another number of frames than most, or with too few
    looks is like no other.

    Args:
        column: ``(rows,)`` lists of ``k * C`` floats; read block by block.
        frames: ``(rows,)`` how many frames they are of, null where there are none.
        rows: ``(V,)`` the row of each video.
        durations_s: ``(V,)`` float64.
        settings: ``eps``, ``frame_cosine``, ``looks`` and ``seed``.

    Attributes:
        usable: ``(V,)`` bool.
        means: ``(V, C)`` float32, the mean of a video's normalised frame embeddings, normalised; 0 if not usable.
    """

    def __init__(
        self,
        column: pa.ChunkedArray,
        frames: pa.ChunkedArray,
        rows: np.ndarray,
        durations_s: np.ndarray,
        settings: DuplicateSettings,
    ) -> None:
        self._rows, self._durations_s, self._settings = rows, durations_s, settings
        self._chunks = [_flat(chunk) for chunk in column.chunks]
        self._ends = np.cumsum([len(chunk) for chunk in column.chunks])
        count = pc.fill_null(frames, 0).to_numpy().astype(np.int64)[rows]
        sizes = pc.fill_null(pc.list_value_length(column), 0).to_numpy().astype(np.int64)[rows]
        self._frames = int(np.bincount(count[count > 0]).argmax()) if count.any() else 1
        self._size = int(sizes[count == self._frames].max(initial=0))
        self.usable = (count == self._frames) & (sizes == self._size)
        known, width = np.flatnonzero(self.usable), self._size
        self._step = max(1, _BLOCK // max(width, self._frames**2))
        self.means = np.zeros((len(rows), width // self._frames), np.float32)
        for start in range(0, len(known), self._step):
            block = known[start : start + self._step]
            embeddings = self._read(block)
            enough = _count_looks(embeddings) >= settings.looks
            self.usable[block] = enough
            self.means[block[enough]] = normalised(embeddings[enough].mean(1))

    def compare(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Which pairs of videos are semantic duplicates.

        The mean embeddings have a cosine of ``1 - eps`` or more, and so have the frames one by one: each frame of the
        shorter video is given one of the other, none before the one that the frame before was given, so that the mean
        cosine is largest; that has to be ``frame_cosine`` or more. Videos of one duration have to pass both ways.

        Returns:
            ``(n,)`` float64: that mean cosine, 0 where they are none.
        """
        result = np.zeros(len(left))
        alike = np.einsum("nc,nc->n", self.means[left], self.means[right]) >= 1 - self._settings.eps
        chosen = np.flatnonzero(alike & self.usable[left] & self.usable[right])
        for start in range(0, len(chosen), self._step):
            pairs = chosen[start : start + self._step]
            a, b = left[pairs], right[pairs]
            cosines = self._read(a) @ self._read(b).transpose(0, 2, 1)
            longer = self._durations_s[a] - self._durations_s[b]
            forth, back = ordered_cosine(cosines), ordered_cosine(cosines.transpose(0, 2, 1))
            score = np.where(longer < -_SAME_DURATION_S, forth, np.minimum(forth, back))
            score = np.where(longer > _SAME_DURATION_S, back, score)
            result[pairs] = np.where(score >= self._settings.frame_cosine, score, 0)
        return result

    def find_alike(self, searched: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Pairs of videos whose mean embeddings are alike, ``(n,)`` int64 each.

        Clusters are found by k-means, 16 at a time until each has ``LEAF`` videos or fewer, which takes O(V log V);
        as in SemDeDup, pairs across a border are lost.

        Args:
            searched: the first so many videos are searched for what is like the others, or all for each other.
        """
        videos = np.flatnonzero(self.usable)
        within = searched == len(self.usable)
        asked = videos[videos < searched]
        for cluster, queries in self._clusters(videos if within else videos[videos >= searched], asked, ()):
            for start in range(0, len(queries), LEAF):
                block = queries[start : start + LEAF]
                cosines = self.means[block] @ self.means[cluster].T
                cosines[block[:, None] == cluster] = -1
                near = np.argpartition(-cosines, min(NEIGHBOURS, len(cluster)) - 1, axis=1)[:, :NEIGHBOURS]
                row, place = np.nonzero(np.take_along_axis(cosines, near, 1) >= 1 - self._settings.eps)
                left, right = block[row], cluster[near[row, place]]
                if within:
                    left, right = np.minimum(left, right), np.maximum(left, right)
                yield left, right

    def _clusters(
        self, videos: np.ndarray, queries: np.ndarray, path: tuple[int, ...]
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Leaves of the tree of clusters: their videos and the queries that belong there."""
        if not len(videos) or not len(queries):
            return
        if len(videos) <= LEAF:
            yield videos, queries
            return
        rng = keyed_rng("duplicates", "k-means", self._settings.seed, *path)
        sample = videos[np.sort(rng.permutation(len(videos))[:_SAMPLE])]
        centres = kmeans_centres(self.means[sample], _BRANCHES, rng)
        own, asked = (nearest_centre(self.means, rows, centres) for rows in (videos, queries))
        if np.bincount(own).max() > 0.9 * len(videos):  # they are all alike: any part will do
            own, asked = np.arange(len(videos)) // LEAF, np.arange(len(queries)) * len(videos) // len(queries) // LEAF
        for branch in range(own.max() + 1):
            yield from self._clusters(videos[own == branch], queries[asked == branch], (*path, branch))

    def _read(self, videos: np.ndarray) -> np.ndarray:
        """``(n, k, C)`` float32, normalised."""
        rows = self._rows[videos]
        which = np.searchsorted(self._ends, rows, side="right")
        read = np.empty((len(rows), self._size), np.float32)
        for number in np.unique(which):
            values, starts = self._chunks[number]
            own = which == number
            begin = starts[rows[own] - (self._ends[number] - len(starts))]
            read[own] = values[begin[:, None] + np.arange(self._size)]
        return normalised(read.reshape(len(rows), self._frames, -1))


def _flat(lists: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """The values of all lists, without a copy, and where each list begins."""
    if pa.types.is_fixed_size_list(lists.type):
        starts = (lists.offset + np.arange(len(lists))) * lists.type.list_size
    else:
        starts = lists.offsets.to_numpy()[:-1].astype(np.int64)
    return lists.values.to_numpy(zero_copy_only=False), starts


def ordered_cosine(cosines: np.ndarray) -> np.ndarray:
    """``(n, a, b)`` cosines of a frames and b others -> ``(n,)``: the largest mean over paths that never go back.

    Each of the a frames is given one of the b, in order; several may be given the same one.
    """
    best = np.maximum.accumulate(cosines[:, 0], axis=1)
    for row in range(1, cosines.shape[1]):
        best = np.maximum.accumulate(best + cosines[:, row], axis=1)
    return best[:, -1] / cosines.shape[1]


def _count_looks(embeddings: np.ndarray) -> np.ndarray:
    """``(n, k, C)`` -> ``(n,)``: frames, taken in order, that are alike none that was taken before."""
    alike = embeddings @ embeddings.transpose(0, 2, 1) >= _ALIKE
    taken = np.zeros(alike.shape[:2], dtype=bool)
    for frame in range(alike.shape[1]):
        taken[:, frame] = ~(alike[:, frame] & taken).any(1)
    return taken.sum(1)
