"""Chosen frames of a video piece by piece, for videos whose frames don't fit into memory at once."""

from collections.abc import Iterator, Sequence

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from recot.errors import VideoError
from recot.video_io import decord_reader, pyav_reader
from recot.video_io.decode import DecodedFrames, check_range
from recot.video_io.limits import Deadline, VideoLimits
from recot.video_io.probe import VideoProbe
from recot.video_io.probe import probe as probe_video
from recot.video_io.source import Source, broken_off, source_name


def decode_pieces(
    source: Source,
    indices: Sequence[int] | np.ndarray,
    size: tuple[int, int],
    *,
    piece: int,
    probe: VideoProbe | None = None,
    limits: VideoLimits | None = None,
) -> Iterator[DecodedFrames]:
    """What ``decode`` gives, in pieces of ``piece`` frames, the last one shorter where it doesn't come out even.

    The video is read once, by one reader, which holds one small batch of frames besides the piece. It is closed when
    the last piece is taken or the iterator is. Where decord gives up in the middle, PyAV goes on from there.

    Args:
        source: a local path, or the content of a video file.
        indices: (F,) frame numbers in order of presentation, ascending, repeated or not.
        size: (H, W) of the result in pixels.
        piece: frames of a piece.
        probe: ``probe(source)`` if it is known already.
        limits: as for ``decode``; its time limit is for each piece alone, and what is done between two isn't counted.

    Raises:
        VideoError: as ``decode``, ``decode_failed`` and ``timeout`` when the piece is asked for.
        ValueError: if ``size`` or ``piece`` isn't positive, or ``indices`` isn't ascending.
    """
    numbers = np.asarray(indices, dtype=np.int64)
    if min(*size, piece) < 1 or (np.diff(numbers) < 0).any():
        raise ValueError(f"size {size} and piece {piece} must be positive, and indices ascending")
    limits = limits or VideoLimits()
    name = source_name(source)
    facts = probe_video(source, limits) if probe is None else probe
    check_range(name, facts, numbers)
    return _pieces(source, facts, numbers, size, piece, limits)


def _pieces(
    source: Source, facts: VideoProbe, numbers: np.ndarray, size: tuple[int, int], piece: int, limits: VideoLimits
) -> Iterator[DecodedFrames]:
    deadline = Deadline(source_name(source), limits.timeout_s)
    successive = _frames(source, facts, np.unique(numbers), size, limits, deadline)
    before, frame = -1, np.empty(0)
    for start in range(0, len(numbers), piece):
        deadline.restart()
        own = numbers[start : start + piece]
        frames = np.empty((len(own), *size, 3), dtype=np.uint8)
        for i, number in enumerate(own):
            if number != before:
                before, frame = number, next(successive)
            frames[i] = frame
        yield DecodedFrames(frames=frames, times_s=facts.times_s[own])


def _frames(
    source: Source,
    facts: VideoProbe,
    wanted: np.ndarray,
    size: tuple[int, int],
    limits: VideoLimits,
    deadline: Deadline,
) -> Iterator[np.ndarray]:
    """(H, W, 3) uint8 of each of ``wanted``, which are ascending, each once."""
    done = 0
    if decord_reader.is_exact(facts, size[1]):
        for batch in decord_reader.batches(source, facts, wanted, size, deadline):
            yield from batch
            done += len(batch)
    rest, given = wanted[done:], 0
    reformatter = VideoReformatter()
    try:
        for place, picture in pyav_reader.clean_frames(source, facts, rest, limits, deadline):
            if place > given:
                break
            frame = np.empty((*size, 3), dtype=np.uint8)
            pyav_reader.write_rgb(picture, frame, reformatter)
            yield frame
            given += 1
    except (av.error.FFmpegError, OSError) as error:
        raise broken_off(source, "decode_failed", error) from error
    if given < len(rest):
        raise VideoError(
            source_name(source),
            "decode_failed",
            f"frame {rest[given]} could not be decoded or is damaged; repair or drop the video",
        )
