"""When the exact rewrites for CPUs are worth their overhead."""

import torch
from torch import Tensor

REWRITES_FROM_WIDTH = 256
"""Below this width, matrix products are too cheap to repay what saving some of them costs."""


def rewrites_pay(x: Tensor) -> bool:
    """Whether tokens (..., C) are computed in float32 on a CPU and are wide."""
    in_float32 = x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    return x.device.type == "cpu" and in_float32 and x.shape[-1] >= REWRITES_FROM_WIDTH
