"""A frame's looks in 64 bits: frames that look alike have hashes that differ in few bits."""

import numpy as np

SIDE = 64
"""Side of the frames that are hashed, in pixels."""
FLAT = np.uint64(0)
"""The hash of a frame without texture: it looks like any other such frame, and says nothing."""

_FLAT_STD = 2.0  # levels of 255
_HIGHEST = 10  # half waves a side
_SHARPNESS = 1024
"""Cosines are rounded to multiples of 1 / 1024: then all sums are whole numbers below 2 ** 53, exact in any order, and a
hash depends neither on the machine nor on the frames beside it."""


def perceptual_hash(luma: np.ndarray) -> np.ndarray:
    """64 signs of the lowest spatial frequencies of each frame.

    Bit k is set where the k-th coefficient of the frame's two-dimensional DCT-II is above 0; the coefficients are the
    64 with ``0 < u + v <= 10`` half waves a side, all but (10, 0). The mean is not among them, so a brighter frame has
    the same hash. This is pHash (Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010)
    with signs in place of the comparison with the median, so that no bit depends on the others.

    Args:
        luma: ``(n, 64, 64)`` uint8, whole frames squeezed to a square.

    Returns:
        ``(n,)`` uint64; ``FLAT`` for frames whose standard deviation is below 2 of 255 levels, and for no other.

    Raises:
        ValueError: if ``luma`` has another shape or type.
    """
    if luma.ndim != 3 or luma.shape[1:] != (SIDE, SIDE) or luma.dtype != np.uint8:
        raise ValueError(f"luma is {luma.dtype} {luma.shape}, expected uint8 (n, {SIDE}, {SIDE})")
    waves = np.arange(_HIGHEST + 1)[:, None] * (np.arange(SIDE) + 0.5) * np.pi / SIDE
    cosines = np.rint(_SHARPNESS * np.cos(waves))
    spectrum = cosines @ luma.astype(np.float64) @ cosines.T
    down, across = np.indices(spectrum.shape[1:])
    chosen = (down + across > 0) & (down + across <= _HIGHEST) & (down < _HIGHEST)
    bits = np.uint64(1) << np.arange(64, dtype=np.uint64)
    hashes = ((spectrum[:, chosen] > 0) * bits).sum(1, dtype=np.uint64)
    return np.where(luma.std((1, 2)) < _FLAT_STD, FLAT, np.maximum(hashes, np.uint64(1)))
