"""Frames sampled from the kept videos, stored for training in place of the videos: the media option ``frames``.

The videos come from anywhere, so they are decoded in supervised child processes. Each child writes what it makes of a
video into one file, named by the content of the video and by what was asked for, so that a run that is broken off goes
on, and another policy decodes only the videos that it adds.
"""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from data_pipelines.ingest.fetch import ChangedVideoError, clear_copies, local_copy
from data_pipelines.supervised import Failure, SupervisedPool
from recot.atomic import write_file
from recot.data.frame_choice import chosen_frames
from recot.data.frames_payload import encode_frames
from recot.data.schema import FRAMES_EXTENSION, KEY_LENGTH
from recot.errors import ConfigError, DataError, VideoError
from recot.video_io import FrameSampling, VideoLimits, decode, probe

JPEG_QUALITY = 95
"""With colour at half the resolution, as in the videos. 42 to 44 dB on real clips, 33 to 38 KiB a frame of 384 x 384;
90 saves 30 % and costs 2 dB (measured on ../shared/videos)."""
_CHUNK_BYTES = 2**26
"""Of decoded frames in memory at once."""
_LARGEST_SIDE = 4096  # pixels


@dataclass(frozen=True)
class FramesSetting:
    """What is stored of each video.

    Attributes:
        fps: frames a second, from the first frame on.
        frame_size: (H, W) in pixels that frames are stretched to.
        limits: bounds on one video.
        max_bytes: largest file that is fetched from a tar or from elsewhere.
    """

    fps: float
    frame_size: tuple[int, int]
    limits: VideoLimits
    max_bytes: int

    def __post_init__(self) -> None:
        FrameSampling(fps=self.fps)
        if not all(1 <= side <= _LARGEST_SIDE for side in self.frame_size):
            raise ConfigError(
                f"media.frame_size={list(self.frame_size)}: expected [height, width], 1 to {_LARGEST_SIDE} pixels each"
            )

    def path(self, folder: Path, key: str) -> Path:
        """Where the frames of the video with this key are, once they are there."""
        what = f"{self.fps!r} {self.frame_size} {JPEG_QUALITY}"
        name = f"{key}-{hashlib.sha256(what.encode()).hexdigest()[:16]}.{FRAMES_EXTENSION}"
        return folder / key[:2] / name


@dataclass(frozen=True)
class FramesTask:
    """A video to sample: where it is, the shard key of its content, and which frames don't decode (ascending)."""

    uri: str
    key: str
    missing_frames: tuple[int, ...] = ()


def store_frames(
    tasks: Sequence[FramesTask],
    setting: FramesSetting,
    *,
    folder: Path,
    workers: int,
    timeout_s: float,
    memory_bytes: int,
    recycle_after: int,
) -> dict[str, Failure]:
    """Sample every video, and write ``setting.path(folder, key)`` for each; what is there already is left alone.

    Args:
        tasks: videos with different keys.
        setting: what is stored.
        folder: made if it isn't there; copies of remote videos are in its ``scratch`` while they are decoded.
        workers: processes; the others see ``SupervisedPool``.

    Returns:
        Key -> reason, of videos that can't be decoded now, although they could be before.

    Raises:
        ChangedVideoError: if a video changed or vanished since its key was computed.
        DataError: if the disk is full.
    """
    todo = [task for task in tasks if not setting.path(folder, task.key).exists()]
    failures: dict[str, Failure] = {}
    scratch = folder / "scratch"
    clear_copies(scratch)
    pool: SupervisedPool[FramesTask, Failure | DataError | None] = SupervisedPool(
        partial(_store, setting=setting, folder=folder, scratch=scratch),
        workers=max(1, min(workers, len(todo))),
        timeout_s=timeout_s,
        memory_bytes=memory_bytes,
        recycle_after=recycle_after,
    )
    with pool, tqdm(total=len(todo), desc="sampling frames", unit="video") as progress:
        for task, outcome in zip(todo, pool.map(todo), strict=True):
            if outcome.failure is not None:  # the child was killed, most likely, and left its copy
                clear_copies(scratch)
            found = outcome.failure or outcome.result
            if isinstance(found, DataError):
                raise found
            if found is not None:
                failures[task.key] = found
            progress.update()
    return failures


def sample_frames(path: Path, setting: FramesSetting, missing_frames: Sequence[int] = ()) -> bytes:
    """Decode a video's sampled frames as training would, and pack them; see ``recot.data.frames_payload``.

    Raises:
        VideoError: if it can't be decoded.
    """
    facts = probe(path, setting.limits)
    chosen = chosen_frames(FrameSampling(fps=setting.fps), facts.times_s, facts.duration_s, missing_frames)
    height, width = setting.frame_size
    step = max(1, _CHUNK_BYTES // (height * width * 3))
    jpegs: list[bytes] = []
    for start in range(0, len(chosen), step):
        part = chosen[start : start + step]
        decoded = decode(path, part, setting.frame_size, probe=facts, limits=setting.limits)
        jpegs.extend(_jpeg(frame) for frame in decoded.frames)
    return encode_frames(jpegs, times_s=facts.times_s[chosen], fps=setting.fps, size=setting.frame_size)


def _jpeg(frame: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling="4:2:0")
    return buffer.getvalue()


def _store(task: FramesTask, setting: FramesSetting, folder: Path, scratch: Path) -> Failure | DataError | None:
    """In a child. A ``DataError`` is returned: the pool would make a failure of this video of it."""
    try:
        with local_copy(task.uri, scratch, max_bytes=setting.max_bytes) as path:
            check_unchanged(path, task)
            payload = sample_frames(path, setting, task.missing_frames)
        _write(setting.path(folder, task.key), payload)
    except VideoError as error:
        if error.reason in ("not_found", "fetch_failed", "unreadable_file"):
            return ChangedVideoError(task.uri, f"can't be read any more: {error}")
        return Failure(error.reason, type(error).__name__, error.message)
    except DataError as error:
        return error
    return None


def check_unchanged(path: Path, task: FramesTask) -> None:
    """Return if the content of ``path``, a copy of the video, is the one that has its key.

    Raises:
        ChangedVideoError: if it isn't, or can't be read any more.
    """
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()[:KEY_LENGTH]
    except OSError as error:
        raise ChangedVideoError(task.uri, f"can't be read any more: {error}") from error
    if found != task.key:
        raise ChangedVideoError(task.uri, "has other content now")


def _write(path: Path, payload: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, payload)
    except OSError as error:
        raise DataError(f"{path} can't be written: {error.strerror}. Make room, and run the same command again.") from (
            error
        )
