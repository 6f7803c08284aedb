"""Clips of several videos into one ragged batch: groups one after another, nothing padded between videos."""

from collections.abc import Sequence

import torch
from torch import Tensor

from recot.batch import Chat, VideoBatch
from recot.data.dataset import Clip


def collate(
    clips: Sequence[Clip],
    keys: list[str],
    seeds: list[int],
    failures: Sequence[tuple[str, str]] = (),
    chats: list[list[Chat]] | None = None,
) -> VideoBatch:
    """Join S clips, either all of frames or all of features.

    Args:
        clips: S clips, clip s with g_s groups.
        keys: S shard keys.
        seeds: S seeds.
        failures: (key, reason) of samples that others stand for.
        chats: S lists of questions, or None.

    Returns:
        a batch of G = sum of g_s groups.
    """
    groups = torch.tensor([len(clip.valid) for clip in clips])
    return VideoBatch(
        frames=_joined([clip.frames for clip in clips]),
        features=_joined([clip.features for clip in clips]),
        valid=torch.cat([clip.valid for clip in clips]),
        times_s=torch.cat([clip.times_s for clip in clips]),
        sample=torch.repeat_interleave(torch.arange(len(clips)), groups),
        keys=keys,
        seeds=seeds,
        failures=tuple(failures),
        chats=chats,
    )


def _joined(parts: list[Tensor | None]) -> Tensor | None:
    given = [part for part in parts if part is not None]
    assert len(given) in (0, len(parts)), "a batch holds either frames or features"
    return torch.cat(given) if given else None
