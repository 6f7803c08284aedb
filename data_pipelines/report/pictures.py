"""Frames of videos as small JPEG strips inside the page, within a bound on its size."""

import base64
import io
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

Thumbnails = Callable[[str], Sequence[np.ndarray] | None]
"""``video_id`` -> (H, W, 3) uint8 RGB frames in order, None where there are none."""

HEIGHT = 84  # pixels
_MAX_WIDTH = 150  # of one frame
_SHOWN = 3  # frames of a strip
_QUALITY = 70
_GAP = 2


class Pictures:
    """Strips of some frames of each video that is shown.

    Args:
        thumbnails: gives the frames.
        budget: bytes of the page that all strips together may take.

    Attributes:
        left_out: strips that there was no room for.
    """

    def __init__(self, thumbnails: Thumbnails, budget: int) -> None:
        self._thumbnails = thumbnails
        self._room = budget
        self.left_out = 0

    def of(self, video_id: str, aspect: float | None) -> str | None:
        """A ``data:`` URI; None if the video has no frames, or there is no room left.

        Args:
            video_id: which video.
            aspect: width over height as shown, since frames may be stretched to squares; None for their own.
        """
        if self._room <= 0:
            self.left_out += 1
            return None
        frames = self._thumbnails(video_id)
        if frames is None or len(frames) == 0:
            return None
        places = np.linspace(0, len(frames) - 1, min(len(frames), _SHOWN)).round().astype(int)
        content = _jpeg([frames[place] for place in places], aspect)
        uri = "data:image/jpeg;base64," + base64.b64encode(content).decode()
        if len(uri) > self._room:
            self._room = 0
            self.left_out += 1
            return None
        self._room -= len(uri)
        return uri


def _jpeg(frames: Sequence[np.ndarray], aspect: float | None) -> bytes:
    height, width = frames[0].shape[:2]
    shown_width = min(_MAX_WIDTH, max(8, round(HEIGHT * (aspect or width / height))))
    strip = Image.new("RGB", (len(frames) * (shown_width + _GAP) - _GAP, HEIGHT), "white")
    for number, frame in enumerate(frames):
        small = Image.fromarray(frame).resize((shown_width, HEIGHT), Image.Resampling.BILINEAR)
        strip.paste(small, (number * (shown_width + _GAP), 0))
    buffer = io.BytesIO()
    strip.save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()
