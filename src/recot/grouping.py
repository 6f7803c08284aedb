"""Frames into groups: the padding rules, as plain index arithmetic shared by the data and the models, and their times.

Legend: n frames, T frames a group, G groups.
"""

import numpy as np

GROUP_SIZE = 4
"""Frames that the Dynamic Token Synthesizer merges into one compact map (paper section 3.2)."""


def pad_indices(n: int, group_size: int = GROUP_SIZE) -> tuple[np.ndarray, np.ndarray]:
    """Which frame stands at each place once n frames are padded to whole groups.

    The last frame is repeated, never a random one (the released code draws some, ours is deterministic).

    Args:
        n: number of frames, at least 1.
        group_size: T.

    Returns:
        ``(index, valid)``, both ``(G * T,)``: int64 positions in ``0..n-1``, and False at repeats.

    Raises:
        ValueError: if n is under 1.
    """
    if n < 1:
        raise ValueError(f"cannot group {n} frames: at least 1 is needed")
    padded = -(-n // group_size) * group_size
    index = np.minimum(np.arange(padded), n - 1)
    return index, np.arange(padded) < n


def insert_duplicates(n: int, duplicated: list[int]) -> np.ndarray:
    """The released model's padding: each frame in ``duplicated`` appears twice, order kept.

    The release draws ``4 - n mod 4`` distinct frames at random when n > 4; the caller draws them, from an
    explicit generator, so that a run can be repeated.

    Returns:
        ``(n + len(duplicated),)`` int64 positions in ``0..n-1``.
    """
    if len(set(duplicated)) != len(duplicated) or not all(0 <= i < n for i in duplicated):
        raise ValueError(f"duplicated frames must be distinct and within 0..{n - 1}, got {duplicated}")
    return np.sort(np.concatenate([np.arange(n), np.asarray(duplicated, dtype=np.int64)]))


def time_text(seconds: float) -> str:
    """What stands before a group's tokens: ``Time 0003.2s:`` (the released model's layout).

    Args:
        seconds: presentation time of the group's first frame.
    """
    # Rounded before it is written, as the released model does it, so that a tie goes to the even tenth.
    return f"Time {round(seconds, 1):06.1f}s:"
