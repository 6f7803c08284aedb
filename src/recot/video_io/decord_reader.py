"""Frames through decord: faster than PyAV because it resizes inside the filter graph, exact only for some videos.

decord 0.6.0 knows no AV1 or VVC, ignores rotation and edit lists, counts hidden VP8 and VP9 frames as shown, takes
wrong frames after key frames that aren't IDR, fails at the end of MPEG-TS, and aborts the process on some forged frame
tables. It gets only videos with none of that.
"""

import io
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from recot.video_io.limits import Deadline
from recot.video_io.packets import MP4
from recot.video_io.probe import VideoProbe
from recot.video_io.source import Source

try:
    import decord
    from decord import DECORDError, DECORDLimitReachedError
except ImportError:  # there are no wheels for some platforms; PyAV decodes everything
    decord = None

CONTAINERS = (MP4, "matroska,webm")
CODECS = ("h264", "hevc", "mpeg4", "vp8", "vp9")
CHUNK = 16
"""Frames between two looks at the deadline."""
NO_FRAME_LOST = "1e-12"
"""decord's ``fault_tol``: the share of frames that it may replace by their neighbours without saying so."""


def is_exact(probe: VideoProbe, width: int) -> bool:
    """Whether decord is installed and gives every frame of this video as PyAV does, ``width`` pixels wide.

    decord counts the colours of a picture as bytes of a row over ``width``. Rows are padded to 32 pixels, so that it
    takes some widths (6, 8, 12, 16, 24, 48 and 72) for four colours, and raises.
    """
    row_bytes = -(-width // 32) * 32 * 3
    return (row_bytes == 3 * width or row_bytes % width != 0) and _is_plain(probe)


def _is_plain(probe: VideoProbe) -> bool:
    return (
        decord is not None
        and probe.container in CONTAINERS
        and probe.codec in CODECS
        and probe.bit_depth == 8
        and probe.video_streams == 1
        and probe.size_in_header
        and probe.closed_gops
        and not probe.has_orientation
        and not probe.has_edit_list
        and not probe.is_vfr
        and probe.packets == probe.frames
        and probe.header_frames in (0, probe.frames)
    )


def read_frames(
    source: Source, probe: VideoProbe, wanted: np.ndarray, size: tuple[int, int], deadline: Deadline
) -> np.ndarray | None:
    """Decode some frames of a video that ``is_exact``.

    Args:
        wanted: (n,) int64 frame numbers, ascending, each once.
        size: (H, W) of the result in pixels.

    Returns:
        (n, H, W, 3) uint8 RGB, or None if decord disagrees with the probe about the frames' times or gives up, which
        it does at the first damaged packet.

    Raises:
        VideoError: ``timeout``.
    """
    frames = np.empty((len(wanted), *size, 3), dtype=np.uint8)
    done = 0
    for some in batches(source, probe, wanted, size, deadline):
        frames[done : done + len(some)] = some
        done += len(some)
    return frames if done == len(wanted) else None


def batches(
    source: Source, probe: VideoProbe, wanted: np.ndarray, size: tuple[int, int], deadline: Deadline
) -> Iterator[np.ndarray]:
    """Successive (<= CHUNK, H, W, 3) of what ``read_frames`` gives. Ends early where decord disagrees or gives up."""
    try:
        reader = _open(source, size)
        if not _same_times(reader, probe):
            return
        for start in range(0, len(wanted), CHUNK):
            deadline.check()
            yield reader.get_batch(wanted[start : start + CHUNK]).asnumpy()
    except (DECORDError, DECORDLimitReachedError, RuntimeError, AssertionError):
        return


def _open(source: Source, size: tuple[int, int]) -> Any:
    decord.logging.set_level(decord.logging.QUIET)
    height, width = size
    # An absolute path can't be taken for an address.
    file = io.BytesIO(source) if isinstance(source, bytes) else os.path.abspath(source)  # noqa: PTH100
    return decord.VideoReader(
        file, ctx=decord.cpu(0), width=width, height=height, num_threads=1, fault_tol=NO_FRAME_LOST
    )


def _same_times(reader: Any, probe: VideoProbe) -> bool:
    if len(reader) != probe.frames:
        return False
    starts_s = reader.get_frame_timestamp(range(probe.frames))[:, 0]
    tolerance_s = 0.25 * probe.duration_s / probe.frames
    return bool(np.allclose(starts_s - starts_s[0], probe.times_s - probe.times_s[0], rtol=0, atol=tolerance_s))
