"""How many different pictures a video shows."""

import numpy as np

from data_pipelines.signals.signal import Signal


def effective_frames(frames: np.ndarray, *, cosine: float) -> Signal:
    """Number of greedy clusters among frame embeddings: 1 where all look alike, k where none does.

    In order of time, a frame starts a cluster of its own unless its cosine with the first frame of a cluster is
    ``cosine`` or more.

    Default: 0.9 (ours). On the tiny world, of 8 frames, scenes of one shot have 1 or 2, those of many shots 6 to 8.

    Args:
        frames: (k, C) float32 embeddings of length 1, in order of time.
        cosine: from which on two frames show the same.

    Returns:
        ``na`` without frames.
    """
    if not len(frames):
        return Signal(None, "na", "no frames")
    cosines = frames.astype(np.float64) @ frames.astype(np.float64).T
    first: list[int] = []
    for number in range(len(frames)):
        if not first or cosines[number, first].max() < cosine:
            first.append(number)
    return Signal(float(len(first)))


def effective_per_minute(effective: Signal, duration_s: float) -> Signal:
    """``effective_frames`` a minute, to put videos into strata by how much they show. No reason to drop one.

    Of k frames at most k are different, so it falls with 1 / duration for long videos.

    Returns:
        ``na`` where there is no such number, or no duration.
    """
    if effective.value is None or not duration_s > 0:
        return Signal(None, "na", effective.detail or f"a duration of {duration_s:g} s")
    return Signal(effective.value / duration_s * 60, effective.status)
