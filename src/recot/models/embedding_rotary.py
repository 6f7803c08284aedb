"""Rotary positions applied to embeddings, as the released model does once before its language model."""

import math

import torch
from torch import Tensor

BASE = 1_000_000


def rotate_embeddings(rows: Tensor, positions: Tensor) -> Tensor:
    """Rotate interleaved pairs of channels by angles that grow with the position.

    Angles are float32 products in the released model's order of operations: at position 20 000, a frequency rounded
    otherwise would move the result by 1e-3.

    Args:
        rows: (n, D) float, D even.
        positions: (n,) int64, in the visual sequence before selection.

    Returns:
        (n, D), in the dtype of ``rows``.
    """
    width = rows.shape[-1]
    even = torch.arange(0, width, 2, device=rows.device, dtype=torch.float32)
    angle = positions.float()[:, None] * torch.exp(even * (-math.log(BASE) / width))
    sin, cos = angle.sin(), angle.cos()
    first, second = rows[:, 0::2].float(), rows[:, 1::2].float()
    return torch.stack([first * cos - second * sin, second * cos + first * sin], dim=-1).flatten(1).to(rows.dtype)
