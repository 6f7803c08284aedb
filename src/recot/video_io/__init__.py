"""Videos into arrays: facts without decoding (``probe``), which frames (``FrameSampling``), and the frames themselves
(``decode``, or ``decode_pieces`` with the memory of one piece), from local files or bytes that nobody vouches for."""

from recot.video_io.decode import DecodedFrames, decode
from recot.video_io.health import Health, check_health
from recot.video_io.limits import VideoLimits
from recot.video_io.pieces import decode_pieces
from recot.video_io.probe import VideoProbe, probe
from recot.video_io.sampling import FrameSampling
from recot.video_io.source import Source

__all__ = [
    "DecodedFrames",
    "FrameSampling",
    "Health",
    "Source",
    "VideoLimits",
    "VideoProbe",
    "check_health",
    "decode",
    "decode_pieces",
    "probe",
]
