"""Which video tokens stay: rules and choices as pure functions of scores.

Legend: B samples, G groups, P video tokens a group, K kept rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from recot.errors import ConfigError
from recot.models.visual_groups import Spans, VisualGroups

Level = Literal["token", "group"]
Pool = Literal["mean", "max"]
Times = Literal["all", "kept"]


@dataclass(frozen=True, kw_only=True)
class KeepRule:
    """How much of a video stays; exactly one of ratio, budget and threshold. Time tokens don't count.

    Attributes:
        ratio: fraction of the video tokens (or groups), in (0, 1], rounded down, at least one.
        budget: number of video tokens; a shorter video stays whole. Whole groups that fit, at group level.
        threshold: least score that stays, in [0, 1]; the best token (or group) always does.
        level: ``token``, or ``group``: whole groups by their pooled score.
        pool: how a group's scores are pooled: ``max``, as what is asked for may be on few of its tokens, or ``mean``.
        times: whose time tokens stay: ``all`` groups', as in the released model, or only of those of which a token is
            ``kept``. A time is about 10 tokens, so of a long video of which little is kept, nearly all that the
            language model reads would be times.
        multiple_of: tokens (or groups) kept by a ratio are rounded down to such a multiple, if that leaves any. The
            released model: 16.
    """

    ratio: float | None = None
    budget: int | None = None
    threshold: float | None = None
    level: Level = "token"
    pool: Pool = "max"
    times: Times = "all"
    multiple_of: int = 1

    def __post_init__(self) -> None:
        if sum(value is not None for value in (self.ratio, self.budget, self.threshold)) != 1:
            raise ConfigError(
                f"what is kept of a video: give exactly one of ratio ({self.ratio}), budget ({self.budget}) and "
                f"threshold ({self.threshold})"
            )
        if self.ratio is not None and not (_is_number(self.ratio) and 0 < self.ratio <= 1):
            raise ConfigError(f"keep ratio={self.ratio}: must be a number above 0 and at most 1, e.g. 0.25")
        whole = isinstance(self.budget, int) and not isinstance(self.budget, bool)
        if self.budget is not None and not (whole and self.budget >= 1):
            raise ConfigError(f"keep budget={self.budget}: must be a whole number of tokens, at least 1")
        if self.threshold is not None and not (_is_number(self.threshold) and 0 <= self.threshold <= 1):
            raise ConfigError(f"keep threshold={self.threshold}: scores lie in [0, 1]; give such a number")
        if self.level not in ("token", "group") or self.pool not in ("mean", "max"):
            raise ConfigError(f"keep: level={self.level!r} must be token or group, pool={self.pool!r} mean or max")
        if self.times not in ("all", "kept"):
            raise ConfigError(
                f"keep times={self.times!r}: must be all, or kept, for the times of groups with a kept token"
            )
        if self.multiple_of < 1:
            raise ConfigError(f"keep multiple_of={self.multiple_of}: must be at least 1")

    def count(self, groups: int, tokens_per_group: int) -> int:
        """How many units (tokens or groups, by ``level``) of a video stay. Not for thresholds."""
        units = groups if self.level == "group" else groups * tokens_per_group
        if self.ratio is not None:
            count = int(units * self.ratio + 1e-9)  # 0.29 * 100 is 28.999...
            return max(1, count - count % self.multiple_of if count >= self.multiple_of else count)
        if self.budget is None:
            raise ConfigError("a threshold needs scores, which this selector has none of: use a ratio or budget")
        size = tokens_per_group if self.level == "group" else 1
        if self.budget < size:
            raise ConfigError(
                f"keep budget={self.budget} has no room for one group of {size} tokens: raise it, or train "
                "with tokens instead of groups (stage.keep_level=token)"
            )
        return min(units, self.budget // size)


def draw_rule(
    low: float,
    high: float,
    generator: torch.Generator,
    *,
    level: Level = "token",
    pool: Pool = "max",
    times: Times = "all",
    multiple_of: int = 1,
) -> KeepRule:
    """A rule for one training sample: its ratio uniform in [low, high] (0.7 to 0.99 in the released model).

    Draw one for each sample, from its own seed, so that the batch a sample is in doesn't matter.

    Raises:
        ConfigError: if the range is empty or leaves (0, 1].
    """
    if not 0 < low <= high <= 1:
        raise ConfigError(f"stage.train_ratio=[{low}, {high}]: give 0 < low <= high <= 1, e.g. [0.7, 0.99]")
    ratio = low + (high - low) * torch.rand((), generator=generator, dtype=torch.float64).item()
    return KeepRule(ratio=min(ratio, high), level=level, pool=pool, times=times, multiple_of=multiple_of)


@dataclass(frozen=True)
class Selection:
    """What a selector chose."""

    kept: Tensor  # (B, G, P) bool
    scores: Tensor  # (B, G, P) float32 in [0, 1], 0 at padding (and everywhere, for baselines)
    logits: Tensor  # (B, G, P) float32, scores before they are normalised, for the grounding loss
    times: Sequence[Times]  # of each sample, see ``KeepRule``

    def places(self, visual: VisualGroups, sample: int) -> tuple[Tensor, Tensor]:
        """Rows of a sample that stay: (K, 2) places and (K,) ascending positions in its visual sequence, int64."""
        places = visual.places(sample)
        group, slot = places.unbind(dim=1)
        time_tokens = visual.time.shape[2]
        own = self.kept[sample]
        timed = own.any(dim=-1) if self.times[sample] == "kept" else torch.ones_like(own[:, 0])
        kept = torch.where(slot < time_tokens, timed[group], own[group, (slot - time_tokens).clamp(min=0)])
        positions = kept.nonzero()[:, 0]
        return places[positions], positions

    def positions(self, visual: VisualGroups) -> list[Tensor]:
        """(K,) int64 of each sample: kept positions in its visual sequence, ascending, with time tokens."""
        return [self.places(visual, sample)[1] for sample in range(len(self.kept))]


def select(scores: Tensor, valid: Tensor, rules: Sequence[KeepRule]) -> Tensor:
    """Keep the highest scores of each sample; of equal ones, the earlier.

    Args:
        scores: (B, G, P) float32.
        valid: (B, G) bool.
        rules: one a sample.

    Returns:
        (B, G, P) bool, False at padding.

    Raises:
        ConfigError: if a budget has no room for a whole group where groups are asked for.
    """
    kept = torch.zeros_like(scores, dtype=torch.bool)
    for sample, rule in enumerate(_one_each(rules, len(scores))):
        own = scores[sample, valid[sample]].detach()
        if not len(own):
            continue
        ranked = pooled(own, rule.pool) if rule.level == "group" else own.flatten()
        if rule.threshold is None:
            count = rule.count(*own.shape)
            chosen = torch.zeros_like(ranked, dtype=torch.bool)
            chosen[ranked.argsort(descending=True, stable=True)[:count]] = True
        else:
            chosen = ranked >= min(rule.threshold, ranked.max().item())
        kept[sample, valid[sample]] = chosen[:, None].expand_as(own) if rule.level == "group" else chosen.view_as(own)
    return kept


def pooled(scores: Tensor, how: Pool) -> Tensor:
    """(..., P) scores of tokens -> (...) scores of groups."""
    return scores.mean(dim=-1) if how == "mean" else scores.amax(dim=-1)


def normalised(logits: Tensor, valid: Tensor) -> Tensor:
    """Scores to [0, 1] by each sample's smallest and largest.

    Where a sample's scores differ by no more than float32 noise, all become 0 (our choice; the released model: NaN).

    Args:
        logits: (B, G, P) float32.
        valid: (B, G) bool.

    Returns:
        (B, G, P) float32, 0 at padding.
    """
    padding = ~valid[:, :, None]
    low = logits.masked_fill(padding, torch.inf).flatten(1).amin(dim=1)[:, None, None]
    high = logits.masked_fill(padding, -torch.inf).flatten(1).amax(dim=1)[:, None, None]
    span = high - low
    # Samples of padding alone have an infinite negative span.
    constant = padding | ~(span > 1e-6 * torch.maximum(low.abs(), high.abs()))
    offset = (logits - low).masked_fill(constant, 0)
    return offset / span.masked_fill(constant.all(dim=(1, 2), keepdim=True), 1)


def evidence_groups(times_s: Tensor, spans: Sequence[Spans], valid: Tensor) -> Tensor:
    """Groups of which a frame shows any part of the spans.

    Args:
        times_s: (B, G, F) float64, presentation seconds of each group's frames, ascending.
        spans: of each sample. One ends before its end: a frame at the end shows nothing of it. One without a length is
            a moment, and in the group of the frame that is shown then.
        valid: (B, G) bool.

    Returns:
        (B, G) bool.
    """
    found = torch.zeros_like(valid)
    for sample, own in enumerate(spans):
        times = times_s[sample]
        for start, end in own:
            if start == end:
                begun = valid[sample] & (times[:, 0] <= start)
                if begun.any() and start <= times[valid[sample]].max():
                    found[sample, begun.nonzero()[-1]] = True
            else:
                found[sample] |= ((start <= times) & (times < end)).any(dim=-1)
    return found & valid


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _one_each(rules: Sequence[KeepRule], samples: int) -> Sequence[KeepRule]:
    if len(rules) != samples:
        raise ValueError(f"{len(rules)} rules for {samples} samples: give one each")
    return rules
