"""Rotation and mirroring that a container asks a player to apply to each decoded frame."""

import re
import threading
from dataclasses import dataclass

import av
import numpy as np
from av.container import InputContainer
from av.sidedata.sidedata import SideData
from av.video.frame import VideoFrame

_LOG_LEVEL = threading.Lock()
_ROTATION = re.compile(r"^\s+display ?matrix: rotation of (\S+) degrees$", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True)
class Orientation:
    """How a decoded frame becomes the shown one: swap rows and columns first, then mirror."""

    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False

    def copy(self, frame: np.ndarray, shown: np.ndarray) -> None:
        """Write a frame as decoded, (H, W, 3), into ``shown``, (H, W, 3) or, transposed, (W, H, 3)."""
        if self == Orientation():
            shown[...] = frame
            return
        if self.transpose:
            frame = frame.swapaxes(0, 1)
        turned = frame[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1]
        for colour in range(3):  # NumPy takes several times as long for turned rows of three bytes each
            shown[..., colour] = turned[..., colour]


def frame_orientation(frame: VideoFrame) -> Orientation:
    """The orientation in a frame's display matrix; angles between are rounded to right angles.

    The matrix maps a decoded pixel (x, y) to the shown (a x + c y, b x + d y), y downwards.
    """
    data = frame.side_data.get("DISPLAYMATRIX")
    if not isinstance(data, SideData):
        return Orientation()
    a, b, _, c, d = np.frombuffer(bytes(data), dtype=np.int32)[:5].tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        return Orientation(transpose=True, flip_x=c < 0, flip_y=b < 0)
    return Orientation(transpose=False, flip_x=a < 0, flip_y=d < 0)


def stream_rotation(container: InputContainer, stream_index: int) -> int | None:
    """Degrees, clockwise (0, 90, 180 or 270), by which a stream's frames must be turned; None if it says nothing.

    PyAV gives a stream's display matrix only with a decoded frame. FFmpeg's own description of the file has it without
    decoding; that is log text, so logging is on for a moment.
    """
    with _LOG_LEVEL:
        level = av.logging.get_level()
        av.logging.set_level(av.logging.INFO)
        try:
            description = container.dumps_format()  # type: ignore[attr-defined]
        finally:
            av.logging.set_level(level)
    own = re.search(rf"^  Stream #0:{stream_index}\b.*?(?=^  Stream #0:|\Z)", description, re.DOTALL | re.MULTILINE)
    found = _ROTATION.search(own.group()) if own else None
    if found is None:
        return None
    counter_clockwise = float(found.group(1))
    if not np.isfinite(counter_clockwise):  # a matrix that squeezes the picture to nothing
        return 0
    return round(-counter_clockwise / 90) * 90 % 360
