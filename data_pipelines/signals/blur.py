"""Whether there are edges to see."""

import cv2
import numpy as np

from data_pipelines.signals.signal import Signal

_SHARP_VARIANCE = 100.0


def blur(luma: np.ndarray) -> Signal:
    """Share of frames that are blurred, 0 to 1: the variance of the Laplacian of their luma is below 100.

    The Laplacian is the sum of a pixel's 4 neighbours less 4 times the pixel, in levels; at the borders, the picture is
    mirrored at the outermost pixel. Frames are compared at one width, because the variance depends on it.
    Sources: Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy" (ICPR 2000) for the measure, NeMo
    Curator for 100. Usual threshold: at most 0.5.

    Args:
        luma: (n, h, w) uint8, 224 pixels wide, or less where the video is.

    Returns:
        Status ``na`` without a frame.
    """
    if not len(luma):
        return Signal(None, "na", "no frame")
    deviations = [cv2.meanStdDev(cv2.Laplacian(frame, cv2.CV_16S))[1].item() for frame in luma]
    return Signal(float((np.square(deviations) < _SHARP_VARIANCE).mean()))
