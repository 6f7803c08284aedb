"""What a video holds, from its headers and packets, before any frame is decoded."""

from dataclasses import dataclass, field
from fractions import Fraction

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from recot.errors import VideoError
from recot.video_io.limits import Deadline, VideoLimits, check_pixels, check_side
from recot.video_io.orientation import stream_rotation
from recot.video_io.packets import PacketTable, read_packets
from recot.video_io.source import Source, broken_off, open_container, source_name

VFR_TOLERANCE = 0.5
"""A video has a variable frame rate where an interval differs from the median by more than this share of it. Jitter of
a camera's clock and rounded time stamps stay below (our choice)."""


@dataclass(frozen=True, eq=False)
class VideoProbe:
    """Facts of one video's main video stream. Frame i is the i-th in order of presentation, from 0.

    Attributes:
        container: FFmpeg's name of the container, e.g. ``matroska,webm``.
        codec: e.g. ``h264``, ``hevc``, ``vp9``, ``av1``.
        pix_fmt: FFmpeg's pixel format, e.g. ``yuv420p10le``; ``unknown`` if only a decoder could tell.
        bit_depth: bits of a colour component, 0 if unknown.
        width, height: pixels as shown, after rotation.
        rotation: degrees (0, 90, 180 or 270) by which a decoded frame is turned clockwise to be shown.
        fps: shown frames over ``duration_s``.
        is_vfr: frame intervals vary.
        has_edit_list: the container hides or repeats some of the coded frames.
        frames: frames that a player shows: hidden ones and those cut off by an edit list don't count.
        duration_s: seconds from the first shown frame to the end of the last.
        times_s: (frames,) float64 presentation times in seconds, ascending, from the earliest start of any stream in
            the file: where sound starts first, the first frame is later than 0.
        header_frames: frames that the header promises for this stream, 0 if it doesn't say.
        packets: packets that are really there, hidden ones included.
        has_orientation: the stream has a display matrix (rotation, mirroring, or both).
        closed_gops: decoding can start at every key frame without loss: in H.264 and HEVC it is an IDR picture, and no
            frame that follows it in the file is shown before it.
        size_in_header: the coded frames have the size that the container's header says, as far as packets tell.
        pts: (frames,) int64, ``times_s`` in units of ``time_base`` and without the common start.
        keyframe_pts: (K,) int64, ascending, of all key frames, those before the first shown frame included.
        time_base: seconds of one unit of ``pts``.
        stream_index: the video stream's place in the container.
        video_streams: how many video streams the container has.
    """

    container: str
    codec: str
    pix_fmt: str
    bit_depth: int
    width: int
    height: int
    rotation: int
    fps: float
    is_vfr: bool
    has_edit_list: bool
    frames: int
    duration_s: float
    times_s: np.ndarray = field(repr=False)
    header_frames: int
    packets: int
    has_orientation: bool
    closed_gops: bool
    size_in_header: bool
    pts: np.ndarray = field(repr=False)
    keyframe_pts: np.ndarray = field(repr=False)
    time_base: Fraction
    stream_index: int
    video_streams: int


def probe(source: Source, limits: VideoLimits | None = None) -> VideoProbe:
    """Read a video's headers and packets, refuse it by ``limits``, and decode none of its frames.

    Args:
        source: a local path, or the content of a video file.
        limits: bounds on size, length and time; ``VideoLimits()`` if None.

    Raises:
        VideoError: with one of the reasons ``not_found``, ``not_a_file``, ``empty_file``, ``unreadable_file``,
            ``unreadable_container``, ``encrypted``, ``no_video_stream``, ``unsupported_codec``, ``unknown_size``,
            ``too_large``, ``too_long``, ``too_many_pixels``, ``no_frames``, ``no_timestamps``, ``timeout``.
    """
    limits = limits or VideoLimits()
    name = source_name(source)
    deadline = Deadline(name, limits.timeout_s)
    with open_container(source, limits) as container:
        stream = _main_stream(container, name)
        width, height = stream.codec_context.width, stream.codec_context.height
        if width < 1 or height < 1:
            raise VideoError(
                name,
                "unknown_size",
                f"no frame size in its headers, or one over {limits.max_side}x{limits.max_side} pixels; "
                "it is damaged or forged, or the limit on the size is too low",
            )
        check_side(name, width, height, limits)
        check_pixels(name, stream.frames, width * height, limits)
        try:
            table = read_packets(container, stream, source, limits, deadline)
        except (av.error.FFmpegError, OSError) as error:
            raise broken_off(source, "unreadable_container", error) from error
        rotation = stream_rotation(container, stream.index)
        return _summary(container, stream, table, rotation, name, limits)


def _main_stream(container: InputContainer, name: str) -> VideoStream:
    stream = container.streams.best("video")
    if stream is None or stream.disposition & (av.stream.Disposition.attached_pic | av.stream.Disposition.still_image):
        held = sorted({str(s.type) for s in container.streams}) or ["none"]
        raise VideoError(
            name, "no_video_stream", f"expected a video stream (a cover picture is none), found: {', '.join(held)}"
        )
    if stream.codec_context is None:
        raise VideoError(name, "unsupported_codec", "no decoder for its video codec; convert it, e.g. to H.264")
    assert isinstance(stream, VideoStream)
    return stream


def _summary(
    container: InputContainer,
    stream: VideoStream,
    table: PacketTable,
    rotation: int | None,
    name: str,
    limits: VideoLimits,
) -> VideoProbe:
    context = stream.codec_context
    assert stream.time_base is not None
    time_base = Fraction(stream.time_base.numerator, stream.time_base.denominator)
    pts, durations = _shown(table, stream.frames, name)
    times_s = pts * float(time_base)
    start_s = times_s[0] if container.start_time is None else container.start_time / av.time_base
    # FFmpeg rounds the common start to microseconds.
    times_s -= times_s[0] if abs(times_s[0] - start_s) < 1e-6 else start_s
    intervals = np.diff(times_s)
    duration_s = float(times_s[-1] - times_s[0]) + _last_interval(stream, float(durations[-1] * time_base), intervals)
    if duration_s > limits.max_duration_s:
        raise VideoError(
            name,
            "too_long",
            f"{duration_s:.0f} s; at most {limits.max_duration_s:g} s: raise the limit or drop it",
        )
    turned = rotation in (90, 270)
    return VideoProbe(
        container=container.format.name,
        codec=context.codec.canonical_name,
        pix_fmt=context.pix_fmt or "unknown",
        bit_depth=max(c.bits for c in context.format.components) if context.format else 0,
        width=context.height if turned else context.width,
        height=context.width if turned else context.height,
        rotation=rotation or 0,
        fps=len(pts) / duration_s if duration_s > 0 else 0.0,
        is_vfr=_is_vfr(intervals),
        has_edit_list=table.hidden_by_edit_list > 0 or table.repeated,
        frames=len(pts),
        duration_s=duration_s,
        times_s=times_s,
        header_frames=stream.frames,
        packets=table.packets,
        has_orientation=rotation is not None,
        closed_gops=table.closed_gops,
        size_in_header=table.size_in_header,
        pts=pts,
        keyframe_pts=np.unique(np.array(table.keyframe_pts, dtype=np.int64)),
        time_base=time_base,
        stream_index=stream.index,
        video_streams=len(container.streams.video),
    )


def _shown(table: PacketTable, header_frames: int, name: str) -> tuple[np.ndarray, np.ndarray]:
    """(pts, durations), both (frames,) int64 in order of presentation."""
    if table.without_time:
        raise VideoError(
            name, "no_timestamps", f"{table.without_time} of {table.packets} packets have no time; remux the video"
        )
    if not table.shown:
        raise VideoError(
            name, "no_frames", f"no frame to show ({header_frames or 'no'} frames in the header); it is damaged"
        )
    pts, durations = np.array(sorted(table.shown), dtype=np.int64).T
    return pts, durations


def _last_interval(stream: VideoStream, packet_duration_s: float, intervals: np.ndarray) -> float:
    """Seconds that the last frame is shown: what its packet says, else the median interval, else the stream's rate."""
    if packet_duration_s > 0:
        return packet_duration_s
    if len(intervals):
        return float(np.median(intervals))
    return float(1 / stream.average_rate) if stream.average_rate else 0.0


def _is_vfr(intervals: np.ndarray) -> bool:
    if len(intervals) == 0:
        return False
    median = np.median(intervals)
    return bool(np.abs(intervals - median).max() > VFR_TOLERANCE * median)
