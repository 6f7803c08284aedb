"""The DTS's convolution with fewer matrix products than taps: Winograd's minimal filtering, in float32 on CPUs.

A filter algorithm turns inputs x and kernel w into outputs y_s = sum_r outputs[r][s] (inputs[r] . x) (kernel[r] . w).
In two spatial dimensions F(2x2, 3x3) (Lavin and Gray 2015, arXiv 1509.09308) makes 4 outputs of 16 products, not 36.
Here a product is a matrix product of many tokens, and forming the sums costs little beside it.

Legend: B batch of groups, T frames, H W token grid, C width in, O width out, h w = H / 2 W / 2 tiles.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor


class Product(NamedTuple):
    """One product of a filter algorithm: coefficients of its inputs, of the kernel's taps, and of it in the outputs."""

    inputs: Sequence[float]
    kernel: Sequence[float]
    outputs: Sequence[float]


SPATIAL = (
    Product((1, 0, -1, 0), (1, 0, 0), (1, 0)),
    Product((0, 1, 1, 0), (1, 1, 1), (0.5, 0.5)),
    Product((0, 1, -1, 0), (1, -1, 1), (-0.5, 0.5)),
    Product((0, 1, 0, -1), (0, 0, 1), (0, -1)),
)
"""F(2, 3): two neighbouring outputs of 4 inputs and 3 taps, by 4 products instead of 6."""


def temporal_products(frames: int) -> list[Product]:
    """The algorithm along time: stride 2, the first frame repeated in front.

    Output s reads inputs 2 s - 1, 2 s, 2 s + 1. The repetition lets outputs 0 and 1 share 4 products instead of 6.
    """

    def product(inputs: dict[int, float], kernel: Sequence[float], outputs: dict[int, float]) -> Product:
        return Product(
            [inputs.get(i, 0.0) for i in range(frames)], kernel, [outputs.get(s, 0.0) for s in range(frames // 2)]
        )

    if frames == 2:
        return [product({0: 1}, (1, 1, 0), {0: 1}), product({1: 1}, (0, 0, 1), {0: 1})]
    products = [
        product({0: 1, 1: -1}, (1, 1, 0), {0: 1}),
        product({1: 1}, (1, 1, 1), {0: 1, 1: 1}),
        product({1: 1, 3: -1}, (0, 0, 1), {1: -1}),
        product({1: 1, 2: -1}, (0, 1, 0), {1: -1}),
    ]
    for s in range(2, frames // 2):
        products += [product({2 * s - 1 + a: 1}, [float(a == k) for k in range(3)], {s: 1}) for a in range(3)]
    return products


class WinogradConvolution(torch.autograd.Function):
    """Same numbers as ``recot.models.downsample.convolve``."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        """(B, T, H, W, C), (3, 3, 3, C, O), (O,) -> (B, T / 2, H, W, O)."""
        ctx.save_for_backward(x, weight)
        b, t, height, width, _ = x.shape
        out = bias.expand(b, t // 2, height + height % 2, width + width % 2, -1).contiguous()
        workspace = _workspace(weight)
        for time in temporal_products(t):
            tiles = _overlapping_tiles(_pad(_combine(x.unbind(1), time.inputs)))
            for row, column, kernel in _kernels(weight, time, workspace):
                product = _combine(tiles, _outer(row.inputs, column.inputs)) @ kernel
                _scatter(_tiles(out), _outer(time.outputs, row.outputs, column.outputs), product)
        return out[:, :, :height, :width]

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[no-untyped-def]
        """Gradients of input, weight and bias: the same sums and products, transposed."""
        x, weight = ctx.saved_tensors
        height, width = x.shape[2:4]
        grad_x, grad_weight = torch.zeros_like(x), torch.zeros_like(weight)
        grad_taps = rearrange(grad_weight, "t i j c o -> (t i j) c o").unbind()
        grad_outputs = _tiles(F.pad(grad, (0, 0, 0, width % 2, 0, height % 2)))
        workspace, grad_kernel = _workspace(weight), torch.empty_like(weight[0, 0, 0])
        for time in temporal_products(x.shape[1]):
            frame = _pad(_combine(x.unbind(1), time.inputs))
            grad_frame = torch.zeros_like(frame)
            tiles, grad_tiles = _overlapping_tiles(frame), _overlapping_tiles(grad_frame)
            for row, column, kernel in _kernels(weight, time, workspace):
                inputs = _outer(row.inputs, column.inputs)
                grad_product = _combine(grad_outputs, _outer(time.outputs, row.outputs, column.outputs))
                _scatter(grad_tiles, inputs, grad_product @ kernel.T)
                tile_rows, grad_rows = (
                    rearrange(v, "b h w c -> (b h w) c") for v in (_combine(tiles, inputs), grad_product)
                )
                torch.mm(tile_rows.T, grad_rows, out=grad_kernel)
                _scatter(grad_taps, _outer(time.kernel, row.kernel, column.kernel), grad_kernel)
            _scatter(grad_x.unbind(1), time.inputs, _fold_padding(grad_frame, height, width))
        return grad_x, grad_weight, grad.sum(dim=(0, 1, 2, 3))


def _workspace(weight: Tensor) -> Tensor:
    """Room for transformed kernels (4, C, O). Used again and again: fresh memory is slower than the sums themselves."""
    return weight.new_empty(4, *weight.shape[3:])


def _kernels(weight: Tensor, time: Product, workspace: Tensor) -> Iterator[tuple[Product, Product, Tensor]]:
    """For all spatial products: row, column, and transformed kernel (C, O), which the next one overwrites."""
    taps = rearrange(weight, "t i j c o -> (t i) j c o").unbind()
    for row in SPATIAL:
        row_taps = _combine(taps, _outer(time.kernel, row.kernel), out=workspace[:3])
        for column in SPATIAL:
            yield row, column, _combine(row_taps.unbind(), column.kernel, out=workspace[3])


def _outer(*factors: Sequence[float]) -> list[float]:
    """All products of one coefficient from each factor, the last factor varying fastest."""
    return [math.prod(choice) for choice in itertools.product(*factors)]


def _combine(pieces: Sequence[Tensor], coefficients: Sequence[float], out: Tensor | None = None) -> Tensor:
    """The weighted sum, written to ``out`` unless it is one of the pieces as it stands."""
    (piece, coefficient), *rest = [(p, c) for p, c in zip(pieces, coefficients, strict=True) if c]
    total = piece if coefficient == 1 else torch.mul(piece, coefficient, out=out)
    for i, (piece, coefficient) in enumerate(rest):
        total = torch.add(total, piece, alpha=coefficient, out=out if i == 0 else total)
    return total


def _scatter(pieces: Sequence[Tensor], coefficients: Sequence[float], value: Tensor) -> None:
    """The transpose of _combine: adds the value to every piece, weighted."""
    for piece, coefficient in zip(pieces, coefficients, strict=True):
        if coefficient:
            piece.add_(value, alpha=coefficient)


def _tiles(frames: Tensor) -> Sequence[Tensor]:
    """(B, S, 2 h, 2 w, C) -> views (B, h, w, C): for each frame, the 2 x 2 places of a tile."""
    return [frame[:, i::2, j::2] for frame in frames.unbind(1) for i in range(2) for j in range(2)]


def _overlapping_tiles(frame: Tensor) -> Sequence[Tensor]:
    """(B, 2 h + 2, 2 w + 2, C) -> views (B, h, w, C): the 4 x 4 places of a tile, which shares 2 with the next."""
    return [places for rows in frame.unfold(1, 4, 2).unbind(-1) for places in rows.unfold(2, 4, 2).unbind(-1)]


def _pad(frame: Tensor) -> Tensor:
    """(B, H, W, C) -> (B, 2 h + 2, 2 w + 2, C): borders repeated, once more at the end of an odd side."""
    rows = torch.cat([frame[:, :1], frame, *[frame[:, -1:]] * (1 + frame.shape[1] % 2)], dim=1)
    return torch.cat([rows[:, :, :1], rows, *[rows[:, :, -1:]] * (1 + frame.shape[2] % 2)], dim=2)


def _fold_padding(grad: Tensor, height: int, width: int) -> Tensor:
    """The transpose of _pad, overwriting its argument."""
    grad[:, :, 1] += grad[:, :, 0]
    grad[:, :, width] += grad[:, :, width + 1 :].sum(dim=2)
    grad[:, 1] += grad[:, 0]
    grad[:, height] += grad[:, height + 1 :].sum(dim=1)
    return grad[:, 1 : height + 1, 1 : width + 1]
