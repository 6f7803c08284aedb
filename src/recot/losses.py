"""Training objectives as pure functions of tensors.

Legend: G groups, T frames a group, H W token grid, C width; I images, J texts; N tokens, D width and V vocabulary of a
language model.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

IGNORED = -100
WORD_TEMPERATURE = 0.07  # CLIP's first one (arXiv 2103.00020)


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


def local_contrastive(patches: Tensor, phrases: Tensor, shown: Tensor, things: int, *, log_scale: Tensor) -> Tensor:
    """Which phrase each patch of a frame shows, among all phrases: cross entropy of scaled cosines.

    After RegionCLIP's contrast of regions and concepts (arXiv 2112.09106). Patches that show a thing count in all as
    much as those that show background, which are many more (our choice).

    Args:
        patches: (N, C) embeddings.
        phrases: (Q, C) embeddings.
        shown: (N,) int64, the phrase of each patch.
        things: how many of the phrases, the first ones, are of things; the others are of backgrounds.
        log_scale: logarithm of the inverse temperature, one element.

    Returns:
        Scalar float32.
    """
    cosine = F.normalize(patches.float(), dim=-1) @ F.normalize(phrases.float(), dim=-1).T
    each = F.cross_entropy(cosine * log_scale.float().exp(), shown, reduction="none")
    thing = shown < things
    return (mean_where(each, thing) + mean_where(each, ~thing)) / 2


def next_token_loss(hidden: Tensor, head: Tensor, labels: Tensor, *, rows_at_once: int) -> tuple[Tensor, Tensor]:
    """Cross entropy of what a language model says next, without ever holding the logits of all tokens.

    Logits are made for tokens with a label only, a few rows at a time, and made again for the gradient. So memory is
    that of ``rows_at_once`` x V numbers, however long the sequences are. Sum and count are given apart, so that batches
    and ranks of different sizes can be divided by the number of all their tokens.

    Args:
        hidden: (..., N, D) last hidden states, of any floating dtype.
        head: (V, D) weights of the output layer, of the same dtype.
        labels: (..., N) int64: ``labels[..., i]`` is token i itself, predicted from ``hidden[..., i - 1]``; ``IGNORED``
            where nothing is to be learned. That of the first token of a sequence is never used.
        rows_at_once: tokens whose logits are in memory at a time.

    Returns:
        Scalars: the float32 sum of the losses, and the int64 number of tokens it is over. Without any, the sum is 0,
        and its gradient too.

    Raises:
        ValueError: if ``rows_at_once`` is below 1.
    """
    if rows_at_once < 1:
        raise ValueError(f"rows_at_once={rows_at_once}: give 1 or more")
    wanted = labels[..., 1:] != IGNORED
    rows, targets = hidden[..., :-1, :][wanted], labels[..., 1:][wanted]
    total = rows.sum(dtype=torch.float32) * 0.0 + head.flatten()[0].float() * 0.0
    for start in range(0, len(rows), rows_at_once):
        part = slice(start, start + rows_at_once)
        total = total + checkpoint(_summed_loss, rows[part], head, targets[part], use_reentrant=False)
    return total, wanted.sum()


def _summed_loss(rows: Tensor, head: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy((rows @ head.T).float(), targets, reduction="sum")


def words_shown(tokens: Tensor, words: Tensor, said: Tensor) -> Tensor:
    """Whether a video's tokens are the words of its caption: negative log-likelihood, summed over words (our choice).

    A token stands for one of the words, by the softmax of its scaled cosines with them, and a word is shown if any
    token stands for it (noisy-or). So captions teach which token shows what without saying where, after "From Captions
    to Visual Concepts and Back" (arXiv 1411.4952); that tokens are compared with a language model's own embeddings is
    SEA's idea (arXiv 2408.11813). Tokens are drawn to the words' length as well, which cosines leave open.

    Args:
        tokens: (N, D) projected tokens of a video.
        words: (V, D) embeddings of the words that a token may stand for.
        said: (V,) float: 1 for words that the caption says, 0 for those it doesn't; NaN for words that tokens may stand
            for, and that count nowhere.

    Returns:
        Scalar float32.
    """
    tokens, words = tokens.float(), words.float()
    with torch.autocast(tokens.device.type, enabled=False):
        cosine = F.normalize(tokens, dim=-1) @ F.normalize(words, dim=-1).T
    # A token that is surely a wrong word has to learn it: in float32, what is left of its share would round to 0.
    each = (cosine.double() / WORD_TEMPERATURE).softmax(dim=-1).clamp(max=1 - 1e-12)
    not_shown = torch.log1p(-each).sum(dim=0).clamp(max=-1e-30)
    shown = torch.log(-torch.expm1(not_shown))
    length = tokens.norm(dim=-1) / words.norm(dim=-1).mean()
    surprise = -torch.where(said == 1, shown, not_shown)[~said.isnan()].sum()
    return surprise.float() + (length - 1).square().mean()


def grounding(logits: Tensor, evidence: Tensor, valid: Tensor) -> Tensor:
    """Whether each group shows the answer: binary cross-entropy (our choice; the paper has no such loss).

    The mean over a sample's groups. It is 0 for a sample without any evidence group: where its answer is seen isn't
    known.

    Args:
        logits: (B, G) float, scores of tokens pooled over each group.
        evidence: (B, G) bool, groups within the answer's time spans.
        valid: (B, G) bool, False at padding groups.

    Returns:
        (B,) float32.
    """
    each = F.binary_cross_entropy_with_logits(logits.float(), evidence.float(), reduction="none")
    each = each.masked_fill(~valid, 0)  # whatever padding holds
    known = (evidence & valid).any(dim=1)
    return known * each.sum(dim=1) / valid.sum(dim=1).clamp(min=1)
