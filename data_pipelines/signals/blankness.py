"""Whether there is anything to see."""

import numpy as np

from data_pipelines.signals.signal import Signal

_FLAT_STD = 4.0
_SAME_MEAN = 4.0
_BLOCK = 256  # frames at a time: NumPy takes eight times their memory for a standard deviation


def blankness(luma: np.ndarray) -> Signal:
    """Share of frames that are one plain colour which stays, 0 to 1.

    A frame counts where the standard deviation of its luma is below 4 of 255 levels, and its mean within 4 levels of
    that of the frame before (the first frame: of the one after it). So a plain frame within a fade doesn't count.
    Source: ours. Usual threshold: ours, at most 0.5.

    Args:
        luma: (n, h, w) uint8.

    Returns:
        Status ``na`` without a frame.
    """
    if not len(luma):
        return Signal(None, "na", "no frame")
    means = luma.mean((1, 2))
    step = np.abs(np.diff(means))
    stays = np.concatenate([step[:1], step]) < _SAME_MEAN if len(means) > 1 else np.ones(1, dtype=bool)
    deviations = np.concatenate([luma[i : i + _BLOCK].std((1, 2)) for i in range(0, len(luma), _BLOCK)])
    return Signal(float(((deviations < _FLAT_STD) & stays).mean()))
