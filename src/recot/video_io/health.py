"""How much of a video can really be decoded."""

from dataclasses import dataclass

import av
import numpy as np

from recot.video_io.limits import Deadline, VideoLimits
from recot.video_io.probe import VideoProbe
from recot.video_io.pyav_reader import sequential_frames
from recot.video_io.source import Source, broken_off, source_name


@dataclass(frozen=True)
class Health:
    """Result of decoding a whole video.

    Attributes:
        expected: shown frames by the video's packets.
        decoded: those that came out clean: not flagged as damaged, and no frame flagged or lost since the last key
            frame, because damage spreads to the frames that build on it.
        missing: numbers of the others, ascending.
    """

    expected: int
    decoded: int
    missing: list[int]

    @property
    def ratio(self) -> float:
        """Decoded over expected frames, 0 to 1."""
        return self.decoded / self.expected


def check_health(source: Source, probe: VideoProbe, limits: VideoLimits | None = None) -> Health:
    """Decode a whole video once from start to end, without converting or keeping frames.

    This takes as long as playing the video at full speed on one core, and puts everything in the file before the
    decoder: run it where a crash or a hang does no harm.

    Raises:
        VideoError: ``timeout``, or if the source can't be opened any more.
    """
    limits = limits or VideoLimits()
    deadline = Deadline(source_name(source), limits.timeout_s)
    good = np.zeros(probe.frames, dtype=bool)
    try:
        for position, _ in sequential_frames(source, probe, limits, deadline):
            good[position] = True
    except (av.error.FFmpegError, OSError) as error:
        raise broken_off(source, "decode_failed", error) from error
    return Health(expected=probe.frames, decoded=int(np.count_nonzero(good)), missing=np.flatnonzero(~good).tolist())
