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
        timeout_s: wall-clock seconds for one call of ``probe``, ``decode`` or ``check_health``, or one piece of
            ``decode_pieces``. It is looked at between packets and between small batches of frames, so a call may
            overrun it by the time that one of them takes.
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
        self.restart()

    def restart(self) -> None:
        """Give all of the time again, from now on."""
        self._end = time.monotonic() + self._timeout_s

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


def check_side(name: str, width: int, height: int, limits: VideoLimits) -> None:
    """Return if a frame of ``width`` x ``height`` pixels is within the limits.

    Raises:
        VideoError: ``too_large``.
    """
    if max(width, height) > limits.max_side:
        raise VideoError(
            name, "too_large", f"{width}x{height} pixels; at most {limits.max_side} a side: raise the limit or drop it"
        )


def check_pixels(name: str, frames: int, pixels: int, limits: VideoLimits) -> None:
    """Return if ``frames`` frames of ``pixels`` pixels each are within the limits.

    Raises:
        VideoError: ``too_many_pixels``.
    """
    if frames * pixels > limits.max_pixels:
        raise VideoError(
            name,
            "too_many_pixels",
            f"{frames} frames of {pixels} pixels; at most {limits.max_pixels:.3g} pixels in all: "
            "raise the limit or drop it (a damaged or forged frame table looks like this too)",
        )
