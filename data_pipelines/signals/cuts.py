"""Where one shot ends and the next one starts."""

import cv2
import numpy as np

from data_pipelines.signals.signal import Signal

THRESHOLD = 27.0
SHORTEST_SHOT_S = 0.5
"""15 frames at 30 frames a second."""
_EPSILON_S = 1e-6


def to_hsv(bgr: np.ndarray) -> np.ndarray:
    """(h, w, 3) uint8: hue from 0 to 179, saturation and value from 0 to 255."""
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2HSV)


def content_score(before: np.ndarray, after: np.ndarray) -> float:
    """How much a frame differs from another: mean absolute difference of hue, saturation and value, in levels.

    This is the score of PySceneDetect's ``ContentDetector`` (equal weights of the three, no edges).

    Args:
        before, after: (h, w, 3) uint8 of ``to_hsv``.
    """
    return cv2.norm(before, after, cv2.NORM_L1) / before.size


def find_cuts(scores: np.ndarray, times_s: np.ndarray) -> np.ndarray:
    """Times of the cuts: frames with a score of 27 or more, half a second or more after the last such one or the start.

    So of flashes or wild motion, only the first counts. Source: the defaults of PySceneDetect's ``ContentDetector``, 27
    and 15 frames of 30 a second; in seconds, they fit any frame rate.

    Args:
        scores: (n - 1,) ``content_score`` of each frame after the one before.
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
