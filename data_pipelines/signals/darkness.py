"""Whether there is light."""

import numpy as np

from data_pipelines.signals.signal import Signal

_DARK_PIXEL = 0.1 * 255
_DARK_SHARE = 0.98


def darkness(luma: np.ndarray) -> Signal:
    """Share of frames that are black, 0 to 1: at least 98 % of a frame's pixels have at most 10 % of full luma.

    Source of both bounds: the defaults of FFmpeg's filter ``blackdetect``. Usual threshold: ours, at most 0.5.

    Args:
        luma: (n, h, w) uint8, 0 is black and 255 white.

    Returns:
        Status ``na`` without a frame.
    """
    if not len(luma):
        return Signal(None, "na", "no frame")
    dark_pixels = (luma <= _DARK_PIXEL).mean((1, 2))
    return Signal(float((dark_pixels >= _DARK_SHARE).mean()))
