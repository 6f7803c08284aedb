"""How fast things move."""

import cv2
import numpy as np

from data_pipelines.signals.signal import Signal

WIDTH = 224
"""Pixels of the width that displacements are given for."""
_FLOW_WIDTH = 112
"""Pixels of the width that they are measured at: a quarter of the time, and over pairs of frames of real clips a
correlation of 0.98 with the full width."""


def motion(pairs: np.ndarray) -> Signal:
    """Mean length of the optical flow between two frames half a second apart, in pixels of a frame 224 pixels wide.

    Mean over all pixels of all pairs. Flow: Farnebäck, "Two-frame motion estimation based on polynomial expansion"
    (SCIA 2003), as in OpenCV, with 3 levels of a pyramid by halves, windows of 15 pixels, 3 iterations, and polynomials
    over 5 pixels with a sigma of 1.2: the parameters of data-juicer's motion filter. Its threshold of 0.25 depends on
    the size of the video; usual here is a rank within one source.

    Args:
        pairs: (n, 2, h, w) uint8 luma, at most 224 pixels wide.

    Returns:
        Status ``na`` without a pair.
    """
    if not len(pairs):
        return Signal(None, "na", "fewer than two frames half a second apart")
    height, width = pairs.shape[2:]
    if width > _FLOW_WIDTH:
        size = (_FLOW_WIDTH, max(1, round(height * _FLOW_WIDTH / width)))
        frames = [cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for pair in pairs for frame in pair]
        pairs = np.stack(frames).reshape(len(pairs), 2, *size[::-1])
    return Signal(float(np.mean([_flow(first, second) for first, second in pairs])) * WIDTH / pairs.shape[3])


def _flow(first: np.ndarray, second: np.ndarray) -> float:
    """Mean length of the flow in pixels."""
    start = np.zeros((*first.shape, 2), dtype=np.float32)
    flow = cv2.calcOpticalFlowFarneback(
        first, second, start, pyr_scale=0.5, levels=3, winsize=15, iterations=3, poly_n=5, poly_sigma=1.2, flags=0
    )
    # Not cv2.magnitude: its last bits depend on where in memory the flow happens to lie.
    return float(np.sqrt(np.square(flow, dtype=np.float64).sum(axis=2)).mean())
