"""The DTS's temporal downsampling: a 3x3x3 convolution with temporal stride 2 on channels-last tokens.

Legend: B batch of groups, T frames, S = T / 2 frames out, H W token grid, C width in, O width out.
"""

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

TAP_PRODUCTS_FROM_WIDTH = 256
"""Below this width the 63 matrix products of a group are too small to beat the backend's convolution."""


class TemporalDownsample(nn.Module):
    """Halves the number of frames (OFFICIAL block 3.4).

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
        if x.device.type == "cpu" and x.dtype == torch.float32 and x.shape[-1] >= TAP_PRODUCTS_FROM_WIDTH:
            out: Tensor = TapProducts.apply(x, self.weight, self.bias)
            return out
        return convolve(x, self.weight, self.bias)


def convolve(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The convolution through the backend's own kernel: best on accelerators. Shapes as TemporalDownsample."""
    channels_first = rearrange(x, "b t h w c -> b c t h w")
    padded = F.pad(channels_first, (1, 1, 1, 1, 1, 0), mode="replicate")
    kernel = rearrange(weight, "t h w c o -> o c t h w")
    return rearrange(F.conv3d(padded, kernel, bias, stride=(2, 1, 1)), "b o t h w -> b t h w o")


def _taps(frames: int, grid_width: int) -> list[tuple[int, int, tuple[int, ...], int, int, int]]:
    """Every matrix product of the convolution: (frame out, frame in, temporal taps, row tap, column tap, offset).

    The repeated first frame makes temporal taps 0 and 1 of output frame 0 read the same input: their matrices are
    summed first, which saves a third of that frame's products. ``offset`` is the tap's shift in flattened positions.
    """
    products = []
    for out in range(frames // 2):
        sources = {0: (0, 1), 1: (2,)} if out == 0 else {2 * out + a - 1: (a,) for a in range(3)}
        for source, temporal in sources.items():
            for i in range(3):
                for j in range(3):
                    products.append((out, source, temporal, i, j, i * (grid_width + 2) + j))
    return products


def _pad_and_flatten(x: Tensor) -> Tensor:
    """(B, T, H, W, C) -> (B, T, (H + 2) * (W + 2), C): borders repeated, grid flattened row by row."""
    rows = torch.cat([x[:, :, :1], x, x[:, :, -1:]], dim=2)
    padded = torch.cat([rows[..., :1, :], rows, rows[..., -1:, :]], dim=3)
    return rearrange(padded, "b t h w c -> b t (h w) c")


class TapProducts(torch.autograd.Function):
    """The convolution as accumulated matrix products over its taps: the fast and lean path in float32 on CPUs.

    In the flattened padded grid, a tap is a shift, so its input is a view: no column matrix is ever built. Each row
    of the grid yields two positions too many, which are dropped.
    """

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        """See TemporalDownsample.forward."""
        b, t, h, w, _ = x.shape
        ctx.save_for_backward(x, weight)
        planes = _pad_and_flatten(x)
        length = h * (w + 2) - 2
        out = bias.expand(b, t // 2, h * (w + 2), -1).contiguous()
        for s, source, temporal, i, j, offset in _taps(t, w):
            tap = weight[temporal[0], i, j] if len(temporal) == 1 else weight[0, i, j] + weight[1, i, j]
            for n in range(b):
                out[n, s, :length].addmm_(planes[n, source, offset : offset + length], tap)
        return rearrange(out, "b t (h w) o -> b t h w o", h=h)[..., :w, :].contiguous()

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[no-untyped-def, override]
        """Gradients of input, weight and bias by the same products, transposed."""
        x, weight = ctx.saved_tensors
        b, t, h, w, _ = x.shape
        planes = _pad_and_flatten(x)
        length = h * (w + 2) - 2
        flat = rearrange(F.pad(grad, (0, 0, 0, 2)), "b t h w o -> b t (h w) o")[:, :, :length]
        grad_planes = torch.zeros_like(planes)
        grad_weight = torch.zeros_like(weight)
        for s, source, temporal, i, j, offset in _taps(t, w):
            tap = weight[temporal[0], i, j] if len(temporal) == 1 else weight[0, i, j] + weight[1, i, j]
            window = slice(offset, offset + length)
            grad_tap = torch.zeros_like(tap) if len(temporal) > 1 else grad_weight[temporal[0], i, j]
            for n in range(b):
                grad_planes[n, source, window].addmm_(flat[n, s], tap.T)
                grad_tap.addmm_(planes[n, source, window].T, flat[n, s])
            if len(temporal) > 1:
                grad_weight[:2, i, j] += grad_tap
        return _fold_padding(grad_planes, h, w), grad_weight, grad.sum(dim=(0, 1, 2, 3))


def _fold_padding(grad_planes: Tensor, h: int, w: int) -> Tensor:
    """The transpose of _pad_and_flatten: (B, T, (H + 2) * (W + 2), C) -> (B, T, H, W, C), borders added in."""
    rows = rearrange(grad_planes, "b t (h w) c -> b t h w c", h=h + 2)
    rows[..., 1, :] += rows[..., 0, :]
    rows[..., w, :] += rows[..., w + 1, :]
    rows[:, :, 1] += rows[:, :, 0]
    rows[:, :, h] += rows[:, :, h + 1]
    return rows[:, :, 1 : h + 1, 1 : w + 1]
