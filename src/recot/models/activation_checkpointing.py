"""Recompute layers in the backward pass instead of keeping what they computed."""

from collections.abc import Iterable
from functools import wraps
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def checkpoint_layers(layers: Iterable[nn.Module]) -> None:
    """From now on, keep only the input of each layer for the backward pass, wherever gradients are recorded.

    transformers' own switch does nothing in inference mode, which a frozen language model is in while gradients flow
    through it to what is trained. Names of weights don't change.

    Args:
        layers: called once a forward pass each, such as a decoder's. A key-value cache can't be filled while gradients
            are recorded.
    """
    for layer in layers:
        layer.forward = _recomputed(layer.forward)


def _recomputed(forward: Any) -> Any:
    @wraps(forward)
    def run(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)

    return run
