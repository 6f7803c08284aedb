"""One pass over the packets of a video stream: what is really there, whatever the header says."""

from dataclasses import dataclass, field

from av.container import InputContainer
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from recot.video_io.bitstream import is_hidden, is_idr, vp8_key_frame_size
from recot.video_io.limits import Deadline, VideoLimits, check_pixels, check_side
from recot.video_io.source import Source, encrypted, source_name

MP4 = "mov,mp4,m4a,3gp,3g2,mj2"
"""FFmpeg's name of the only container with edit lists."""


@dataclass
class PacketTable:
    """What the packets tell. Times are in units of the stream's time base."""

    shown: list[tuple[int, int]] = field(default_factory=list)  # (pts, duration), in the order of the file
    keyframe_pts: list[int] = field(default_factory=list)
    packets: int = 0
    hidden_by_edit_list: int = 0
    repeated: bool = False  # an edit list shows a packet twice
    without_time: int = 0
    closed_gops: bool = True
    size_in_header: bool = True


def read_packets(
    container: InputContainer, stream: VideoStream, source: Source, limits: VideoLimits, deadline: Deadline
) -> PacketTable:
    """Read all packets of ``stream``.

    Raises:
        VideoError: ``too_many_pixels``, ``too_large``, ``encrypted``, ``timeout``.
        av.error.FFmpegError: if the container can't be read on.
    """
    name = source_name(source)
    context = stream.codec_context
    codec, pixels = context.codec.canonical_name, context.width * context.height
    may_repeat = container.format.name == MP4
    positions: set[int | None] = set()
    table = PacketTable()
    for packet in container.demux(stream):
        deadline.check()
        if packet.size == 0:
            continue
        table.packets += 1
        check_pixels(name, table.packets, pixels, limits)
        if packet.has_sidedata("encryption_info"):
            raise encrypted(source)
        if may_repeat:
            table.repeated |= packet.pos in positions
            positions.add(packet.pos)
        if packet.is_keyframe:
            _add_key_frame(table, packet, context, name, limits)
        if packet.is_discard:
            table.hidden_by_edit_list += 1
        elif is_hidden(codec, memoryview(packet)):
            continue
        elif packet.pts is None:
            table.without_time += 1
        else:
            table.shown.append((packet.pts, packet.duration or 0))
            table.closed_gops &= not table.keyframe_pts or packet.pts >= table.keyframe_pts[-1]
    return table


def _add_key_frame(
    table: PacketTable, packet: Packet, context: VideoCodecContext, name: str, limits: VideoLimits
) -> None:
    codec, content = context.codec.canonical_name, memoryview(packet)
    if packet.pts is not None:
        table.keyframe_pts.append(packet.pts)
    table.closed_gops &= is_idr(codec, content, context.extradata)
    size = vp8_key_frame_size(content) if codec == "vp8" else None
    if size is not None and size != (context.width, context.height):
        check_side(name, *size, limits)
        table.size_in_header = False
