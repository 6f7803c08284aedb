"""VideoBatch: the one contract between data and models.

Samples differ in length, so a batch is ragged: the groups of all samples stand one after another on one axis,
and nothing is padded beyond the last group of a video.

Legend: S samples, G groups of all samples together, T frames a group, H W frame size, h w token grid, C width.
"""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Cursor:
    """Where the training order stands: the next planned batch of an epoch. See ``recot.data.datamodule``."""

    epoch: int
    position: int


@dataclass(frozen=True)
class Chat:
    """One question about a video of the batch, as text that a prompt is made of."""

    user: str  # the question as the model reads it, options included
    reply: str  # what the model is to say: the letter of the right option, or the answer
    spans: tuple[tuple[float, float], ...]  # presentation seconds that show the answer; empty where unknown
    sample_id: str
    task: str  # task type, e.g. ``needle``
    options: tuple[str, ...]  # empty for a free-form question


@dataclass
class VideoBatch:
    """One training or validation batch. Exactly one of ``frames`` and ``features`` is set."""

    frames: Tensor | None  # (G, T, H, W, 3) uint8 RGB at the encoder's input size
    features: Tensor | None  # (G, T, h, w, C) float: cached output of the frozen encoder
    valid: Tensor  # (G, T) bool, False where a repeated frame fills up the last group of a video
    times_s: Tensor  # (G, T) float64, presentation time of each frame in seconds
    sample: Tensor  # (G,) int64, which of the S samples a group belongs to, ascending
    keys: list[str]  # S shard keys
    seeds: list[int]  # S seeds, pure functions of (run seed, epoch, sample): key every random choice with them
    cursor: Cursor | None = None  # what comes after this batch; None outside training
    failures: tuple[tuple[str, str], ...] = ()  # (key, reason) of samples replaced because they couldn't be read
    chats: list[list[Chat]] | None = None  # S lists, the questions about each video; None where none are asked

    def groups_per_sample(self) -> Tensor:
        """(S,) int64 number of groups of each sample."""
        return torch.bincount(self.sample, minlength=len(self.keys))

    def _map(self, change) -> "VideoBatch":  # type: ignore[no-untyped-def]
        tensors = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{k: change(v) for k, v in tensors.items() if isinstance(v, Tensor)})

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "VideoBatch":
        """The batch with its tensors on ``device``."""
        return self._map(lambda t: t.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "VideoBatch":
        """The batch in page-locked memory (called by the DataLoader)."""
        return self._map(lambda t: t.pin_memory())
