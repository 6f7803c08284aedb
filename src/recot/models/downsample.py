"""The DTS's temporal downsampling: a 3x3x3 convolution with temporal stride 2 on channels-last tokens.

Legend: B batch of groups, T frames, S = T / 2 frames out, H W token grid, C width in, O width out.
"""

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from recot.models.cpu import rewrites_pay
from recot.models.winograd import WinogradConvolution


class TemporalDownsample(nn.Module):
    """Halves the number of frames, as the released model does.

    Padding repeats the border: one position on each spatial side, one copy of the first frame in front, none at the
    end. So output frame s sees input frames 2s - 1, 2s and 2s + 1, and for s = 0 the first frame twice.

    The weight is stored as ``(3, 3, 3, C, O)``, kernel axes (t, h, w) first, so that each of the 27 taps is one
    contiguous matrix.
    """

    def __init__(self, width: int, width_out: int | None = None) -> None:
        super().__init__()
        width_out = width_out or width
        bound = 1 / math.sqrt(27 * width)
        self.weight = nn.Parameter(torch.empty(3, 3, 3, width, width_out).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(width_out).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, H, W, C) -> (B, T / 2, H, W, O).

        Raises:
            ValueError: if T is odd.
        """
        if x.shape[1] % 2:
            raise ValueError(f"temporal downsampling halves the frames, got an odd number: {x.shape[1]}")
        if rewrites_pay(x):
            out: Tensor = WinogradConvolution.apply(x, self.weight, self.bias)
            return out
        return convolve(x, self.weight, self.bias)


def convolve(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The convolution through the backend's own kernel: best on accelerators. Shapes as TemporalDownsample."""
    channels_first = rearrange(x, "b t h w c -> b c t h w")
    padded = F.pad(channels_first, (1, 1, 1, 1, 1, 0), mode="replicate")
    kernel = rearrange(weight, "t h w c o -> o c t h w")
    return rearrange(F.conv3d(padded, kernel, bias, stride=(2, 1, 1)), "b o t h w -> b t h w o")
