"""Frames to encoder input: bicubic resize as PIL does it, then values to [-1, 1].

The released model resizes with PIL, whose bicubic filter is antialiased and rounds to 8 bits after each pass.
Tensor-library bicubics differ by several grey levels, so the filter is computed here.

Legend: F frames, H W input size, S output size, I input length and O output length of one axis.
"""

import torch
from einops import rearrange
from torch import Tensor

_PRECISION = 2.0**22
"""PIL keeps filter weights as 22-bit fixed-point numbers."""


def normalise(frames: Tensor, size: int) -> Tensor:
    """uint8 frames to the encoder's input.

    Args:
        frames: (F, H, W, 3) uint8 RGB. Resized to S x S, aspect ratio not kept; a frame of that size stays as it is.
        size: S.

    Returns:
        (F, 3, S, S) float32 in [-1, 1].
    """
    resized = resize_bicubic(frames, (size, size))
    scaled = (resized.double() * (1 / 255)).float()
    return rearrange((scaled - 0.5) / 0.5, "f h w c -> f c h w")


def resize_bicubic(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize as PIL's bicubic, bit for bit, horizontally first, then vertically.

    Pillow 13 takes the other order where that is cheaper; the released model was made with the order of older ones.

    Args:
        frames: (F, H, W, C) uint8.
        size: (height, width) to resize to, pixels.

    Returns:
        (F, height, width, C) uint8.

    Raises:
        ValueError: if ``frames`` is not 4-dimensional uint8.
    """
    if frames.dtype != torch.uint8 or frames.ndim != 4:
        raise ValueError(f"expected (F, H, W, C) uint8 frames, got {tuple(frames.shape)} {frames.dtype}")
    height, width = size
    if frames.shape[2] != width:
        frames = _resize_axis(frames, width, "f h i c, o i -> f h o c")
    if frames.shape[1] != height:
        frames = _resize_axis(frames, height, "f i w c, o i -> f o w c")
    return frames


def _resize_axis(frames: Tensor, length: int, pattern: str) -> Tensor:
    axis = 2 if pattern.startswith("f h i") else 1
    weights = _fixed_point_weights(frames.shape[axis], length).to(frames.device)
    # Integers below 2**53 are exact in float64, so this is PIL's integer arithmetic.
    sums = torch.einsum(pattern.replace(" ", ""), frames.double(), weights)
    return ((sums + _PRECISION / 2) / _PRECISION).floor().clamp(0, 255).to(torch.uint8)


def _fixed_point_weights(length_in: int, length_out: int) -> Tensor:
    """(O, I) float64 holding integers: each output's filter weights, antialiased when shrinking."""
    scale = length_in / length_out
    stretch = max(scale, 1.0)
    support = 2.0 * stretch
    centre = (torch.arange(length_out, dtype=torch.float64) + 0.5) * scale
    first = (centre - support + 0.5).clamp(min=0).floor()[:, None]
    last = (centre + support + 0.5).clamp(max=length_in).floor()[:, None]
    position = torch.arange(length_in, dtype=torch.float64)[None]
    weights = _bicubic((position - centre[:, None] + 0.5) / stretch)
    weights = torch.where((position >= first) & (position < last), weights, 0.0)
    fixed = weights / weights.sum(dim=1, keepdim=True) * _PRECISION
    return torch.where(fixed < 0, (fixed - 0.5).ceil(), (fixed + 0.5).floor())


def _bicubic(x: Tensor) -> Tensor:
    """The cubic convolution kernel with a = -0.5 (Keys 1981)."""
    a, x = -0.5, x.abs()
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))
