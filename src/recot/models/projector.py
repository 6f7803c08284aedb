"""From the vision encoder's width to the language model's, and from a token map to the tokens that a group costs.

Legend: N groups or images, H W token grid, P tokens, C vision width, D LLM width.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


class Projector(nn.Module):
    """Linear, GELU, Linear (``mlpNx_gelu`` of the released model), then average pooling where asked for.

    Args:
        width: C.
        llm_width: D.
        depth: linear layers, with a GELU before each but the first; the released model has 2.
        pool_stride: pooling averages squares of this side; 2 turns 24 x 24 tokens into 144.

    Raises:
        ValueError: if an argument is under 1.
    """

    def __init__(self, *, width: int, llm_width: int, depth: int = 2, pool_stride: int = 2) -> None:
        super().__init__()
        if min(width, llm_width, depth, pool_stride) < 1:
            raise ValueError(
                f"width {width}, llm_width {llm_width}, depth {depth} and pool_stride {pool_stride} must be at least 1"
            )
        self.width = width
        self.llm_width = llm_width
        self.pool_stride = pool_stride
        layers: list[nn.Module] = [nn.Linear(width, llm_width)]
        for _ in range(depth - 1):
            layers += [nn.GELU(), nn.Linear(llm_width, llm_width)]
        self.layers = nn.Sequential(*layers)

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights, which its input must have."""
        return next(self.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def forward(self, maps: Tensor, *, pool: bool) -> Tensor:
        """Project token maps, row by row.

        Args:
            maps: (N, H, W, C) float.
            pool: average squares of tokens after projecting, as for video; images keep all their tokens.

        Returns:
            (N, P, D), P = H * W, or H * W / pool_stride^2 if pooled.

        Raises:
            ValueError: if the grid can't be cut into whole squares.
        """
        projected = self.layers(maps)
        if not pool:
            return rearrange(projected, "n h w d -> n (h w) d")
        height, width = maps.shape[1:3]
        if height % self.pool_stride or width % self.pool_stride:
            raise ValueError(f"a grid of {height} x {width} tokens can't be pooled by squares of {self.pool_stride}")
        channels_first = rearrange(projected, "n h w d -> n d h w")
        return rearrange(F.avg_pool2d(channels_first, self.pool_stride), "n d h w -> n (h w) d")
