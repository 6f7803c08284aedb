"""Looks at one video: facts, content hash, and one full decode. Runs in supervised child processes."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from data_pipelines.supervised import Failure
from recot.data.schema import KEY_LENGTH, VIDEO_EXTENSIONS, Media
from recot.errors import VideoError
from recot.video_io import VideoLimits, VideoProbe, check_health, probe

_EXTENSION_OF_CONTAINER = {"mov": "mp4", "matroska": "mkv", "mpegts": "ts", "mpeg": "mpg", "asf": "wmv", "ogg": "ogv"}
"""FFmpeg's (first) name of a container -> our extension, where they differ."""


@dataclass(frozen=True)
class Inspection:
    """What is known of a video that could be opened.

    Attributes:
        key: the shard key, from the file's content.
        extension: of the payload.
        media: probed facts; ``media.frames`` counts shown frames, ``media.missing_frames`` lists those that don't
            decode.
    """

    key: str
    extension: str
    media: Media

    @property
    def decoded(self) -> int:
        """Frames that can be decoded."""
        return self.media.frames - len(self.media.missing_frames)

    @property
    def health(self) -> float:
        """Decoded over shown frames, 0 to 1."""
        return self.decoded / self.media.frames


def inspect_video(path: Path, *, limits: VideoLimits, max_bytes: int) -> Inspection | Failure:
    """Probe a video, decode it once from start to end, and hash its content.

    Returns:
        The facts, or a ``Failure`` with the reason of the ``VideoError``, or ``too_large_file``.
    """
    try:
        facts = probe(path, limits)
        if path.stat().st_size > max_bytes:
            size_mib = path.stat().st_size / 2**20
            raise VideoError(str(path), "too_large_file", f"{size_mib:.0f} MiB; at most {max_bytes / 2**20:.0f} MiB")
        health = check_health(path, facts, limits)
    except VideoError as error:
        return Failure(error.reason, type(error).__name__, error.message)
    with path.open("rb") as file:
        key = hashlib.file_digest(file, "sha256").hexdigest()[:KEY_LENGTH]
    return Inspection(key, _extension(path, facts), _media(facts, health.missing))


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
