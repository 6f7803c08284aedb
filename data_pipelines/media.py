"""Looks at one video: facts, content hashes, and one full decode on which all signals of its pixels are measured.

Runs in supervised child processes.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np

from data_pipelines.media_frames import GRID_S, FrameCollector, Plan, plan_frames
from data_pipelines.media_packets import PacketFacts, read_packet_facts
from data_pipelines.media_pictures import decode_picture, encode_picture
from data_pipelines.signals.blankness import blankness
from data_pipelines.signals.blur import blur
from data_pipelines.signals.cuts import cuts_per_minute
from data_pipelines.signals.darkness import darkness
from data_pipelines.signals.health import health
from data_pipelines.signals.motion import motion
from data_pipelines.signals.packets import packet_activity
from data_pipelines.signals.perceptual_hash import SIDE as HASH_SIDE
from data_pipelines.signals.perceptual_hash import perceptual_hash
from data_pipelines.signals.signal import Signal
from data_pipelines.signals.staticness import staticness
from data_pipelines.supervised import Failure
from recot.data.schema import KEY_LENGTH, VIDEO_EXTENSIONS, Media
from recot.errors import VideoError
from recot.video_io import VideoLimits, VideoProbe, probe
from recot.video_io.limits import Deadline
from recot.video_io.pyav_reader import sequential_frames
from recot.video_io.source import broken_off

MEDIA_VERSION = 1
"""Rises with every change of what is measured, so that scores of before aren't taken for those of today."""

_EXTENSION_OF_CONTAINER = {"mov": "mp4", "matroska": "mkv", "mpegts": "ts", "mpeg": "mpg", "asf": "wmv", "ogg": "ogv"}
"""FFmpeg's (first) name of a container -> our extension, where they differ."""


@dataclass(frozen=True)
class MediaSettings:
    """What the vision encoder needs.

    Attributes:
        frame_size: side of its frames, in pixels.
        frame_count: frames a video, from the middles of so many equal spans of its duration.
    """

    frame_size: int
    frame_count: int = 8


@dataclass(frozen=True)
class MediaScores:
    """What is known of a video that could be opened and has at least one frame that decodes.

    Attributes:
        key: the shard key, from the file's content.
        extension: of the payload.
        media: probed facts; ``media.frames`` counts shown frames, ``media.missing_frames`` lists those that don't
            decode.
        packet_md5: digest of the video stream's packets; see ``PacketFacts``.
        signals: by name.
        hash_times_s: presentation times of the hashes: every 0.5 s from the first frame on, or every 1, 2, 4... s where
            that gives more than 512. Times at which the frame on screen doesn't decode are left out.
        hashes: perceptual hash of the frame on screen at each time.
        mirrored_hashes: the same of the frame with left and right swapped.
        frame_size: side S of the pictures, in pixels.
        pictures: k codes of ``encode_picture``: the frames in the middles of k equal spans of the duration. Where one
            doesn't decode, it is the next one that does, or the last of all.
        frame_times_s: their presentation times.
    """

    key: str
    extension: str
    media: Media
    packet_md5: str
    signals: dict[str, Signal]
    hash_times_s: list[float]
    hashes: list[int]
    mirrored_hashes: list[int]
    frame_size: int
    pictures: list[bytes]
    frame_times_s: list[float]

    @property
    def frames(self) -> np.ndarray:
        """(k, S, S, 3) uint8 RGB, upright."""
        return np.stack([decode_picture(code, self.frame_size) for code in self.pictures])


def score_media(path: Path, *, settings: MediaSettings, limits: VideoLimits, max_bytes: int) -> MediaScores | Failure:
    """Probe a video, read its packets, decode it once from start to end, and hash its content.

    Args:
        path: of the video.
        settings: of the frames for the vision encoder.
        limits: bounds on size, length and time.
        max_bytes: largest file.

    Returns:
        The scores, or a ``Failure`` with the reason of the ``VideoError``, ``too_large_file``, or ``decode_failed``
        where not a single frame comes out clean.
    """
    cv2.setNumThreads(1)
    try:
        facts = probe(path, limits)
        if path.stat().st_size > max_bytes:
            size_mib = path.stat().st_size / 2**20
            raise VideoError(str(path), "too_large_file", f"{size_mib:.0f} MiB; at most {max_bytes / 2**20:.0f} MiB")
        plan = plan_frames(facts, settings.frame_count)
        packets, seen = _read(path, facts, plan, settings, limits)
    except VideoError as error:
        return Failure(error.reason, type(error).__name__, error.message)
    with path.open("rb") as file:
        key = hashlib.file_digest(file, "sha256").hexdigest()[:KEY_LENGTH]
    places = sorted(seen.hashed)
    lumas = np.stack([seen.hashed[place] for place in places]) if places else np.empty((0, HASH_SIDE, HASH_SIDE), "u1")
    return MediaScores(
        key=key,
        extension=_extension(path, facts),
        media=_media(facts, np.flatnonzero(~seen.decoded).tolist()),
        packet_md5=packets.md5,
        signals=_signals(facts, plan, packets, seen),
        hash_times_s=[float(facts.times_s[0]) + place * GRID_S for place in places],
        hashes=perceptual_hash(lumas).tolist(),
        mirrored_hashes=perceptual_hash(np.ascontiguousarray(lumas[:, :, ::-1])).tolist(),
        frame_size=settings.frame_size,
        pictures=[encode_picture(shot) for shot in seen.shots],
        frame_times_s=facts.times_s[seen.shot_numbers].tolist(),
    )


def _read(
    path: Path, facts: VideoProbe, plan: Plan, settings: MediaSettings, limits: VideoLimits
) -> tuple[PacketFacts, FrameCollector]:
    """Packets, then frames.

    Raises:
        VideoError: ``timeout``, ``decode_failed``, or if the source can't be opened any more.
    """
    deadline = Deadline(str(path), limits.timeout_s)
    seen = FrameCollector(plan, frames=facts.frames, fps=facts.fps, side=settings.frame_size)
    try:
        packets = read_packet_facts(path, facts, limits, deadline)
        for number, frame in sequential_frames(path, facts, limits, deadline):
            seen.add(number, frame)
        seen.finish()
    except (av.error.FFmpegError, OSError) as error:
        raise broken_off(path, "decode_failed", error) from error
    if not seen.decoded.any():
        raise VideoError(str(path), "decode_failed", f"none of {facts.frames} frames decodes; drop the video")
    return packets, seen


def _signals(facts: VideoProbe, plan: Plan, packets: PacketFacts, seen: FrameCollector) -> dict[str, Signal]:
    decoded = int(np.count_nonzero(seen.decoded))
    small = seen.small[seen.present]
    detail = np.stack(list(seen.detail.values())) if seen.detail else np.empty((0, 1, 1), np.uint8)
    pairs = [(seen.detail[i], seen.detail[i + 1]) for i in plan.pairs if {i, i + 1} <= seen.detail.keys()]
    return {
        "health": health(decoded=decoded, shown=facts.frames, lost=packets.lost_frames),
        "frames": Signal(float(decoded)),
        "duration_s": Signal(facts.duration_s),
        "min_side": Signal(float(min(facts.width, facts.height))),
        "packet_activity": packet_activity(
            change_bytes=packets.change_bytes, pixels=facts.width * facts.height, duration_s=facts.duration_s
        ),
        "dark": darkness(small),
        "blank": blankness(small),
        "blur": blur(detail),
        "static": staticness(small),
        "motion": motion(np.array(pairs, dtype=np.uint8)),
        "cuts_per_min": cuts_per_minute(
            np.array(seen.cuts.scores), facts.times_s[seen.cuts.numbers], duration_s=facts.duration_s
        ),
    }


def _extension(path: Path, facts: VideoProbe) -> str:
    """The file's own extension where it has one that we know, else one that fits the container."""
    given = path.suffix.removeprefix(".").lower()
    if given in VIDEO_EXTENSIONS:
        return given
    container = facts.container.split(",")[0]
    return _EXTENSION_OF_CONTAINER.get(container, container)


def _media(facts: VideoProbe, missing: list[int]) -> Media:
    return Media(
        container=facts.container,
        codec=facts.codec,
        width=facts.width,
        height=facts.height,
        fps=facts.fps,
        is_vfr=facts.is_vfr,
        duration_s=facts.duration_s,
        frames=facts.frames,
        rotation=facts.rotation,
        missing_frames=missing,
    )
