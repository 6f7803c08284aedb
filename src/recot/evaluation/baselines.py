"""Trivial reconstructions that a trained compressor has to beat.

Each sees what the model sees, the visible tokens alone, and repeats or blends them over time at each position. Where a
position has no visible token in any frame, the mean visible token of the group stands in.

Legend: G groups, T frames a group, H W token grid, C width.
"""

import torch
from einops import rearrange, repeat
from torch import Tensor


def mean_repeated(target: Tensor, masked: Tensor) -> Tensor:
    """The mean over a position's visible frames, in all frames.

    Args:
        target: (G, T, H, W, C) normalised features.
        masked: (G, T, H, W) bool.

    Returns:
        (G, T, H, W, C).
    """
    visible = rearrange(~masked, "g t h w -> g t h w 1").to(target.dtype)
    count = visible.sum(dim=1)
    mean = (target * visible).sum(dim=1) / count.clamp(min=1)
    mean = torch.where(count > 0, mean, _group_mean(target, visible))
    return repeat(mean, "g h w c -> g t h w c", t=target.shape[1])


def first_repeated(target: Tensor, masked: Tensor) -> Tensor:
    """The first visible frame of a position, in all frames. Shapes as ``mean_repeated``."""
    visible = rearrange(~masked, "g t h w -> g t h w 1").to(target.dtype)
    first = rearrange((~masked).int().argmax(dim=1), "g h w -> g 1 h w 1").expand_as(target[:, :1])
    token = target.gather(1, first)[:, 0]
    token = torch.where(visible.sum(dim=1) > 0, token, _group_mean(target, visible))
    return repeat(token, "g h w c -> g t h w c", t=target.shape[1])


def interpolated(target: Tensor, masked: Tensor) -> Tensor:
    """Linear interpolation in time between a position's visible frames, the nearest one before and after them.

    Exact at visible tokens. Shapes as ``mean_repeated``.
    """
    t = target.shape[1]
    frame = repeat(
        torch.arange(t, device=target.device), "t -> g t h w", g=target.shape[0], h=masked.shape[2], w=masked.shape[3]
    )
    before = torch.where(masked, -1, frame).cummax(dim=1).values
    after = torch.where(masked, t, frame).flip(1).cummin(dim=1).values.flip(1)
    low = torch.where(before < 0, after, before).clamp(0, t - 1)
    high = torch.where(after >= t, before, after).clamp(0, t - 1)
    share = ((frame - low) / (high - low).clamp(min=1)).clamp(0, 1)[..., None].to(target.dtype)
    low_token, high_token = (
        target.gather(1, rearrange(i, "g t h w -> g t h w 1").expand_as(target)) for i in (low, high)
    )
    blended = low_token + share * (high_token - low_token)
    visible = rearrange(~masked, "g t h w -> g t h w 1").to(target.dtype)
    seen = (visible.sum(dim=1) > 0)[:, None]
    return torch.where(seen, blended, _group_mean(target, visible)[:, None])


def _group_mean(target: Tensor, visible: Tensor) -> Tensor:
    """(G, 1, 1, C) mean visible token of each group."""
    total = (target * visible).sum(dim=(1, 2, 3)) / visible.sum(dim=(1, 2, 3)).clamp(min=1)
    return rearrange(total, "g c -> g 1 1 c")


BASELINES = {"mean": mean_repeated, "first": first_repeated, "interpolation": interpolated}
