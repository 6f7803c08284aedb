"""Frames through PyAV: every codec and container, rotation applied, matched by presentation time."""

from collections.abc import Iterable, Iterator

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from recot.video_io.limits import Deadline, VideoLimits
from recot.video_io.orientation import frame_orientation
from recot.video_io.probe import VideoProbe
from recot.video_io.source import Source, decoder_options, open_container

SEEK_GAIN = 8
"""Frames that a jump must save, because it also throws away what the decoder has in the works (our choice)."""
SEEK_ATTEMPTS = 3
"""Key frames tried, backwards, before reading from the start: some containers (MPEG-TS) only land nearby."""


def read_frames(
    source: Source,
    probe: VideoProbe,
    wanted: np.ndarray,
    size: tuple[int, int],
    limits: VideoLimits,
    deadline: Deadline,
) -> tuple[np.ndarray, np.ndarray]:
    """Decode some frames, jumping to key frames where that saves work.

    What decoding from the start gives is the truth: from the first frame that doesn't come out clean after a jump on,
    all is read again from the start.

    Args:
        wanted: (n,) int64 frame numbers, ascending, each once.
        size: (H, W) of the result in pixels.

    Returns:
        ``(frames, found)``: (n, H, W, 3) uint8 RGB and (n,) bool; a frame that didn't come out clean (see
        ``sequential_frames``) is left unset.

    Raises:
        VideoError: ``timeout``, or if the source can't be opened any more.
        av.error.FFmpegError: if the container can't be read on, or a frame not converted.
    """
    frames = np.empty((len(wanted), *size, 3), dtype=np.uint8)
    found = np.zeros(len(wanted), dtype=bool)
    reformatter = VideoReformatter()
    for i, frame in clean_frames(source, probe, wanted, limits, deadline):
        write_rgb(frame, frames[i], reformatter)
        found[i] = True
    return frames, found


def clean_frames(
    source: Source, probe: VideoProbe, wanted: np.ndarray, limits: VideoLimits, deadline: Deadline
) -> Iterator[tuple[int, VideoFrame]]:
    """(place in ``wanted``, frame) of those that come out clean, in order; otherwise as ``read_frames``."""
    at = 0
    # In AVI the times are made up by FFmpeg from the order of the file; repeated times don't say which frame it is.
    may_jump = probe.container != "avi" and bool((np.diff(probe.pts) > 0).all())
    for jump in (True, False) if may_jump else (False,):
        if at == len(wanted):
            return
        with open_container(source, limits) as container:
            for i, frame in _pick(container, probe, wanted, at, jump, limits, deadline):
                yield i, frame
                at = i + 1


def sequential_frames(
    source: Source, probe: VideoProbe, limits: VideoLimits, deadline: Deadline
) -> Iterator[tuple[int, VideoFrame]]:
    """Decode the whole video: (frame number, frame) of every shown frame that comes out clean.

    A frame is clean if the decoder doesn't flag it, and neither flagged nor lost one since the last key frame: what
    builds on a damaged frame shows the damage too, but isn't flagged.
    """
    with open_container(source, limits) as container:
        stream = _main_stream(container, probe, limits)
        yield from _shown_frames(stream, container.demux(stream), probe, deadline)


def _pick(
    container: InputContainer,
    probe: VideoProbe,
    wanted: np.ndarray,
    at: int,
    jump: bool,
    limits: VideoLimits,
    deadline: Deadline,
) -> Iterator[tuple[int, VideoFrame]]:
    """(place in ``wanted``, frame) from place ``at`` on. With ``jump``, ends at the first one that is missed."""
    stream = _main_stream(container, probe, limits)
    keyframe_position = np.searchsorted(probe.pts, probe.keyframe_pts)
    key = np.searchsorted(probe.keyframe_pts, probe.pts[wanted], side="right") - 1  # key frame at or before each
    while at < len(wanted):
        start = int(key[at]) if jump else 0
        packets = container.demux(stream) if start < 1 else _packets_from_key(container, stream, probe, start)
        if packets is None:
            return
        for position, frame in _shown_frames(stream, packets, probe, deadline):
            while at < len(wanted) and wanted[at] < position:
                if jump:
                    return
                at += 1
            if at < len(wanted) and wanted[at] == position:
                yield at, frame
                at += 1
            if at == len(wanted) or (jump and key[at] > start and keyframe_position[key[at]] > position + SEEK_GAIN):
                break
        else:
            return


def _main_stream(container: InputContainer, probe: VideoProbe, limits: VideoLimits) -> VideoStream:
    stream = container.streams[probe.stream_index]
    assert isinstance(stream, VideoStream)
    stream.codec_context.thread_count = 1
    stream.codec_context.options = decoder_options(limits)
    return stream


def _packets_from_key(
    container: InputContainer, stream: VideoStream, probe: VideoProbe, key: int
) -> Iterator[Packet] | None:
    """Packets from key frame number ``key`` or an earlier one on, None where the container lands nowhere near."""
    known = probe.keyframe_pts[: key + 1]
    for target in known[::-1][:SEEK_ATTEMPTS]:
        try:
            container.seek(int(target), stream=stream)
        except av.error.FFmpegError:
            continue
        packets = container.demux(stream)
        first = next((packet for packet in packets if packet.is_keyframe), None)
        if first is not None and first.pts is not None and first.pts in known:
            return _chain(first, packets)
    return None


def _chain(first: Packet, others: Iterable[Packet]) -> Iterator[Packet]:
    yield first
    yield from others


def _shown_frames(
    stream: VideoStream, packets: Iterable[Packet], probe: VideoProbe, deadline: Deadline
) -> Iterator[tuple[int, VideoFrame]]:
    """(frame number, frame) of the clean frames, in the order of the decoder, which is that of presentation.

    Ends where times contradict that order: from there on they can't tell which frame is which.
    """
    position, last_pts, damaged = -1, None, False
    for packet in packets:
        deadline.check()
        try:
            frames = stream.decode(packet)
        except av.error.FFmpegError:
            damaged = True
            continue
        for frame in frames:
            if frame.pts is not None and last_pts is not None and frame.pts < last_pts:
                return
            # Frames that share one time stamp come one after another.
            before = position
            position = before + 1 if frame.pts == last_pts else _position(probe, frame.pts)
            last_pts = frame.pts
            lost = before >= 0 and position > before + 1
            damaged = frame.is_corrupt or ((damaged or lost) and not frame.key_frame)
            if not damaged and position < probe.frames and probe.pts[position] == frame.pts:
                yield position, frame


def _position(probe: VideoProbe, pts: int | None) -> int:
    return probe.frames if pts is None else int(np.searchsorted(probe.pts, pts))


def write_rgb(frame: VideoFrame, shown: np.ndarray, reformatter: VideoReformatter) -> None:
    """Write a decoded frame into ``shown``, (H, W, 3) uint8 RGB: upright, stretched bilinearly (like decord)."""
    orientation = frame_orientation(frame)
    height, width = shown.shape[1::-1] if orientation.transpose else shown.shape[:2]
    orientation.copy(reformatter.reformat(frame, width, height, "rgb24", threads=1).to_ndarray(), shown)
