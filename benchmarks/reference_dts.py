"""The released compressor's operations written plainly, channels first: what the DTS is timed and checked against.

Legend: B batch of groups, C width, T frames, H W grid.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PlainSpatialAttention(nn.Module):
    """Group norm, 1x1x1 projections, one head over H * W positions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(32, width, eps=1e-6)
        self.q, self.k, self.v, self.proj_out = (nn.Conv3d(width, width, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) -> same."""
        b, c, t, h, w = x.shape
        normed = self.norm(x)
        q, k, v = (m(normed).permute(0, 2, 3, 4, 1).reshape(b * t, h * w, c) for m in (self.q, self.k, self.v))
        weights = torch.softmax(torch.bmm(q, k.transpose(1, 2)) * c**-0.5, dim=-1)
        out = torch.bmm(weights, v).reshape(b, t, h, w, c).permute(0, 4, 1, 2, 3)
        return x + self.proj_out(out)


class PlainTemporalAttention(nn.Module):
    """Group norm per position, 1-wide projections, one head over T, the transposed relative term."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(32, width, eps=1e-6)
        self.qkv = nn.Conv1d(width, 3 * width, 1)
        self.proj_out = nn.Conv1d(width, width, 1)
        self.relative_k = nn.Parameter(torch.randn(129, width) * 0.1)
        self.relative_v = nn.Parameter(torch.randn(129, width) * 0.1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) -> same."""
        b, c, t, h, w = x.shape
        tokens = x.permute(0, 3, 4, 1, 2).reshape(b * h * w, c, t)
        q, k, v = (p.transpose(1, 2) for p in self.qkv(self.norm(tokens)).chunk(3, dim=1))
        s = c**-0.25
        distance = (torch.arange(t)[None] - torch.arange(t)[:, None]).clamp(-64, 64) + 64
        relative = torch.einsum("mad,abd->mab", q * s, self.relative_k[distance]).transpose(1, 2)
        weights = torch.softmax((q * s) @ (k * s).transpose(1, 2) + relative, dim=-1)
        out = weights @ v + torch.einsum("mij,ijd->mid", weights, self.relative_v[distance])
        out = self.proj_out(out.transpose(1, 2)) + tokens
        return out.reshape(b, h, w, c, t).permute(0, 3, 4, 1, 2)


class PlainDownsample(nn.Module):
    """Replicate padding, then a strided convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(width, width, 3, stride=(2, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, C, T / 2, H, W)."""
        return self.conv(F.pad(x, (1, 1, 1, 1, 1, 0), mode="replicate"))


class PlainCompressor(nn.Module):
    """Six blocks after an additive temporal code, as the released "SAE"."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.temporal_encoding = nn.Parameter(torch.randn(4, width))
        blocks = (PlainSpatialAttention, PlainTemporalAttention, PlainDownsample)
        self.encoder = nn.ModuleList(block(width) for _ in range(2) for block in blocks)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, 4, H, W) -> (B, C, 1, H, W)."""
        x = x + self.temporal_encoding.T[None, :, :, None, None]
        for block in self.encoder:
            x = block(x)
        return x

    def released_state(self) -> dict[str, Tensor]:
        """The state dict under the released checkpoint's names."""
        return {
            k.replace("relative_k", "relative_position_k.embeddings_table").replace(
                "relative_v", "relative_position_v.embeddings_table"
            ): v
            for k, v in self.state_dict().items()
        }
