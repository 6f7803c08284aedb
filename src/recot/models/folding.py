"""One-head attention with two projections instead of four: an exact rewrite for wide tokens in float32 on CPUs.

With inputs u, q_i . k_j is u_i^T (Wq^T Wk) u_j + (Wk^T bq) . u_j plus terms without j, which softmax ignores. And as
attention weights sum to one, proj(sum_j a_ij v_j) is sum_j a_ij (Wp Wv u_j + Wp bv + bp). So the inputs serve as keys,
and the average of these values needs no further projection.

Legend: C width.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

from recot.models.cpu import rewrites_pay


class Folded(NamedTuple):
    """Weights (C, C) and biases (C,) for F.linear. Gradients reach the parameters they were made from."""

    query_weight: Tensor
    query_bias: Tensor
    value_weight: Tensor
    value_bias: Tensor


def folding_pays(x: Tensor, heads: int) -> bool:
    """Whether to fold for tokens (..., C): folding costs two projections of C tokens and saves two of every token."""
    return heads == 1 and rewrites_pay(x) and x.shape[:-1].numel() > x.shape[-1]


def fold(qkv: nn.Linear, proj: nn.Linear) -> Folded:
    """Fold the projections of a one-head attention; products of its queries and inputs are scaled by C^-1/2."""
    query, key, value = qkv.weight.chunk(3)
    query_bias, _, value_bias = qkv.bias.chunk(3)
    scale = key.shape[0] ** -0.5
    return Folded(
        query_weight=(scale * key.T) @ query,
        query_bias=scale * (key.T @ query_bias),
        value_weight=proj.weight @ value,
        value_bias=proj.weight @ value_bias + proj.bias,
    )


def keep_linear_maps(block: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """``block(x)``, of which the backward pass keeps the input and the outputs of linear maps only.

    The rest (norms, attention weights) is cheap and computed again when needed.
    """
    if not torch.is_grad_enabled():
        return block(x)
    kept = [torch.ops.aten.addmm.default, torch.ops.aten.mm.default]
    context = partial(create_selective_checkpoint_contexts, kept)
    out: Tensor = checkpoint(block, x, use_reentrant=False, preserve_rng_state=False, context_fn=context)
    return out
