"""Spatial and temporal attention blocks shared by the DTS and the reconstruction decoder.

Legend: B batch of groups, T frames, H W token grid, N = H * W positions, C width, D = C / heads.
Tokens stay in channels-last layout ``(B, T, H, W, C)`` throughout, so that every projection is one matrix product.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from torch import Tensor, nn

from recot.models.folding import fold, folding_pays, keep_linear_maps

MAX_DISTANCE = 64
"""Relative positions are clipped to +-64, as in the released model, whose tables have 129 rows."""

RelativeTerm = Literal["shaw", "transposed"]
Projections = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor, Tensor]]


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
        """(B, N, C) -> (B, N, C) contiguous, statistics in float32 over N and the C / groups channels of each group."""
        centred = x.float().contiguous()
        centred = centred - self._group_mean(centred)
        scale = torch.rsqrt(self._group_mean(centred.square()) + self.eps) * self.weight
        return torch.addcmul(self.bias, centred, scale).to(x.dtype)

    def _group_mean(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, 1, C). Tokens first: one mean over both axes is several times slower on CPUs."""
        per_channel = rearrange(x.mean(dim=1), "b (g c) -> b g c", g=self.groups)
        return per_channel.mean(dim=2).repeat_interleave(x.shape[-1] // self.groups, dim=1)[:, None]


class SpatialAttention(nn.Module):
    """Self-attention over the positions of each frame, with a residual, as in the released model."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = TokenGroupNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, H, W, C) -> (B, T, H, W, C). The norm's statistics span all T frames of a group."""
        if folding_pays(x, self.heads):
            return keep_linear_maps(self._forward_folded, x)
        q, k, v = rearrange(self.qkv(self._normed(x)), "m n (three h d) -> three m h n d", three=3, h=self.heads)
        attended = rearrange(F.scaled_dot_product_attention(q, k, v), "m heads n d -> m n (heads d)")
        return x + self.proj(attended).view_as(x)

    def _forward_folded(self, x: Tensor) -> Tensor:
        weights, values = self._fold_and_project(self._normed(x))
        return torch.baddbmm(rearrange(x, "b t h w c -> (b t) (h w) c"), weights, values).view_as(x)

    def _fold_and_project(self, normed: Tensor) -> tuple[Tensor, Tensor]:
        """(M, N, C) -> attention weights (M, N, N) and values (M, N, C), output projection included."""
        folded = fold(self.qkv, self.proj)
        logits = F.linear(normed, folded.query_weight, folded.query_bias) @ normed.transpose(1, 2)
        return logits.softmax(dim=-1), F.linear(normed, folded.value_weight, folded.value_bias)

    def _normed(self, x: Tensor) -> Tensor:
        """(B, T, H, W, C) -> (B T, H W, C)."""
        tokens = self.norm(rearrange(x, "b t h w c -> b (t h w) c"))
        return rearrange(tokens, "b (t n) c -> (b t) n c", t=x.shape[1])


class TemporalAttention(nn.Module):
    """Self-attention across the frames of a group at each position, with relative positions and a residual.

    With s = D^-1/4, tables K and V, and R[a, b] = (s q_a) . K[clip(b - a)], the logits are
    ``(s q_i) . (s k_j) + s R[i, j]`` ("shaw", Shaw et al. 2018) or ``(s q_i) . (s k_j) + R[j, i]`` ("transposed", what
    the released model computes). Values are ``v_j + V[clip(j - i)]``.
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
        if folding_pays(x, self.heads):
            return keep_linear_maps(partial(self._forward, self._fold_and_project, nn.Identity()), x)
        return self._forward(self._project, self.proj, x)

    def _forward(self, project: Projections, proj: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        b, t, h, w, _ = x.shape
        tokens = rearrange(x, "b t h w c -> (b h w) t c")
        reach = min(t - 1, MAX_DISTANCE)
        rows = slice(MAX_DISTANCE - reach, MAX_DISTANCE + reach + 1)  # of the tables: what T frames can reach
        content, relative, values, relative_values = project(
            self.norm(tokens), self.relative_k[rows], self.relative_v[rows]
        )
        distances = _clipped_distances(t, reach, x.device)
        logits = content + self._relative_logits(relative, distances)
        weights = logits.float().softmax(dim=-1).to(values.dtype)  # (M, heads, T, T)
        attended = weights @ values
        by_distance = _sum_by_distance(weights, distances, 2 * reach + 1)
        attended += einsum(by_distance, relative_values, "m heads t r, heads r d -> m heads t d")
        out = tokens + proj(rearrange(attended, "m heads t d -> m t (heads d)"))
        return rearrange(out, "(b h w) t c -> b t h w c", b=b, h=h, w=w)

    def _project(self, normed: Tensor, table_k: Tensor, table_v: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(M, T, C), (R, C), (R, C) -> logits of contents (M, heads, T, T) and tables (M, heads, T, R), both values."""
        q, k, v = rearrange(self.qkv(normed), "m t (three heads d) -> three m heads t d", three=3, heads=self.heads)
        scale = q.shape[-1] ** -0.25
        q, k = q * scale, k * scale
        table_k, table_v = (
            rearrange(table, "r (heads d) -> heads r d", heads=self.heads).to(q.dtype) for table in (table_k, table_v)
        )
        relative = einsum(q, table_k, "m heads t d, heads r d -> m heads t r")
        return q @ k.transpose(-1, -2), relative, v, table_v

    def _fold_and_project(
        self, normed: Tensor, table_k: Tensor, table_v: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """As _project with one head, and with proj applied to both values."""
        width = normed.shape[-1]
        scale = width**-0.25
        folded = fold(self.qkv, self.proj)
        table_q = F.linear(table_k, self.qkv.weight[:width].T), table_k @ self.qkv.bias[:width]
        relative = scale * F.linear(normed, *table_q)
        content = F.linear(normed, folded.query_weight, folded.query_bias) @ normed.transpose(-1, -2)
        values = F.linear(normed, folded.value_weight, folded.value_bias)
        table_v = F.linear(table_v, self.proj.weight)
        return content[:, None], relative[:, None], values[:, None], table_v[None]

    def _relative_logits(self, relative: Tensor, distances: Tensor) -> Tensor:
        """Products of scaled queries and table rows (M, heads, T, R) -> the logits' relative term (M, heads, T, T)."""
        chosen = relative.gather(-1, distances.expand(*relative.shape[:-1], -1))
        if self.relative_term == "transposed":
            return chosen.transpose(-1, -2)
        return chosen * (self.relative_k.shape[-1] // self.heads) ** -0.25


def _clipped_distances(t: int, reach: int, device: torch.device) -> Tensor:
    """(T, T) int64: entry (i, j) is clip(j - i, -reach, reach) + reach."""
    position = torch.arange(t, device=device)
    return (position[None, :] - position[:, None]).clamp(-reach, reach) + reach


def _sum_by_distance(weights: Tensor, distances: Tensor, rows: int) -> Tensor:
    """(..., T, T) attention weights -> (..., T, rows): summed over the keys that share a distance."""
    return weights.new_zeros(*weights.shape[:-1], rows).scatter_add(-1, distances.expand_as(weights), weights)
