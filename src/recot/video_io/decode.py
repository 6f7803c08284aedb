"""Chosen frames of a video as an array."""

from collections.abc import Sequence
from dataclasses import dataclass

import av
import numpy as np

from recot.errors import VideoError
from recot.video_io import decord_reader, pyav_reader
from recot.video_io.limits import Deadline, VideoLimits
from recot.video_io.probe import VideoProbe
from recot.video_io.probe import probe as probe_video
from recot.video_io.source import Source, broken_off, source_name


@dataclass(frozen=True, eq=False)
class DecodedFrames:
    """Frames in the order asked for.

    Attributes:
        frames: (F, H, W, 3) uint8 RGB.
        times_s: (F,) float64 presentation times in seconds.
    """

    frames: np.ndarray
    times_s: np.ndarray


def decode(
    source: Source,
    indices: Sequence[int] | np.ndarray,
    size: tuple[int, int],
    probe: VideoProbe | None = None,
    limits: VideoLimits | None = None,
) -> DecodedFrames:
    """Decode frames of a video, turned upright and stretched to one size.

    decord reads the videos for which it is exact, PyAV all others (and all where decord isn't installed); both use one
    thread, bilinear resizing and the colour matrix named in the stream. No reader survives the call.

    Args:
        source: a local path, or the content of a video file.
        indices: (F,) frame numbers in order of presentation, in any order, repeated or not.
        size: (H, W) of the result in pixels.
        probe: ``probe(source)`` if it is known already.
        limits: bounds on size, length and time; ``VideoLimits()`` if None.

    Raises:
        VideoError: what ``probe`` raises; ``frame_out_of_range`` for an index that the video doesn't have;
            ``decode_failed`` if any of the frames doesn't come out or is damaged; ``timeout``.
        ValueError: if ``size`` isn't positive.
    """
    if min(size) < 1:
        raise ValueError(f"size must be (height, width) in pixels, got {size}")
    limits = limits or VideoLimits()
    name = source_name(source)
    deadline = Deadline(name, limits.timeout_s)
    facts = probe_video(source, limits) if probe is None else probe
    wanted, place = np.unique(np.asarray(indices, dtype=np.int64), return_inverse=True)
    check_range(name, facts, wanted)
    frames = _read(source, facts, wanted, size, limits, deadline)
    if not np.array_equal(place, np.arange(len(wanted))):
        frames = frames[place]
    return DecodedFrames(frames=frames, times_s=facts.times_s[wanted][place])


def check_range(name: str, probe: VideoProbe, wanted: np.ndarray) -> None:
    """Return if the video has all ``wanted`` frames, (n,) int64, ascending.

    Raises:
        VideoError: ``frame_out_of_range``.
    """
    if len(wanted) and (wanted[0] < 0 or wanted[-1] >= probe.frames):
        outside = wanted[-1] if wanted[-1] >= probe.frames else wanted[0]
        raise VideoError(
            name, "frame_out_of_range", f"frame {outside} was asked for, the video has frames 0 to {probe.frames - 1}"
        )


def _read(
    source: Source,
    facts: VideoProbe,
    wanted: np.ndarray,
    size: tuple[int, int],
    limits: VideoLimits,
    deadline: Deadline,
) -> np.ndarray:
    if decord_reader.is_exact(facts, size[1]):
        frames = decord_reader.read_frames(source, facts, wanted, size, deadline)
        if frames is not None:
            return frames
    try:
        frames, found = pyav_reader.read_frames(source, facts, wanted, size, limits, deadline)
    except (av.error.FFmpegError, OSError) as error:
        raise broken_off(source, "decode_failed", error) from error
    if not found.all():
        raise VideoError(
            source_name(source),
            "decode_failed",
            f"{np.count_nonzero(~found)} of {len(wanted)} frames could not be decoded or are damaged, "
            f"the first is frame {wanted[np.argmin(found)]}; repair or drop the video",
        )
    return frames
