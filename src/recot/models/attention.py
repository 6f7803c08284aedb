"""Spatial and temporal attention blocks shared by the DTS and the reconstruction decoder.

Legend: B batch of groups, T frames, H W token grid, N = H * W positions, C width, D = C / heads.
Tokens stay in channels-last layout ``(B, T, H, W, C)`` throughout, so that every projection is one matrix product.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from torch import Tensor, nn

MAX_DISTANCE = 64
"""Relative positions are clipped to +-64, as in the released model, whose tables have 129 rows."""

RelativeTerm = Literal["shaw", "transposed"]


class TokenGroupNorm(nn.Module):
    """Group norm over channels-last tokens: one mean and variance per sample and channel group, over all tokens."""

    def __init__(self, width: int, *, groups: int = 32, eps: float = 1e-6) -> None:
        super().__init__()
        if width % groups:
            raise ValueError(f"width {width} must be a multiple of {groups}, the number of channel groups")
        self.groups = groups
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, N, C), statistics in float32 over N and the C / groups channels of each group."""
        grouped = rearrange(x.float(), "b n (g c) -> b n g c", g=self.groups)
        variance, mean = torch.var_mean(grouped, dim=(1, 3), correction=0)  # (B, g)
        repeat = x.shape[-1] // self.groups
        scale = torch.rsqrt(variance + self.eps).repeat_interleave(repeat, dim=1) * self.weight  # (B, C)
        shift = self.bias - mean.repeat_interleave(repeat, dim=1) * scale
        return torch.addcmul(shift[:, None], x.float(), scale[:, None]).to(x.dtype)


class SpatialAttention(nn.Module):
    """Self-attention over the positions of each frame, with a residual (OFFICIAL block 3.2)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = TokenGroupNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, H, W, C) -> (B, T, H, W, C). The norm's statistics span all T frames of a group."""
        _, t, h, w, _ = x.shape
        normed = self.norm(rearrange(x, "b t h w c -> b (t h w) c"))
        q, k, v = rearrange(
            self.qkv(normed),
            "b (t n) (three heads d) -> three (b t) heads n d",
            t=t,
            three=3,
            heads=self.heads,
        )
        attended = F.scaled_dot_product_attention(q, k, v)
        return x + self.proj(rearrange(attended, "(b t) heads (h w) d -> b t h w (heads d)", t=t, h=h, w=w))


class TemporalAttention(nn.Module):
    """Self-attention across the frames of a group at each position, with relative positions and a residual.

    With s = D^-1/4, tables K and V, and R[a, b] = (s q_a) . K[clip(b - a)], the logits are
    ``(s q_i) . (s k_j) + s R[i, j]`` ("shaw", Shaw et al. 2018) or ``(s q_i) . (s k_j) + R[j, i]`` ("transposed", what the
    released model computes). Values are ``v_j + V[clip(j - i)]``.
    """

    def __init__(self, width: int, heads: int, relative_term: RelativeTerm = "shaw") -> None:
        super().__init__()
        self.heads = heads
        self.relative_term = relative_term
        self.norm = TokenGroupNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.relative_k = nn.Parameter(nn.init.xavier_uniform_(torch.empty(2 * MAX_DISTANCE + 1, width)))
        self.relative_v = nn.Parameter(nn.init.xavier_uniform_(torch.empty(2 * MAX_DISTANCE + 1, width)))
        # A fresh block is the identity, so that training starts from the frames as the encoder sees them.
        nn.init.zeros_(self.proj.weight)
        nn.init.zeros_(self.proj.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, H, W, C) -> (B, T, H, W, C). The norm's statistics are per position, over its T frames."""
        b, t, h, w, _ = x.shape
        normed = self.norm(rearrange(x, "b t h w c -> (b h w) t c"))
        q, k, v = rearrange(
            self.qkv(normed), "m t (three heads d) -> three m heads t d", three=3, heads=self.heads
        )
        rows = _clipped_distances(t, x.device)
        weights = self._logits(q, k, rows).float().softmax(dim=-1).to(v.dtype)  # (M, heads, T, T)
        relative_v = rearrange(self.relative_v[rows], "i j (heads d) -> heads i j d", heads=self.heads).to(
            v.dtype
        )
        attended = weights @ v + einsum(weights, relative_v, "m heads i j, heads i j d -> m heads i d")
        out = self.proj(rearrange(attended, "m heads t d -> m t (heads d)"))
        return x + rearrange(out, "(b h w) t c -> b t h w c", b=b, h=h, w=w)

    def _logits(self, q: Tensor, k: Tensor, rows: Tensor) -> Tensor:
        scale = q.shape[-1] ** -0.25
        q, k = q * scale, k * scale
        table = rearrange(self.relative_k[rows], "i j (heads d) -> heads i j d", heads=self.heads).to(q.dtype)
        relative = einsum(q, table, "m heads i d, heads i j d -> m heads i j")
        if self.relative_term == "shaw":
            relative = relative * scale
        else:
            relative = rearrange(relative, "m heads i j -> m heads j i")
        return q @ k.transpose(-1, -2) + relative


def _clipped_distances(t: int, device: torch.device) -> Tensor:
    """(T, T) int64 table rows: entry (i, j) is clip(j - i, -64, 64) + 64."""
    position = torch.arange(t, device=device)
    return (position[None, :] - position[:, None]).clamp(-MAX_DISTANCE, MAX_DISTANCE) + MAX_DISTANCE
