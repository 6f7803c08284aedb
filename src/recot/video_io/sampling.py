"""Which frames of a video a model sees: index arithmetic on presentation times, without reading anything."""

import math
from dataclasses import dataclass

import numpy as np

from recot.errors import ConfigError

_EPSILON = 1e-6
"""Seconds (and frames) by which rounded time stamps may be early without another frame being chosen."""


@dataclass(frozen=True)
class FrameSampling:
    """A rule that picks frames. Exactly one of ``fps``, ``count`` and ``stride`` is set.

    Attributes:
        fps: frames per second of video; a frame that stays on screen longer is picked repeatedly.
        count: this many frames from the first to the last, rounded down to whole frames as in the released model;
            repeats frames of a video that has fewer.
        stride: every stride-th frame.
        max_frames: most frames of one video. More are thinned out evenly over the whole video, never cut off.

    Raises:
        ConfigError: if not exactly one rule is set, or a value is not positive.
    """

    fps: float | None = None
    count: int | None = None
    stride: int | None = None
    max_frames: int | None = None

    def __post_init__(self) -> None:
        rules = {name: getattr(self, name) for name in ("fps", "count", "stride")}
        given = [name for name, value in rules.items() if value is not None]
        if len(given) != 1:
            raise ConfigError(
                f"frame sampling: exactly one of fps, count and stride must be set, got {given or 'none'}; "
                "set one and leave the others null"
            )
        if self.fps is not None and not (math.isfinite(self.fps) and self.fps > 0):
            raise ConfigError(f"frame sampling: fps must be a positive number of frames a second, got {self.fps}")
        for name in ("count", "stride", "max_frames"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise ConfigError(f"frame sampling: {name} must be a whole number from 1 up, got {value!r}")

    def planned_count(self, frames: int, duration_s: float) -> int:
        """How many frames ``indices`` gives for a video of ``frames`` shown frames and ``duration_s`` seconds.

        Raises:
            ValueError: if the video has no frame.
        """
        uncapped = self._uncapped_count(frames, duration_s)
        return uncapped if self.max_frames is None else min(uncapped, self.max_frames)

    def indices(self, times_s: np.ndarray, duration_s: float) -> np.ndarray:
        """Which frames to decode.

        Args:
            times_s: (N,) float, presentation time of every shown frame in seconds, ascending.
            duration_s: seconds from the first frame to the end of the last.

        Returns:
            (n,) int64, ascending frame numbers (0 is the first shown frame), n = ``planned_count(N, duration_s)``.

        Raises:
            ValueError: if the video has no frame.
        """
        total = len(times_s)
        n = self.planned_count(total, duration_s)
        if self.count is not None:
            return np.linspace(0, total - 1, n, dtype=np.int64)
        if self.stride is not None:
            strided = np.arange(0, total, self.stride, dtype=np.int64)
            return strided[np.linspace(0, len(strided) - 1, n, dtype=np.int64)]
        assert self.fps is not None
        capped = n < self._uncapped_count(total, duration_s)
        offsets_s = np.arange(n) * duration_s / n if capped else np.arange(n) / self.fps
        shown = np.searchsorted(times_s, times_s[0] + offsets_s + _EPSILON, side="right") - 1
        return np.clip(shown, 0, total - 1).astype(np.int64)

    def _uncapped_count(self, frames: int, duration_s: float) -> int:
        if frames < 1:
            raise ValueError(f"cannot sample from {frames} frames: at least 1 is needed")
        if self.count is not None:
            return self.count
        if self.stride is not None:
            return -(-frames // self.stride)
        assert self.fps is not None
        return max(1, math.ceil(duration_s * self.fps - _EPSILON))
