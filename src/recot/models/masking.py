"""Semantic-Guided Masking (SGM, paper Algorithm 1) and the three baselines it is compared with.

All kinds mask exactly the same number of tokens for the same ratio, and take their randomness as an argument.

Legend: G groups, T frames a group, H W token grid, N = H * W positions, C width.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import einsum, rearrange, repeat
from torch import Tensor, nn

from recot.errors import ConfigError


@dataclass(frozen=True)
class Mask:
    """Which tokens of each group are hidden."""

    masked: Tensor  # (G, T, H, W) bool
    keep: Tensor  # (G, T, H, W) float: 0 where masked, 1 elsewhere; carries the gradient to the scores, if any
    scores: Tensor | None = None  # (G, T, H, W) float, importance; None for kinds that don't score tokens


class SemanticGuidedMasking(nn.Module):
    """Scores each token against its past and its surroundings, and masks the lowest-scoring ones.

    With V_prev the previous frame's tokens (zeros before the first frame of a group) and V_mean the mean token of each
    frame: ``score[t, p] = (V[t, p] . TempQuery(V_prev[t, p]) + V[t, p] . SpatialQuery(V_mean[t])) / sqrt(C)``.

    Our choices, where the paper is silent: the factor 1 / sqrt(C); Gumbel noise on the scores while training, in units
    of their standard deviation in the group, so that it means the same for every encoder; and the gradient, which a
    hard choice would block: ``keep`` is exactly the hard mask going forward, and going back a sigmoid around the
    threshold, of width ``temperature`` standard deviations.

    Args:
        width: C.
        mask_ratio: fraction of each group's tokens to mask, strictly between 0 and 1.
        noise: scale of the Gumbel noise while training; 0 for none.
        temperature: width of the sigmoid that passes gradients.
    """

    def __init__(self, *, width: int, mask_ratio: float, noise: float = 1.0, temperature: float = 1.0) -> None:
        super().__init__()
        self.mask_ratio = _checked_ratio(mask_ratio)
        self.noise = noise
        self.temperature = temperature
        self.temporal_query = nn.Linear(width, width)
        self.spatial_query = nn.Linear(width, width)

    def scores(self, features: Tensor) -> Tensor:
        """(G, T, H, W, C) -> (G, T, H, W) importance of each token, float32."""
        previous = F.pad(features[:, :-1], (0, 0, 0, 0, 0, 0, 1, 0))
        mean = features.mean(dim=(2, 3))
        temporal = einsum(features, self.temporal_query(previous), "g t h w c, g t h w c -> g t h w")
        spatial = einsum(features, self.spatial_query(mean), "g t h w c, g t c -> g t h w")
        return (temporal + spatial).float() * features.shape[-1] ** -0.5

    def forward(self, features: Tensor, uniform: Tensor) -> Mask:
        """Mask each group's least important tokens.

        Args:
            features: (G, T, H, W, C) float.
            uniform: (G, T, H, W) float in [0, 1), the source of noise while training; breaks ties otherwise.
        """
        scores = self.scores(features)
        spread = scores.detach().flatten(1).std(dim=1).clamp(min=1e-6)[:, None, None, None]
        ranked = scores.detach()
        if self.training and self.noise > 0:
            ranked = ranked + self.noise * spread * _gumbel(uniform)
        masked = lowest(ranked, self.mask_ratio, uniform)
        threshold = ranked.masked_fill(~masked, -torch.inf).flatten(1).amax(dim=1)[:, None, None, None]
        soft = torch.sigmoid((scores + (ranked - scores.detach()) - threshold) / (self.temperature * spread))
        keep = (~masked).float() + (soft - soft.detach())
        return Mask(masked=masked, keep=keep, scores=scores)


class RandomMasking(nn.Module):
    """Masks tokens uniformly at random."""

    def __init__(self, *, mask_ratio: float) -> None:
        super().__init__()
        self.mask_ratio = _checked_ratio(mask_ratio)

    def forward(self, features: Tensor, uniform: Tensor) -> Mask:
        """As SemanticGuidedMasking; ``features`` are not looked at."""
        masked = lowest(uniform, self.mask_ratio, uniform)
        return Mask(masked=masked, keep=(~masked).float())


class TubeMasking(nn.Module):
    """Masks the same random positions in all frames of a group (VideoMAE, arXiv 2203.12602)."""

    def __init__(self, *, mask_ratio: float) -> None:
        super().__init__()
        self.mask_ratio = _checked_ratio(mask_ratio)

    def forward(self, features: Tensor, uniform: Tensor) -> Mask:
        """As SemanticGuidedMasking; ``features`` are not looked at."""
        first = uniform[:, :1]
        masked = repeat(lowest(first, self.mask_ratio, first), "g 1 h w -> g t h w", t=features.shape[1])
        return Mask(masked=masked, keep=(~masked).float())


class MostRedundantMasking(nn.Module):
    """Masks the tokens most similar to the same position of the previous frame; has no parameters.

    The first frame of a group has no previous frame: its similarity counts as 0.
    """

    def __init__(self, *, mask_ratio: float) -> None:
        super().__init__()
        self.mask_ratio = _checked_ratio(mask_ratio)

    def forward(self, features: Tensor, uniform: Tensor) -> Mask:
        """As SemanticGuidedMasking; ``uniform`` only breaks ties."""
        previous = F.pad(features[:, :-1], (0, 0, 0, 0, 0, 0, 1, 0))
        novelty = -F.cosine_similarity(features.float(), previous.float(), dim=-1)
        masked = lowest(novelty, self.mask_ratio, uniform)
        return Mask(masked=masked, keep=(~masked).float(), scores=novelty)


def make_masking(
    *, kind: str, width: int, mask_ratio: float, noise: float = 1.0, temperature: float = 1.0
) -> nn.Module:
    """The masking of a config: ``sgm``, ``random``, ``tube`` or ``redundant``.

    Raises:
        ConfigError: for another kind, or a ratio that is not strictly between 0 and 1.
    """
    if kind == "sgm":
        return SemanticGuidedMasking(width=width, mask_ratio=mask_ratio, noise=noise, temperature=temperature)
    baselines = {"random": RandomMasking, "tube": TubeMasking, "redundant": MostRedundantMasking}
    if kind not in baselines:
        raise ConfigError(f"stage.masking is {kind!r}: use one of sgm, {', '.join(baselines)}")
    return baselines[kind](mask_ratio=mask_ratio)


def masked_positions(mask_ratio: float, positions: int) -> int:
    """How many tokens of a frame's ``positions`` are masked on average: the ratio, rounded to whole positions.

    Whole positions, so that tubes (which mask a position in all frames) hide exactly as many tokens as the others.

    Raises:
        ConfigError: if that leaves nothing masked or nothing visible.
    """
    count = round(mask_ratio * positions)
    if not 0 < count < positions:
        raise ConfigError(
            f"stage.mask_ratio={mask_ratio} masks {count} of {positions} positions: at least one position must be "
            "masked and one visible. Choose a ratio nearer to 0.5 or a larger token grid."
        )
    return count


def lowest(scores: Tensor, mask_ratio: float, tie_break: Tensor) -> Tensor:
    """Mark each group's lowest-scoring tokens.

    Args:
        scores: (G, T, H, W) float.
        mask_ratio: fraction to mark.
        tie_break: (G, T, H, W), orders equal scores.

    Returns:
        (G, T, H, W) bool, with exactly ``T * masked_positions(mask_ratio, H * W)`` True a group.
    """
    _, t, h, w = scores.shape
    count = t * masked_positions(mask_ratio, h * w)
    random_order = tie_break.flatten(1).argsort(dim=1, stable=True)
    order = random_order.gather(1, scores.flatten(1).gather(1, random_order).argsort(dim=1, stable=True))
    masked = torch.zeros_like(order, dtype=torch.bool).scatter_(1, order[:, :count], True)
    return rearrange(masked, "g (t h w) -> g t h w", t=t, h=h)


def _gumbel(uniform: Tensor) -> Tensor:
    clamped = uniform.clamp(1e-6, 1 - 1e-6)
    return -torch.log(-torch.log(clamped))


def _checked_ratio(mask_ratio: float) -> float:
    if not isinstance(mask_ratio, int | float) or not 0 < mask_ratio < 1:
        raise ConfigError(
            f"stage.mask_ratio is {mask_ratio!r}: it must be a number strictly between 0 and 1 (0 would leave nothing "
            "to reconstruct, 1 nothing to reconstruct it from). Try stage.mask_ratio=0.75."
        )
    return float(mask_ratio)
