"""What a run says when its loss is no number any more."""

import math

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from recot.errors import RecotError


class NonFiniteLossError(RecotError):
    """Training diverged; the message names the step, the samples and the largest gradient."""


class GradientWatch:
    """Remembers how large each gradient was before clipping: this rank's part of it, where a model is cut over ranks.

    Args:
        model: what is trained.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._norms: dict[str, Tensor] = {}

    def look(self) -> None:
        """Call before each optimizer step."""
        self._norms = {
            # No communication: the rank whose loss isn't finite may be the only one to look at these.
            name: torch.linalg.vector_norm(p.grad.to_local() if isinstance(p.grad, DTensor) else p.grad)
            for name, p in self._model.named_parameters()
            if p.grad is not None
        }

    def check(self, loss: Tensor, *, step: int, keys: list[str]) -> None:
        """Stop training before a loss that isn't finite spoils the weights.

        Args:
            loss: scalar.
            step: optimizer steps done.
            keys: of the batch's samples.

        Raises:
            NonFiniteLossError: if it isn't finite.
        """
        if torch.isfinite(loss):
            return
        raise NonFiniteLossError(
            f"The training loss became {loss.item()} at step {step}, on samples {', '.join(keys)}. Largest gradient of "
            f"the step before: {largest_gradient(self._norms)}. Nothing was saved from this step: the last checkpoint "
            "is good. Lower the learning rates (stage.learning_rate, or those of stage.train), lengthen "
            "stage.warmup_steps, or look at these samples."
        )


def largest_gradient(norms: dict[str, Tensor]) -> str:
    """The parameter with the largest gradient norm, as text; a NaN counts as largest."""
    if not norms:
        return "none yet (this was the first step)"
    values = {name: norm.item() for name, norm in norms.items()}
    name = max(values, key=lambda n: math.inf if math.isnan(values[n]) else values[n])
    return f"{name} with norm {values[name]:.3g}"
