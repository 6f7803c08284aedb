"""How long a video's shots are."""

import numpy as np

_FRAMES_A_SHOT = 8
_FRAMES_TO_GROW = 64  # longer videos have longer shots, not only more of them (our choice)
_GROWTH = 0.6
_MIN_SHOT = 6


def count_shots(frames: int) -> int:
    """How many shots a video of so many frames has: 1 up to 15 frames, 8 at 64, 18 at 256, 97 at 4096."""
    if frames <= _FRAMES_TO_GROW:
        return max(1, frames // _FRAMES_A_SHOT)
    return round(_FRAMES_TO_GROW / _FRAMES_A_SHOT * (frames / _FRAMES_TO_GROW) ** _GROWTH)


def cut(rng: np.random.Generator, frames: int) -> list[int]:
    """Where shots begin, and the end: ascending, from 0 to ``frames``, at least 6 frames apart where there are cuts."""
    shots = count_shots(frames)
    if shots == 1:
        return [0, frames]
    spare = frames - _MIN_SHOT * shots
    weights = rng.uniform(0.5, 1.5, shots)
    ends = np.round(np.cumsum(weights) / weights.sum() * spare).astype(int)
    return [0, *(int(end) + _MIN_SHOT * (i + 1) for i, end in enumerate(ends))]
