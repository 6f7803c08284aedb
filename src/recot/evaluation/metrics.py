"""Measures of stage 1 on validation data, built on torchmetrics.

Legend: G groups, T frames a group, H W token grid, C width.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torchmetrics import ExplainedVariance, MeanMetric, Metric

from recot.evaluation.baselines import BASELINES

REORDERING = (2, 0, 3, 1)
"""The permutation that order sensitivity is measured with: every frame moves and no two stay neighbours in order."""

MOVING_SHARE = 0.25
"""The share of a frame's tokens that count as moving: those that changed most since the previous frame."""


class OrderSensitivity(Metric):
    """How much the compact map changes when a group's frames are permuted, relative to how much maps vary at all.

    ``sqrt(E|z(x) - z(P x)|^2 / E|z(x) - E z|^2)`` over all tokens: 0 for a compressor blind to order, about sqrt(2) if
    a reordered group were as different as an unrelated one. Our choice of measure.
    """

    change: Tensor
    total: Tensor
    square: Tensor
    count: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.add_state("change", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("total", torch.zeros(width, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("square", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, compact: Tensor, reordered: Tensor) -> None:
        """Add maps of a batch, (G, H, W, C) each."""
        compact, reordered = compact.double(), reordered.double()
        self.change += (compact - reordered).square().sum()
        self.total += compact.sum(dim=(0, 1, 2))
        self.square += compact.square().sum()
        self.count += compact[..., 0].numel()

    def compute(self) -> Tensor:
        """Scalar, see above."""
        variance = self.square / self.count - (self.total / self.count).square().sum()
        return (self.change / self.count / variance).sqrt().float()


class ReconstructionMetrics(nn.Module):
    """Everything stage 1 logs on validation, updated batch by batch; padding frames count nowhere.

    Explained variance is ``1 - Var(error) / Var(target)`` over all channels together, per kind of token (masked or
    visible), for the model and for each trivial baseline.

    Args:
        width: C.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.explained = nn.ModuleDict(
            {
                f"{who}:{tokens}": ExplainedVariance(multioutput="variance_weighted").set_dtype(torch.float64)
                for who in ("model", *BASELINES)
                for tokens in ("masked", "visible")
            }
        )
        self.cosine_masked = MeanMetric()
        self.cosine_visible = MeanMetric()
        self.masked_given_moving = MeanMetric()
        self.order_sensitivity = OrderSensitivity(width)

    def update(self, predicted: Tensor, target: Tensor, masked: Tensor, valid: Tensor) -> None:
        """Add a batch.

        Args:
            predicted: (G, T, H, W, C).
            target: (G, T, H, W, C), normalised.
            masked: (G, T, H, W) bool.
            valid: (G, T) bool.
        """
        real = rearrange(valid, "g t -> g t 1 1").expand_as(masked)
        tokens = {"masked": masked & real, "visible": ~masked & real}
        guesses = {"model": predicted.float()} | {name: guess(target, masked) for name, guess in BASELINES.items()}
        for key, metric in self._explained():
            who, which = key.split(":")
            metric.update(guesses[who][tokens[which]].double(), target[tokens[which]].double())
        cosine = F.cosine_similarity(guesses["model"], target, dim=-1)
        self.cosine_masked.update(cosine[tokens["masked"]])
        self.cosine_visible.update(cosine[tokens["visible"]])
        self.masked_given_moving.update(masked[:, 1:][moving_tokens(target) & real[:, 1:]].float())

    def compute(self) -> dict[str, Tensor]:
        """Scalars by name; baselines as ``baseline_<name>/...``."""
        values = {}
        for key, metric in self._explained():
            who, which = key.split(":")
            prefix = "" if who == "model" else f"baseline_{who}/"
            values[f"{prefix}explained_variance_{which}"] = torch.as_tensor(metric.compute()).float()
        return values | {
            "cosine_masked": self.cosine_masked.compute(),
            "cosine_visible": self.cosine_visible.compute(),
            "masked_given_moving": self.masked_given_moving.compute(),
            "order_sensitivity": self.order_sensitivity.compute(),
        }

    def _explained(self) -> Iterator[tuple[str, ExplainedVariance]]:
        for key, metric in self.explained.items():
            assert isinstance(metric, ExplainedVariance)
            yield key, metric

    def reset(self) -> None:
        """Forget all batches."""
        for metric in self.modules():
            if isinstance(metric, Metric):
                metric.reset()


def moving_tokens(target: Tensor) -> Tensor:
    """The quarter of each frame's tokens that changed most since the previous frame.

    Args:
        target: (G, T, H, W, C).

    Returns:
        (G, T - 1, H, W) bool.
    """
    change = target.diff(dim=1).square().sum(dim=-1)
    count = max(1, round(MOVING_SHARE * change[0, 0].numel()))
    threshold = change.flatten(2).topk(count, dim=2).values[..., -1]
    return change >= rearrange(threshold, "g t -> g t 1 1")
