"""Which frames of a video stand for it, where some of them don't decode."""

from collections.abc import Sequence

import numpy as np

from recot.video_io import FrameSampling


def chosen_frames(
    sampling: FrameSampling, times_s: np.ndarray, duration_s: float, missing: Sequence[int]
) -> np.ndarray:
    """The frames that a sampling picks; for one that is known not to decode, the nearest one that does.

    Args:
        sampling: the rule.
        times_s: (N,) float, presentation time of every shown frame in seconds, ascending.
        duration_s: seconds from the first frame to the end of the last.
        missing: numbers of the frames that don't decode, ascending.

    Returns:
        (n,) int64, ascending. If no frame decodes, what the rule picks.
    """
    chosen = sampling.indices(times_s, duration_s)
    decodable = np.setdiff1d(np.arange(len(times_s)), missing)
    return _nearest(chosen, decodable) if len(missing) and len(decodable) else chosen


def _nearest(values: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Each value's nearest in ``allowed``, which is ascending; the earlier one of two."""
    after = np.searchsorted(allowed, values).clip(max=len(allowed) - 1)
    before = (after - 1).clip(min=0)
    later = np.abs(allowed[after] - values) < np.abs(values - allowed[before])
    exact = allowed[after] == values
    return allowed[np.where(later | exact, after, before)]
