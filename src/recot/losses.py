"""Training objectives as pure functions of tensors.

Legend: G groups, T frames a group, H W token grid, C width; I images, J texts.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class ReconstructionWeights:
    """How the terms of the stage-1 loss are weighted (our choice; the paper gives none)."""

    masked: float
    visible: float
    cosine: float
    difference: float


def normalised_target(features: Tensor) -> Tensor:
    """Reconstruction target: each token to mean 0 and variance 1 over its channels. (..., C) -> (..., C) float32."""
    return F.layer_norm(features.float(), features.shape[-1:])


def reconstruction_terms(predicted: Tensor, target: Tensor, masked: Tensor, valid: Tensor) -> dict[str, Tensor]:
    """Terms of the stage-1 loss, each a mean over the tokens it concerns. Repeated padding frames count nowhere.

    Args:
        predicted: (G, T, H, W, C).
        target: (G, T, H, W, C), normalised.
        masked: (G, T, H, W) bool.
        valid: (G, T) bool, False at padding frames.

    Returns:
        Scalars: ``masked`` and ``visible``, mean squared errors a channel; ``cosine``, 1 - cosine similarity;
        ``difference``, mean squared error of the change from one frame to the next, which a reconstruction that
        ignores the order of the frames can't get right.
    """
    predicted = predicted.float()
    real = valid[:, :, None, None].expand_as(masked)
    squared = (predicted - target).square().mean(dim=-1)
    cosine = 1 - F.cosine_similarity(predicted, target, dim=-1)
    change = (predicted.diff(dim=1) - target.diff(dim=1)).square().mean(dim=-1)
    return {
        "masked": mean_where(squared, masked & real),
        "visible": mean_where(squared, ~masked & real),
        "cosine": mean_where(cosine, real),
        "difference": mean_where(change, real[:, 1:] & real[:, :-1]),
    }


def weighted_sum(terms: dict[str, Tensor], weights: ReconstructionWeights) -> Tensor:
    """The stage-1 loss, a scalar."""
    return torch.stack([term * getattr(weights, name) for name, term in terms.items()]).sum()


def mean_where(values: Tensor, where: Tensor) -> Tensor:
    """Mean of ``values`` where ``where`` is True; 0 if it is True nowhere."""
    return (values * where).sum() / where.sum().clamp(min=1)


def sigmoid_contrastive(image: Tensor, text: Tensor, positive: Tensor, *, log_scale: Tensor, bias: Tensor) -> Tensor:
    """SigLIP's loss (arXiv 2303.15343): whether an image and a text belong together, for each pair on its own.

    In the paper, exactly the pairs (i, i) belong together. Here ``positive`` says which do, so that a text that is
    true of several images of the batch is a negative for none of them (our choice).

    Args:
        image: (I, C) embeddings; they are brought to length 1.
        text: (J, C) embeddings; the same.
        positive: (I, J) bool.
        log_scale: logarithm of the learnt inverse temperature, one element.
        bias: learnt offset of the logits, one element.

    Returns:
        Scalar float32: the negative log-likelihood of all pairs, divided by the number of images.
    """
    cosine = F.normalize(image.float(), dim=-1) @ F.normalize(text.float(), dim=-1).T
    logits = cosine * log_scale.float().exp() + bias.float()
    return F.binary_cross_entropy_with_logits(logits, positive.float(), reduction="sum") / len(image)
