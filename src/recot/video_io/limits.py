"""What a video may cost: sizes and times that are checked before and while it is read."""

import time
from dataclasses import dataclass

from recot.errors import VideoError


@dataclass(frozen=True)
class VideoLimits:
    """Bounds on one video. All defaults are our choice.

    Attributes:
        max_side: largest width or height, in pixels.
        max_duration_s: longest time from the first shown frame to the end of the last, in seconds.
        max_pixels: most coded pixels of all frames together (12 hours of 1080p at 30 frames a second are 2.7e12).
        timeout_s: wall-clock seconds for one call of ``probe``, ``decode`` or ``check_health``. It is looked at between
            packets and between small batches of frames, so a call may overrun it by the time that one of them takes.
    """

    max_side: int = 8192
    max_duration_s: float = 43200.0
    max_pixels: int = 4_000_000_000_000
    timeout_s: float = 60.0


class Deadline:
    """The moment at which reading one video is given up."""

    def __init__(self, name: str, timeout_s: float) -> None:
        self._name = name
        self._timeout_s = timeout_s
        self._end = time.monotonic() + timeout_s

    def check(self) -> None:
        """Return while there is time left.

        Raises:
            VideoError: ``timeout``.
        """
        if time.monotonic() > self._end:
            raise VideoError(
                self._name,
                "timeout",
                f"not read within {self._timeout_s:g} s; raise the time limit or drop the video",
            )
