"""Scores for cuts while a video is decoded."""

from itertools import pairwise

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from data_pipelines.signals.cuts import THRESHOLD, content_score, to_hsv

_WIDTH, _HEIGHT = 64, 36
_COMPARED_FPS = 15.0
_MOST_WAITING = 4


class CutScanner:
    """Compares frames about 15 times a second, and each frame with the one before where there may be a cut.

    A cut between two frames shows in the difference of any frame before from any frame after it. Only where that is at
    least half of what makes a cut, the frames between are looked at as well: the scores that count are always those of
    successive frames. What may be missed is a flash shorter than a fifteenth of a second.

    Attributes:
        numbers: of the frames that were compared.
        scores: of each but the first: how much it differs from the one before in ``numbers`` (``content_score``).
    """

    def __init__(self, fps: float) -> None:
        self.numbers: list[int] = []
        self.scores: list[float] = []
        self._stride = int(np.clip(round(fps / _COMPARED_FPS), 1, _MOST_WAITING))
        self._waiting: list[tuple[int, VideoFrame]] = []
        self._before: np.ndarray | None = None
        self._reformatter = VideoReformatter()

    def add(self, number: int, frame: VideoFrame) -> None:
        """Take the next clean frame."""
        self._waiting.append((number, frame))
        if self._before is None or len(self._waiting) == self._stride:
            self.finish()

    def finish(self) -> None:
        """Compare what waits."""
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        last = self._small(waiting[-1][1])
        if self._before is not None:
            if len(waiting) > 1 and content_score(self._before, last) < THRESHOLD / 2:
                waiting = waiting[-1:]
            between = [self._small(frame) for _, frame in waiting[:-1]]
            self.scores += [content_score(*pair) for pair in pairwise([self._before, *between, last])]
        self.numbers += [number for number, _ in waiting]
        self._before = last

    def _small(self, frame: VideoFrame) -> np.ndarray:
        """(36, 64, 3) uint8, hue, saturation and value."""
        # One pixel of each cell: their mean would hide changes of what is finely textured, and takes ten times as long.
        converted = self._reformatter.reformat(frame, _WIDTH, _HEIGHT, "bgr24", interpolation="POINT", threads=1)
        return to_hsv(converted.to_ndarray())
