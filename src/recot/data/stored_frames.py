"""Reads frames that the pruning pipeline sampled (``<key>.frames.npz``) in place of decoding videos.

Legend: n stored frames of a video, m frames of it that training samples, H W frame size.
"""

import io

import numpy as np

from recot.data.frames_payload import FramesPayload
from recot.data.shards import ShardFolder
from recot.errors import ConfigError, DataError
from recot.video_io import FrameSampling

_BUFFER = 1 << 15  # bytes read at a time where a payload's tables are


class StoredFrames:
    """The stored frames of a shard folder under one sampling and frame size.

    A frame is chosen by time: of those that were stored, the latest one sampled no later. So if the stored rate is a
    multiple of ``sampling.fps``, these are the very frames that decoding the original would give.

    Args:
        folder: all of its payloads are ``frames.npz``.
        sampling: which frames of a video are used; frames a second, or a count.
        frame_size: (H, W) in pixels that frames are resized to.

    Attributes:
        fps: stored frames a second.
        size: (H, W) in pixels of the stored frames.

    Raises:
        ConfigError: if more frames or pixels are asked for than there are.
        DataError: if no payload can be read.
    """

    def __init__(self, folder: ShardFolder, *, sampling: FrameSampling, frame_size: tuple[int, int]) -> None:
        self._folder = folder
        self._sampling = sampling
        self._frame_size = frame_size
        self.fps, self.size = self._rate_and_size()
        self._stored = FrameSampling(fps=self.fps)
        self._check_size()
        self._check_rate()

    def read(self, i: int, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
        """Frames ``first..last - 1`` of the m sampled frames of video ``i``.

        Returns:
            ``(frames, times_s)``: (last - first, H, W, 3) uint8 and (last - first,) float64 presentation seconds.

        Raises:
            DataError: if the payload is damaged, or holds other frames than the rest of the folder.
        """
        duration_s = float(self._folder.columns["duration_s"][i])
        n = self._stored.planned_count(int(self._folder.columns["frames"][i]), duration_s)
        # Not by the frames' own times: where one was damaged, its neighbour was stored in its place.
        places = self._sampling.indices(np.arange(n) / self.fps, duration_s)[first:last]
        try:
            payload = FramesPayload(_open(self._folder, i))
            if (payload.fps, payload.size, len(payload.times_s)) != (self.fps, self.size, n):
                raise ValueError(
                    f"it holds {len(payload.times_s)} frames of {payload.size} pixels at {payload.fps:g} a second; by "
                    f"the index and the folder's other videos, {n} of {self.size} at {self.fps:g} were expected"
                )
            return payload.read(places, self._frame_size), payload.times_s[places]
        except ValueError as error:
            raise self._damaged(i, error) from error

    def _rate_and_size(self) -> tuple[float, tuple[int, int]]:
        """What the first payload that can be read says."""
        damage: DataError | None = None
        for i in range(len(self._folder)):
            try:
                payload = FramesPayload(_open(self._folder, i))
            except ValueError as error:
                damage = damage or self._damaged(i, error)
            else:
                return payload.fps, payload.size
        assert damage is not None, "a folder of shards isn't empty"
        raise damage

    def _check_size(self) -> None:
        if self._frame_size[0] > self.size[0] or self._frame_size[1] > self.size[1]:
            raise ConfigError(
                f"data.frame_size is {list(self._frame_size)}, but {self._folder.path} holds frames of "
                f"{list(self.size)} pixels. Set data.frame_size to at most that, or {_remake('a larger size')}."
            )

    def _check_rate(self) -> None:
        path, sampling = self._folder.path, self._sampling
        if sampling.stride is not None:
            raise ConfigError(
                f"data.sampling.stride counts a video's own frames, but {path} holds {self.fps:g} of them a second. "
                "Set data.sampling.fps or .count instead."
            )
        if sampling.fps is not None and sampling.fps > self.fps:
            raise ConfigError(
                f"data.sampling.fps is {sampling.fps:g}, but {path} holds {self.fps:g} frames a second. Set "
                f"data.sampling.fps to at most that, or {_remake('more frames a second')}."
            )
        if sampling.count is not None:
            self._check_count(sampling)

    def _check_count(self, sampling: FrameSampling) -> None:
        columns = self._folder.columns
        for i, video in enumerate(zip(columns["frames"].tolist(), columns["duration_s"].tolist(), strict=True)):
            stored, asked = self._stored.planned_count(*video), min(video[0], sampling.planned_count(*video))
            if asked > stored:
                raise ConfigError(
                    f"data.sampling.count asks for {asked} frames of each video, but {self._folder.path} holds "
                    f"{self.fps:g} a second, so {stored} of {self._folder.key(i)}. Set data.sampling.count to at most "
                    f"that, set data.sampling.fps instead, or {_remake('more frames a second')}."
                )

    def _damaged(self, i: int, error: ValueError) -> DataError:
        shard, member = (str(self._folder.columns[name][i]) for name in ("shard", "member"))
        return DataError(
            f"{self._folder.path / shard}: {member}: {error}. Copy the shard again from where it came, or make "
            "the folder again."
        )


def _open(folder: ShardFolder, i: int) -> io.BufferedReader:
    return io.BufferedReader(_Payload(folder, i), _BUFFER)


def _remake(what: str) -> str:
    return f"make the shards again with {what} (`python data_pipelines/prune.py`)"


class _Payload(io.RawIOBase):
    """A payload as a file, of which only what is read comes from the disk."""

    def __init__(self, folder: ShardFolder, i: int) -> None:
        super().__init__()
        self._folder = folder
        self._i = i
        self._size = int(folder.columns["size"][i])
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if at < 0:
            raise ValueError(f"byte {at} of a payload")
        self._at = at
        return at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        length = max(0, min(len(buffer), self._size - self._at))
        buffer[:length] = self._folder.payload_slice(self._i, self._at, length)
        self._at += length
        return length
