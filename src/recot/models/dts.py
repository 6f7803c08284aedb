"""Dynamic Token Synthesizer (DTS): merges the tokens of 4 frames into one compact token map (paper section 3.2).

Legend: G groups, T frames a group, H W token grid, C width.
"""

import math
from typing import Literal

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from recot.grouping import GROUP_SIZE
from recot.models.attention import SpatialAttention, TemporalAttention
from recot.models.downsample import TemporalDownsample

Layout = Literal["native", "official"]


class CompressionStage(nn.Module):
    """Spatial attention, temporal attention, then half as many frames."""

    def __init__(self, *, width: int, heads: int, layout: Layout) -> None:
        super().__init__()
        self.spatial = SpatialAttention(width, heads)
        self.temporal = TemporalAttention(width, heads, "shaw" if layout == "native" else "transposed")
        self.downsample = TemporalDownsample(width)
        self._start_as_mean_and_change()

    @torch.no_grad()
    def _start_as_mean_and_change(self) -> None:
        # Our choice: a fresh stage gives the mean of the two frames that it merges plus, turned by a random rotation,
        # half their difference (a Haar transform whose two halves share the channels). What is still is averaged, and
        # what changed is not lost: from a mean alone, training hardly learns to tell the frames' order.
        nn.init.zeros_(self.spatial.proj.weight)
        nn.init.zeros_(self.spatial.proj.bias)
        kernel = self.downsample.weight
        kernel.mul_(0.1)
        # Output frame s reads inputs 2s - 1, 2s and 2s + 1: of the last two, every frame counts once.
        same, turned = torch.eye(kernel.shape[-1]), nn.init.orthogonal_(torch.empty_like(kernel[0, 0, 0]))
        kernel[1, 1, 1] += (same + turned) / 2
        kernel[2, 1, 1] += (same - turned) / 2

    def forward(self, x: Tensor) -> Tensor:
        """(G, T, H, W, C) -> (G, T / 2, H, W, C)."""
        x = self.spatial(x)
        x = self.temporal(x)
        return self.downsample(x)


class DynamicTokenSynthesizer(nn.Module):
    """Compresses each group of T frames to one map, by log2(T) compression stages.

    ``layout`` is the one switch between what the paper describes and what the released weights expect:

    * ``native``: a real time axis and relative positions in the sense of Shaw et al. What recot trains.
    * ``official``: the released model's axes (see ``official_axes``) and its transposed relative term.

    Groups are independent, so they are processed ``chunk_groups`` at a time with equal results and memory of one
    chunk plus the outputs. With ``activation_checkpointing`` this holds for training too.

    Args:
        width: C, a multiple of 32.
        heads: attention heads; the released model has 1.
        group_size: T, a power of two.
        layout: see above.
        chunk_groups: groups processed at a time.
        activation_checkpointing: recompute each chunk in the backward pass instead of keeping its activations.

    Raises:
        ValueError: if ``group_size`` is not a power of two of at least 2.
    """

    def __init__(
        self,
        *,
        width: int,
        heads: int = 1,
        group_size: int = GROUP_SIZE,
        layout: Layout = "native",
        chunk_groups: int = 8,
        activation_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        depth = int(math.log2(group_size)) if group_size > 0 else 0
        if depth < 1 or 2**depth != group_size:
            raise ValueError(f"group_size must be a power of two of at least 2, got {group_size}")
        if width < 1 or width % heads:
            raise ValueError(f"width {width} must be a positive multiple of heads {heads}")
        self.width = width
        self.heads = heads
        self.group_size = group_size
        self.layout = layout
        self.chunk_groups = chunk_groups
        self.activation_checkpointing = activation_checkpointing
        self.temporal_code = nn.Parameter(0.02 * torch.randn(group_size, width))
        self.stages = nn.ModuleList(CompressionStage(width=width, heads=heads, layout=layout) for _ in range(depth))

    def forward(self, groups: Tensor) -> Tensor:
        """Compress groups of frames.

        Args:
            groups: (G, T, H, W, C) float, tokens of T consecutive frames.

        Returns:
            (G, H, W, C) compact token maps.

        Raises:
            ValueError: if T or C is not what the module was built for.
        """
        if groups.ndim != 5 or groups.shape[1] != self.group_size or groups.shape[-1] != self.width:
            raise ValueError(
                f"expected groups of shape (G, {self.group_size}, H, W, {self.width}), got {tuple(groups.shape)}"
            )
        # Without checkpointing, the backward pass keeps every chunk's activations anyway.
        keeps_all = torch.is_grad_enabled() and not self.activation_checkpointing
        chunks = [groups] if keeps_all else groups.split(self.chunk_groups)
        return torch.cat([self._compress(chunk) for chunk in chunks])

    def _compress(self, x: Tensor) -> Tensor:
        if self.activation_checkpointing and torch.is_grad_enabled():
            return checkpoint(self._stages, x, use_reentrant=False)
        return self._stages(x)

    def _stages(self, x: Tensor) -> Tensor:
        if self.layout == "official":
            x = official_axes(x)
        x = x + rearrange(self.temporal_code, "t c -> t 1 1 c")
        for stage in self.stages:
            x = stage(x)
        return rearrange(x, "g 1 h w c -> g h w c")


def official_axes(groups: Tensor) -> Tensor:
    """The released model's memory reinterpretation: frames and channels, read in one run, are cut anew.

    Reading (frame, channel) as one axis of T * C entries, entry u becomes channel u // T at "time" u mod T. So "time"
    is a phase of the channel index, and each real frame fills one block of C / T channels. Released weights need it.

    Args:
        groups: (G, T, H, W, C), real frames and channels.

    Returns:
        (G, T, H, W, C) in the released model's axes.
    """
    merged = rearrange(groups, "g t h w c -> g h w (t c)")
    return rearrange(merged, "g h w (c t) -> g t h w c", t=groups.shape[1])
