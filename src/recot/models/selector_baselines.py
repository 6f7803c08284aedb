"""Selectors that don't look at the tokens, to compare the real one with. Same interface, same counts, no parameters.

Legend: B samples, G groups, P video tokens a group.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from recot.errors import ConfigError
from recot.models.selection import KeepRule, Selection, evidence_groups
from recot.models.visual_groups import Query, VisualGroups


@dataclass(frozen=True)
class Units:
    """The units, tokens or groups, of a sample that some are chosen of."""

    count: int
    per_group: int
    seed: int | None  # of the random selector
    shown: Tensor | None  # (count,) bool, those of groups that show the answer, for the oracle


# Units, how many to choose -> chosen, (count,) bool.
Choice = Callable[[Units, int], Tensor]


class BaselineSelector(nn.Module):
    """Keeps as many tokens as the real selector would, chosen without regard to the question.

    Kinds: ``uniform`` over time, as many tokens of a group as of any other, plus or minus one, from places of its grid
    that differ from group to group; ``uniform_groups``, whole groups evenly over time, as if fewer frames were sampled;
    ``random``, from ``query.seeds``; ``first_k``; ``oracle``, the groups that ``query.spans`` cover first, spread
    uniformly if they are too many, and the rest uniform (evaluation only).

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
            ValueError: if seeds, spans or the frames' times are needed and missing.
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
            units = Units(groups * size, size, seed, shown)
            chosen = _CHOICES[self.kind](units, rule.count(groups, per_group))
            kept[sample, own] = chosen.view(groups, size).expand(groups, per_group)
        zeros = torch.zeros(visual.tokens.shape[:3], device=visual.tokens.device)
        return Selection(kept=kept.to(zeros.device), scores=zeros, logits=zeros, times=[rule.times for rule in rules])

    def rows(self, visual: VisualGroups, selection: Selection) -> list[Tensor]:
        """(K, D) kept rows of each sample, in order and unchanged."""
        return [visual.rows(s, selection.places(visual, s)[0]) for s in range(len(visual.valid))]

    def _evidence(self, visual: VisualGroups, query: Query) -> Tensor | None:
        if self.kind != "oracle":
            return None
        if visual.times_s is None or len(query.spans) != len(visual.valid):
            raise ValueError("the oracle needs visual.times_s, and query.spans for each sample")
        return evidence_groups(visual.times_s, query.spans, visual.valid).cpu()


def _spread(units: Tensor, count: int, per_group: int) -> Tensor:
    """``count`` of the given units, whole groups of them: evenly of all groups, at places drawn for each of them.

    A stride over all units would keep the same places of each group's grid, one corner or column of the video.
    """
    even = ((torch.arange(count, dtype=torch.float64) + 0.5) * len(units) / max(count, 1)).long()
    group, turn = even // per_group, even % per_group
    places = torch.rand(len(units) // per_group, per_group, generator=torch.Generator().manual_seed(0)).argsort(dim=1)
    return units[group * per_group + places[group, turn]]


def _marked(units: int, chosen: Tensor) -> Tensor:
    return torch.zeros(units, dtype=torch.bool).index_fill(0, chosen, True)


def _uniform(units: Units, count: int) -> Tensor:
    return _marked(units.count, _spread(torch.arange(units.count), count, units.per_group))


def _uniform_groups(units: Units, count: int) -> Tensor:
    tokens = torch.arange(units.count).view(-1, units.per_group)
    groups = -(-count // units.per_group)  # of the last one, a part if the count isn't whole groups
    even = ((torch.arange(groups, dtype=torch.float64) + 0.5) * len(tokens) / groups).long()
    return _marked(units.count, tokens[even].flatten()[:count])


def _random(units: Units, count: int) -> Tensor:
    assert units.seed is not None
    generator = torch.Generator().manual_seed(units.seed)
    return _marked(units.count, torch.randperm(units.count, generator=generator)[:count])


def _first_k(units: Units, count: int) -> Tensor:
    return torch.arange(units.count) < count


def _oracle(units: Units, count: int) -> Tensor:
    assert units.shown is not None
    best, rest = units.shown.nonzero()[:, 0], (~units.shown).nonzero()[:, 0]
    first = min(count, len(best))
    chosen = [_spread(best, first, units.per_group), _spread(rest, count - first, units.per_group)]
    return _marked(units.count, torch.cat(chosen))


_CHOICES: dict[str, Choice] = {
    "uniform": _uniform,
    "uniform_groups": _uniform_groups,
    "random": _random,
    "first_k": _first_k,
    "oracle": _oracle,
}
