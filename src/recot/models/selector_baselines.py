"""Selectors that don't look at the tokens, to compare the real one with. Same interface, same counts, no parameters.

Legend: B samples, G groups, P video tokens a group.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from recot.errors import ConfigError
from recot.models.selection import KeepRule, Selection, evidence_groups
from recot.models.visual_groups import Query, VisualGroups

# Units (tokens or groups) of a sample, how many to choose, the seed, which units show the answer -> chosen, (units,).
Choice = Callable[[int, int, int | None, Tensor | None], Tensor]


class BaselineSelector(nn.Module):
    """Keeps as many tokens as the real selector would, chosen without regard to the question.

    Kinds: ``uniform`` over time; ``random``, from ``query.seeds``; ``first_k``; ``oracle``, the groups that
    ``query.spans`` cover first, spread uniformly if they are too many, and the rest uniform (evaluation only).

    Raises:
        ConfigError: for another kind.
    """

    changes_rows = False

    def __init__(self, *, kind: str) -> None:
        super().__init__()
        if kind not in _CHOICES:
            raise ConfigError(f"kind={kind!r} of selector: use one of {', '.join(_CHOICES)}")
        self.kind = kind

    def forward(self, visual: VisualGroups, query: Query, rules: Sequence[KeepRule]) -> Selection:
        """As ``Selector``; scores and logits are 0.

        Raises:
            ConfigError: for a threshold: there are no scores.
            ValueError: if seeds, spans or the groups' seconds are needed and missing.
        """
        samples, _, per_group = visual.tokens.shape[:3]
        if len(rules) != samples:
            raise ValueError(f"{len(rules)} rules for {samples} samples: give one each")
        if self.kind == "random" and len(query.seeds) != samples:
            raise ValueError("the random selector needs query.seeds, one a sample")
        evidence = self._evidence(visual, query)
        kept = torch.zeros(visual.tokens.shape[:3], dtype=torch.bool)
        for sample, rule in enumerate(rules):
            own = visual.valid[sample].cpu()
            groups = int(own.sum())
            if not groups:
                continue
            size = 1 if rule.level == "group" else per_group
            shown = None if evidence is None else evidence[sample, own].repeat_interleave(size)
            seed = query.seeds[sample] if self.kind == "random" else None
            chosen = _CHOICES[self.kind](groups * size, rule.count(groups, per_group), seed, shown)
            kept[sample, own] = chosen.view(groups, size).expand(groups, per_group)
        zeros = torch.zeros(visual.tokens.shape[:3], device=visual.tokens.device)
        return Selection(kept=kept.to(zeros.device), scores=zeros, logits=zeros, times=[rule.times for rule in rules])

    def rows(self, visual: VisualGroups, selection: Selection) -> list[Tensor]:
        """(K, D) kept rows of each sample, in order and unchanged."""
        return [visual.rows(s, selection.places(visual, s)[0]) for s in range(len(visual.valid))]

    def _evidence(self, visual: VisualGroups, query: Query) -> Tensor | None:
        if self.kind != "oracle":
            return None
        if visual.seconds is None or len(query.spans) != len(visual.valid):
            raise ValueError("the oracle needs visual.seconds, and query.spans for each sample")
        return evidence_groups(visual.seconds, query.spans, visual.valid).cpu()


def _spread(units: Tensor, count: int) -> Tensor:
    """``count`` of the given units, evenly spaced."""
    return units[((torch.arange(count, dtype=torch.float64) + 0.5) * len(units) / max(count, 1)).long()]


def _marked(units: int, chosen: Tensor) -> Tensor:
    return torch.zeros(units, dtype=torch.bool).index_fill(0, chosen, True)


def _uniform(units: int, count: int, seed: int | None, shown: Tensor | None) -> Tensor:
    return _marked(units, _spread(torch.arange(units), count))


def _random(units: int, count: int, seed: int | None, shown: Tensor | None) -> Tensor:
    assert seed is not None
    return _marked(units, torch.randperm(units, generator=torch.Generator().manual_seed(seed))[:count])


def _first_k(units: int, count: int, seed: int | None, shown: Tensor | None) -> Tensor:
    return torch.arange(units) < count


def _oracle(units: int, count: int, seed: int | None, shown: Tensor | None) -> Tensor:
    assert shown is not None
    best, rest = shown.nonzero()[:, 0], (~shown).nonzero()[:, 0]
    first = min(count, len(best))
    return _marked(units, torch.cat([_spread(best, first), _spread(rest, count - first)]))


_CHOICES: dict[str, Choice] = {"uniform": _uniform, "random": _random, "first_k": _first_k, "oracle": _oracle}
