"""Videos of one shard folder as windows of sampled frames, and draws into batches.

Legend: N videos of a folder, n sampled frames of a video, G groups of T frames, g groups of a window,
H W frame size, h w token grid, C width.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from recot.data.cached_features import CachedFeatures
from recot.data.frame_choice import chosen_frames
from recot.data.schema import FRAMES_EXTENSION, VIDEO_EXTENSIONS
from recot.data.shards import ShardFolder
from recot.data.stored_frames import StoredFrames
from recot.errors import DataError, VideoError
from recot.grouping import GROUP_SIZE, pad_indices
from recot.video_io import FrameSampling, VideoLimits, VideoProbe, decode, probe


class Window(NamedTuple):
    """Groups ``start .. start + groups - 1`` of a video."""

    start: int
    groups: int


@dataclass(frozen=True)
class Clip:
    """The frames, or the cached features, of one window."""

    frames: Tensor | None  # (g, T, H, W, 3) uint8
    features: Tensor | None  # (g, T, h, w, C) as stored
    valid: Tensor  # (g, T) bool, False where the last frame is repeated
    times_s: Tensor  # (g, T) float64 presentation seconds


class VideoDataset:
    """The videos of a shard folder under one frame sampling.

    The index says how many frames a video has and how long it is, and so how many are sampled, before any video
    is opened; a video that then doesn't have them is an error of that video.

    Args:
        folder: a shard folder of kind ``videos``: all of videos, or all of frames that were sampled from videos.
        sampling: which frames of a video are used.
        frame_size: (H, W) in pixels that frames are resized to.
        limits: bounds on one video.
        cached: read the encoder's features instead of decoding frames.

    Attributes:
        counts: (N,) int64, sampled frames of each video; 1 of an image, which is a video of one frame.
        groups: (N,) int64, groups of each video, the last one filled up.
        features: the cached features, or None.
        stored: the stored frames, or None where there are videos to decode.

    Raises:
        ConfigError: if the folder holds stored frames, and ``sampling`` or ``frame_size`` ask for more.
        DataError: if the folder holds no usable video, or ``cached`` and its features don't fit.
    """

    def __init__(
        self,
        folder: ShardFolder,
        *,
        sampling: FrameSampling,
        frame_size: tuple[int, int],
        limits: VideoLimits,
        cached: bool = False,
    ) -> None:
        self.folder = folder
        self.sampling = sampling
        self.frame_size = frame_size
        self.limits = limits
        _check_videos(folder)
        frames, durations_s = folder.columns["frames"], folder.columns["duration_s"]
        self.counts = np.array(
            [sampling.planned_count(*video) for video in zip(frames.tolist(), durations_s.tolist(), strict=True)],
            dtype=np.int64,
        )
        self.counts[frames == 1] = 1  # an image, however long it is on screen and often the rule repeats it
        self.groups = -(-self.counts // GROUP_SIZE)
        self.features = CachedFeatures(folder, sampling=sampling, frame_size=frame_size) if cached else None
        has_frames = folder.extension(0) == FRAMES_EXTENSION
        self.stored = StoredFrames(folder, sampling=sampling, frame_size=frame_size) if has_frames else None

    def __len__(self) -> int:
        return len(self.counts)

    def clip(self, i: int, window: Window) -> Clip:
        """One window of video ``i``; nothing outside it is decoded or read.

        Raises:
            VideoError: if the video can't be decoded, or couldn't be when its features were made.
            DataError: if its bytes in the shard are damaged, or cached features are.
        """
        n = int(self.counts[i])
        places = slice(window.start * GROUP_SIZE, (window.start + window.groups) * GROUP_SIZE)
        index, valid = (part[places] for part in pad_indices(n))
        first, last = int(index[0]), int(index[-1]) + 1
        frames = features = None
        if self.features is not None:
            values, times_s = self.features.read(i, n, first, last)
            features = _grouped(values, index - first)
        else:
            decoded, times_s = self._decode(i, first, last)
            frames = _grouped(torch.from_numpy(decoded), index - first)
        return Clip(
            frames, features, _grouped(torch.from_numpy(valid)), _grouped(torch.from_numpy(times_s), index - first)
        )

    def all_frames(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Every sampled frame of video ``i``, without filling up the last group.

        Returns:
            ``(frames, times_s)``: (n, H, W, 3) uint8 and (n,) float64 presentation seconds.

        Raises:
            VideoError: if the video can't be read.
            DataError: if its bytes in the shard are damaged.
        """
        return self._decode(i, 0, int(self.counts[i]))

    def sampled(self, i: int, facts: VideoProbe) -> np.ndarray:
        """Which frames of video ``i`` are used.

        Where the sampling rule picks a frame that is known not to decode, the nearest one that does stands for it.

        Args:
            i: number of the video.
            facts: its probe.

        Returns:
            (n,) int64, ascending.

        Raises:
            VideoError: if the video has another number of frames than its index says.
        """
        frames = int(self.folder.columns["frames"][i])
        if facts.frames != frames:
            raise VideoError(
                self.folder.key(i),
                "index_mismatch",
                f"has {facts.frames} frames, the index of {self.folder.path} says {frames}; make the shards again with "
                "`python data_pipelines/prune.py`",
            )
        missing = self.folder.sample(i).media.missing_frames
        duration_s = float(self.folder.columns["duration_s"][i])
        return chosen_frames(self.sampling, facts.times_s, duration_s, missing)[: self.counts[i]]

    def _decode(self, i: int, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
        if self.stored is not None:
            return self.stored.read(i, first, last)
        content = self.folder.payload(i)
        facts = probe(content, self.limits)
        wanted = self.sampled(i, facts)[first:last]
        decoded = decode(content, wanted, self.frame_size, probe=facts, limits=self.limits)
        return decoded.frames, decoded.times_s


def _grouped(values: Tensor, index: np.ndarray | None = None) -> Tensor:
    """(F, ...) -> (g, T, ...), rows repeated as ``index`` says; copies only if any is repeated."""
    if index is not None and len(index) != len(values):
        values = values[torch.from_numpy(index)]
    return rearrange(values, "(g t) ... -> g t ...", t=GROUP_SIZE)


def _check_videos(folder: ShardFolder) -> None:
    if folder.kind != "videos":
        raise DataError(f"{folder.path} holds {folder.kind}; data.train and data.val take folders of videos.")
    if len(folder) == 0:
        raise DataError(
            f"{folder.path} holds no videos. Make it again with `python data_pipelines/prune.py source=... "
            "output=...`: its audit says why videos are dropped."
        )
    known = (FRAMES_EXTENSION,) if folder.extension(0) == FRAMES_EXTENSION else VIDEO_EXTENSIONS
    others = [name for name in folder.columns["member"].tolist() if name.partition(".")[2] not in known]
    if others:
        raise DataError(
            f"{folder.path} holds {folder.columns['member'][0]} and {others[0]}: training reads a folder either of "
            f"videos ({', '.join(VIDEO_EXTENSIONS)}) or of stored frames ({FRAMES_EXTENSION})."
        )


def check_long_enough(videos: VideoDataset) -> None:
    """Refuse videos that show nothing of time; with questions about them, images are as good.

    Raises:
        DataError: if none has the distinct frames of a group.
    """
    longest = int(np.minimum(videos.counts, videos.folder.columns["frames"]).max())
    if longest < GROUP_SIZE:
        raise DataError(
            f"{videos.folder.path}: no video has {GROUP_SIZE} sampled frames, the longest has {longest}. Recot "
            f"pretraining merges {GROUP_SIZE} frames over time and needs at least {GROUP_SIZE} of a video; images "
            "can't teach it time. Sample more densely (data.sampling.fps, .count or .stride), or use longer videos."
        )
