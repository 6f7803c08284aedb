"""A frame's looks in 64 bits: frames that look alike have hashes that differ in few bits."""

import numpy as np

SIDE = 64
"""Side of the frames that are hashed, in pixels."""
FLAT = np.uint64(0)
"""The hash of a frame without texture: it looks like any other such frame, and says nothing."""

_FLAT_STD = 1.25  # levels of 255
_WINDOW = 16  # pixels a side
_BANDS, _STEPS, _APART = 4, 10, 2


def perceptual_hash(luma: np.ndarray) -> np.ndarray:
    """Which of two places beside each other is brighter, 64 times a frame.

    A place is the mean of 16 x 16 pixels. In each of 4 rows there are 10 places, evenly spread and overlapping; of each
    two that are 2 apart, a bit says whether the right one is brighter: 32 bits. The other 32 compare places in 4
    columns from top to bottom. A brighter frame keeps all bits, a moving object changes those near it, and a crop few
    as windows are wide. All numbers are whole: a hash depends neither on the machine nor on the frames beside it.

    The idea is that of dHash (N. Krawetz, "Kind of Like That", 2013), there 8 x 8 places without overlap, in rows
    alone. Windows and steps are ours, chosen on tiny-world frames of seed 1 with copies that are cropped by 6 to 14 %
    and trimmed between two samples. There, the signs of a DCT (pHash) told copies from others worse: a moving sprite
    turns many of them.

    Args:
        luma: ``(n, 64, 64)`` uint8, whole frames squeezed to a square.

    Returns:
        ``(n,)`` uint64; ``FLAT`` for frames whose standard deviation is below 1.25 of 255 levels, and for no other.

    Raises:
        ValueError: if ``luma`` has another shape or type.
    """
    if luma.ndim != 3 or luma.shape[1:] != (SIDE, SIDE) or luma.dtype != np.uint8:
        raise ValueError(f"luma is {luma.dtype} {luma.shape}, expected uint8 (n, {SIDE}, {SIDE})")
    summed = np.pad(luma.astype(np.int64).cumsum(1).cumsum(2), ((0, 0), (1, 0), (1, 0)))
    rows, columns = _places(summed, _BANDS, _STEPS), _places(summed, _STEPS, _BANDS)
    to_right = rows[:, :, _APART:] > rows[:, :, :-_APART]
    downwards = columns[:, _APART:] > columns[:, :-_APART]
    bits = np.concatenate([to_right.reshape(-1, 32), downwards.reshape(-1, 32)], 1)
    hashes = (bits * (np.uint64(1) << np.arange(64, dtype=np.uint64))).sum(1, dtype=np.uint64)
    return np.where(luma.std((1, 2)) < _FLAT_STD, FLAT, np.maximum(hashes, np.uint64(1)))


def _places(summed: np.ndarray, down: int, across: int) -> np.ndarray:
    """``(n, down, across)`` int64: sums of the pixels in windows, from ``(n, 65, 65)`` sums of all above and left."""
    top, left = (np.rint(np.linspace(0, SIDE - _WINDOW, count)).astype(int) for count in (down, across))
    bottom, right = top + _WINDOW, left + _WINDOW
    above, below = summed[:, top], summed[:, bottom]
    return below[:, :, right] - below[:, :, left] - above[:, :, right] + above[:, :, left]
