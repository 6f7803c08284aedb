"""Groups of videos that show alike things, so that a selection can take some of each."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_pipelines.kmeans import kmeans_centres, nearest_centre, normalised
from recot.errors import ConfigError
from recot.randomness import keyed_rng

_BRANCHES, _SAMPLE, _DEPTH = 16, 4096, 32
_ROWS = 1024  # read at once


@dataclass(kw_only=True)
class ClusterSettings:
    """How fine the groups are.

    Attributes:
        size: videos that a group has at most; None for sqrt(2 n) of n videos, so that there are some sqrt(n / 2) groups
            (a rule of thumb for k-means: Mardia, Kent, Bibby, Multivariate Analysis, 1979).
        seed: of k-means.
    """

    size: int | None = None
    seed: int = 0

    def check(self, where: str) -> None:
        """Raise ``ConfigError`` unless the size can work; ``where`` is the config key that holds these settings."""
        if self.size is not None and self.size < 1:
            raise ConfigError(f"{where}.size={self.size}: expected a number of videos from 1 on, or null")


def embedding_clusters(videos: pa.Table, settings: ClusterSettings) -> pa.Array:
    """The group of each video, by the mean of its normalised frame embeddings.

    K-means by cosine, up to 16 groups at a time, until each has ``size`` videos or fewer: O(V log V) time. Videos that
    k-means doesn't part within 32 levels, because they are all alike, stay together whatever their number.

    Args:
        videos: ``video_id`` unique; ``embeddings`` lists of floats, frame after frame; ``embedding_frames``, how many
            frames they are of. Null where a video has none.
        settings: see there.

    Returns:
        ``(V,)`` int64, numbered by the first id of each group; null for videos without embeddings. The groups don't
        depend on the order of rows.
    """
    order = pc.sort_indices(videos["video_id"]).to_numpy().astype(np.int64)
    means = _means(videos)
    known = order[means[order].any(axis=1)]
    size = settings.size or math.ceil(math.sqrt(2 * len(known)))
    leaves = sorted(_leaves(means[known], np.arange(len(known)), size, settings.seed, ()), key=lambda leaf: leaf[0])
    group = np.full(len(videos), -1)
    for number, leaf in enumerate(leaves):
        group[known[leaf]] = number
    return pa.array(group, pa.int64(), mask=group < 0)


def _leaves(points: np.ndarray, rows: np.ndarray, size: int, seed: int, path: tuple[int, ...]) -> Iterator[np.ndarray]:
    """Groups of ascending rows of ``points`` (n, C)."""
    if len(rows) <= size:
        if len(rows):
            yield rows
        return
    rng = keyed_rng("embedding clusters", seed, *path)
    sample = rows[np.sort(rng.permutation(len(rows))[:_SAMPLE])]
    centres = kmeans_centres(points[sample], min(_BRANCHES, math.ceil(len(rows) / size)), rng)
    own = nearest_centre(points, rows, centres)
    if np.bincount(own).max() == len(rows) or len(path) == _DEPTH:
        yield rows
        return
    for branch in range(len(centres)):
        yield from _leaves(points, rows[own == branch], size, seed, (*path, branch))


def _means(videos: pa.Table) -> np.ndarray:
    """``(V, C)`` float32 unit vectors, 0 where a video has no embeddings."""
    lists, frames = videos["embeddings"], pc.fill_null(videos["embedding_frames"].cast(pa.int64()), 0).to_numpy()
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy()
    known = np.flatnonzero(frames > 0)
    width = int(lengths[known[0]]) // int(frames[known[0]]) if len(known) else 1
    assert (lengths[known] == frames[known] * width).all(), "one encoder has one width"
    means = np.zeros((len(videos), width), np.float32)
    for start in range(0, len(known), _ROWS):
        block = known[start : start + _ROWS]
        values = pc.list_flatten(lists.take(pa.array(block))).to_numpy().astype(np.float32)
        first = np.cumsum(frames[block]) - frames[block]
        means[block] = normalised(np.add.reduceat(normalised(values.reshape(-1, width)), first, axis=0))
    return means
