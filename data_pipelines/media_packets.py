"""What packets tell beyond the probe: a digest, how many bits changes take, and whether the file is cut off."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from recot.video_io import VideoLimits, VideoProbe
from recot.video_io.limits import Deadline
from recot.video_io.packets import MP4
from recot.video_io.source import open_container

_MATROSKA = "matroska,webm"
_DURATION_TOLERANCE_S = 1.0
"""How much earlier than its header says a Matroska file may end: muxers round, and don't know how long the last frame
stays (our choice)."""


@dataclass(frozen=True)
class PacketFacts:
    """What one pass over the packets tells.

    Attributes:
        md5: hex digest of the content of all packets of the video stream, in the order of the file. A file that was
            put into another container without encoding it again has the same (MPEG-TS and AVI excepted, where the
            packets of H.264 and HEVC are written in another way).
        change_bytes: size of all packets that aren't key frames.
        lost_frames: frames that the container promises and that aren't there.
    """

    md5: str
    change_bytes: int
    lost_frames: int


def read_packet_facts(path: Path, probe: VideoProbe, limits: VideoLimits, deadline: Deadline) -> PacketFacts:
    """Read all packets once, without decoding.

    Raises:
        VideoError: ``timeout``, or if the file can't be opened any more.
        av.error.FFmpegError: if the container can't be read on.
    """
    digest = hashlib.md5(usedforsecurity=False)
    packets = change_bytes = 0
    ends: dict[int, int] = {}  # stream -> end of its packets, in units of its time base
    with open_container(path, limits) as container:
        stream = container.streams[probe.stream_index]
        assert isinstance(stream, VideoStream)
        for packet in container.demux():
            deadline.check()
            number = packet.stream_index
            if packet.pts is not None:
                ends[number] = max(ends.get(number, 0), packet.pts + (packet.duration or 0))
            if packet.size == 0 or number != probe.stream_index:
                continue
            digest.update(memoryview(packet))
            packets += 1
            change_bytes += 0 if packet.is_keyframe else packet.size
        end_s = max((end * float(container.streams[number].time_base or 0) for number, end in ends.items()), default=0)
        lost = _lost_frames(container, stream, probe, packets, end_s)
    return PacketFacts(digest.hexdigest(), change_bytes, lost)


def _lost_frames(container: InputContainer, stream: VideoStream, probe: VideoProbe, packets: int, end_s: float) -> int:
    """Frames that are promised by what survives when a file is cut off: the index in front, or a length in the header.

    The number of frames in an MP4's header is no such promise: an edit list may leave out some of them, and FFmpeg
    takes them out of the index. Other containers than these three promise nothing.
    """
    if container.format.name == MP4 and len(stream.index_entries) > packets:
        return max(0, sum(entry.size > 0 for entry in stream.index_entries) - packets)
    if container.format.name == "avi":
        # Each frame has a slot, slots may be empty, and a frame's time stamp is the number of its slot.
        return max(0, probe.header_frames - int(probe.pts[-1]) - 1)
    if container.format.name == _MATROSKA and container.duration is not None:
        missing_s = container.duration / av.time_base - end_s
        return round(missing_s * probe.fps) if missing_s > _DURATION_TOLERANCE_S else 0
    return 0
