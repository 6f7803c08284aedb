"""A loss that counts every token alike, whatever micro-batch or rank it is in.

The mean of micro-batches' means counts the tokens of short replies more than those of long ones, and makes the result
depend on how a batch was cut. Here gradients are those of (sum of all losses) / (number of all their tokens), over all
micro-batches and ranks of an optimizer step.
"""

import lightning
import torch
from lightning.pytorch.strategies import DeepSpeedStrategy
from torch import Tensor

from recot.errors import ConfigError


class TokenMean:
    """Divides what is accumulated for an optimizer step by its number of tokens.

    Without accumulation, the loss is divided. With it, the number is known only after the last micro-batch: losses are
    summed, and gradients divided, before they are clipped.
    """

    def __init__(self) -> None:
        self._tokens: Tensor | None = None  # of this rank since the last optimizer step

    def loss(self, module: lightning.LightningModule, total: Tensor, count: Tensor) -> Tensor:
        """What ``training_step`` is to return.

        Args:
            module: with its trainer.
            total: scalar, sum of the losses of a micro-batch's tokens.
            count: scalar int64, how many these are.

        Raises:
            ConfigError: for accumulation with DeepSpeed, which keeps accumulated gradients to itself.
        """
        if module.trainer.accumulate_grad_batches == 1:
            return total * _divisor(module, count)
        if isinstance(module.trainer.strategy, DeepSpeedStrategy):
            raise ConfigError(
                "trainer.accumulate_grad_batches must be 1 with trainer=deepspeed, or tokens would count differently: "
                "give larger batches (data.token_budget), or use trainer=fsdp"
            )
        self._tokens = count if self._tokens is None else self._tokens + count
        return total

    def before_step(self, module: lightning.LightningModule, optimizer: torch.optim.Optimizer) -> None:
        """To be called in ``on_before_optimizer_step``, which comes before clipping."""
        if self._tokens is None:
            return
        # Lightning has divided each loss by the number of micro-batches.
        factor = (module.trainer.accumulate_grad_batches * _divisor(module, self._tokens)).item()
        self._tokens = None
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.grad.mul_(factor)


def _divisor(module: lightning.LightningModule, count: Tensor) -> Tensor:
    """1 / (tokens of all ranks), times the number of ranks, by which DDP and FSDP divide the sum of gradients."""
    tokens = module.trainer.strategy.reduce(count.detach().clone(), reduce_op="sum")
    assert isinstance(tokens, Tensor)
    return module.trainer.world_size / tokens.clamp(min=1)
