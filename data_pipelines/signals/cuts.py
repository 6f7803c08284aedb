"""Where one shot ends and the next one starts."""

import cv2
import numpy as np

from data_pipelines.signals.signal import Signal

THRESHOLD = 27.0
SHORTEST_SHOT_S = 0.5
"""15 frames at 30 frames a second."""
_EPSILON_S = 1e-6


def content_scores(bgr: np.ndarray) -> np.ndarray:
    """How much each frame differs from the one before: mean absolute difference of hue, saturation and value.

    In levels; hue goes from 0 to 179, saturation and value from 0 to 255. This is the score of PySceneDetect's
    ``ContentDetector`` (equal weights of the three, no edges).

    Args:
        bgr: (n, h, w, 3) uint8, n at least 1.

    Returns:
        (n - 1,) float64.
    """
    n, height, width, _ = bgr.shape
    hsv = cv2.cvtColor(bgr.reshape(n * height, width, 3), cv2.COLOR_BGR2HSV).reshape(n, -1)
    return cv2.absdiff(hsv[1:], hsv[:-1]).mean(1) if n > 1 else np.empty(0)


def find_cuts(scores: np.ndarray, times_s: np.ndarray) -> np.ndarray:
    """Times of the cuts: frames with a score of 27 or more, half a second or more after the last such one or the start.

    So of flashes or wild motion, only the first counts. Source: the defaults of PySceneDetect's ``ContentDetector``, 27
    and 15 frames of 30 a second; in seconds, they fit any frame rate.

    Args:
        scores: (n - 1,) of ``content_scores``.
        times_s: (n,) presentation times of the frames, ascending, n at least 1.

    Returns:
        (m,) float64 presentation times of the first frames of the new shots.
    """
    above_s = times_s[1:][scores >= THRESHOLD]
    before_s = np.concatenate([times_s[:1], above_s[:-1]])[: len(above_s)]
    return above_s[above_s - before_s >= SHORTEST_SHOT_S - _EPSILON_S]


def cuts_per_minute(scores: np.ndarray, times_s: np.ndarray, *, duration_s: float) -> Signal:
    """``60 * cuts / duration_s``. No usual threshold: strata for selection.

    Args:
        scores, times_s: as for ``find_cuts``; n may be 0.
        duration_s: of the video.

    Returns:
        Status ``na`` with fewer than two frames.
    """
    if len(times_s) < 2 or duration_s <= 0:
        return Signal(None, "na", "fewer than two frames")
    return Signal(60 * len(find_cuts(scores, times_s)) / duration_s)
