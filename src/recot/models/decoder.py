"""Reconstruction decoder of stage 1: one compact map back to the tokens of the frames it was made from.

Our choice, the paper gives no architecture: the DTS mirrored, with temporal upsampling in place of downsampling.

Legend: G groups, T frames a group, H W token grid, C width.
"""

import math

import torch
from einops import rearrange
from torch import Tensor, nn

from recot.grouping import GROUP_SIZE
from recot.models.attention import SpatialAttention, TemporalAttention


class TemporalUpsample(nn.Module):
    """Each frame becomes two, by a 3x3 convolution whose output holds both."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, 2 * width, 3, padding=1, padding_mode="replicate")
        with torch.no_grad():  # starts by repeating each frame
            self.conv.weight.mul_(0.1)
            self.conv.weight[:, :, 1, 1] += torch.eye(width).repeat(2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(G, T, H, W, C) -> (G, 2 T, H, W, C)."""
        both = self.conv(rearrange(x, "g t h w c -> (g t) c h w"))
        return rearrange(both, "(g t) (two c) h w -> g (t two) h w c", g=x.shape[0], two=2)


class ExpansionStage(nn.Module):
    """Twice as many frames, then temporal and spatial attention."""

    def __init__(self, *, width: int, heads: int) -> None:
        super().__init__()
        self.upsample = TemporalUpsample(width)
        self.temporal = TemporalAttention(width, heads)
        self.spatial = SpatialAttention(width, heads)
        nn.init.zeros_(self.spatial.proj.weight)
        nn.init.zeros_(self.spatial.proj.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(G, T, H, W, C) -> (G, 2 T, H, W, C)."""
        return self.spatial(self.temporal(self.upsample(x)))


class ReconstructionDecoder(nn.Module):
    """Predicts the normalised features of all T frames from their compact map.

    A fresh decoder repeats the compact map, normalised; with a fresh DTS, that is the mean of the frames.

    Args:
        width: C, a multiple of 32.
        heads: attention heads.
        group_size: T, a power of two.
    """

    def __init__(self, *, width: int, heads: int = 1, group_size: int = GROUP_SIZE) -> None:
        super().__init__()
        self.temporal_code = nn.Parameter(0.02 * torch.randn(group_size, width))
        self.stages = nn.ModuleList(ExpansionStage(width=width, heads=heads) for _ in range(int(math.log2(group_size))))
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width))
        nn.init.eye_(self.head[1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.head[1].bias)  # type: ignore[arg-type]

    def forward(self, compact: Tensor) -> Tensor:
        """(G, H, W, C) compact maps -> (G, T, H, W, C) predicted features."""
        x = rearrange(compact, "g h w c -> g 1 h w c")
        for stage in self.stages:
            x = stage(x)
        return self.head(x + rearrange(self.temporal_code, "t c -> t 1 1 c"))
