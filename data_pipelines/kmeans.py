"""K-means by cosine (Lloyd), the step that trees of clusters are made of.

Legend: n points, C channels, k centres.
"""

import numpy as np

_ROUNDS = 10
_BLOCK = 1 << 22  # floats


def kmeans_centres(points: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """``(n, C)`` unit vectors -> ``(k, C)`` unit vectors, begun at some of the points."""
    centres = points[rng.permutation(len(points))[:k]]
    for _ in range(_ROUNDS):
        nearest = (points @ centres.T).argmax(1)
        sums = np.stack([points[nearest == i].sum(0) for i in range(len(centres))])
        centres = np.where(sums.any(1, keepdims=True), normalised(sums), centres)
    return centres


def nearest_centre(points: np.ndarray, rows: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """``(m,)`` int64: the centre with the largest cosine to each of ``points[rows]``, block by block."""
    step = max(1, _BLOCK // points.shape[1])
    blocks = [rows[start : start + step] for start in range(0, len(rows), step)]
    return np.concatenate([(points[block] @ centres.T).argmax(1) for block in blocks])


def normalised(vectors: np.ndarray) -> np.ndarray:
    """Of length 1; zeros stay."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)
