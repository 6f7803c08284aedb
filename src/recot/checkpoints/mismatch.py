"""Where weights of a checkpoint and of a model don't match: part by part, for somebody who has to tell why."""

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

LORA = "lora"
"""What all adapters are called, wherever they are in the language model."""


def name_in_model(key: str) -> str:
    """Without what stages call their model. Stage 1 trains a ``recot``, later ones a ``model``."""
    return re.sub(r"^(model|recot)\.", "", key)


def part_of(key: str) -> str:
    """The part of the model that a weight belongs to, e.g. ``projector``; ``lora`` for adapters."""
    return LORA if ".lora_" in key else name_in_model(key).split(".")[0]


def mismatch(
    own: Mapping[str, Tensor], saved: Mapping[str, Tensor], missing: Iterable[str], unexpected: Iterable[str]
) -> str:
    """Parts with weights that don't match: how many of the part's, and one of them.

    Args:
        own: weights of the model.
        saved: weights of the checkpoint.
        missing: those of ``own`` that the checkpoint should have.
        unexpected: those of ``saved`` that it should not have.

    Returns:
        E.g. ``missing in the checkpoint: selector (all 12, e.g. selector.gate.bias)``; shapes that differ come with
        both. Empty if all matches.
    """
    shapes = {
        name: f"{name}: checkpoint {tuple(saved[name].shape)}, model {tuple(own[name].shape)}"
        for name in own.keys() & saved.keys()
        if saved[name].shape != own[name].shape
    }
    problems = {
        "missing in the checkpoint": _by_part({name: name for name in missing}, own),
        "unknown to this stage": _by_part({name: name for name in unexpected}, saved),
        "of another shape": _by_part(shapes, own),
    }
    return ". ".join(f"{what}: {parts}" for what, parts in problems.items() if parts)


def _by_part(named: Mapping[str, str], everything: Iterable[str]) -> str:
    """``named``: name of a weight -> how it is shown."""
    of_part: dict[str, list[str]] = {}
    for name in sorted(named):
        of_part.setdefault(part_of(name), []).append(name)
    totals = [part_of(name) for name in everything]
    return "; ".join(
        f"{part} ({len(names)} of {totals.count(part)}, e.g. {named[names[0]]})" for part, names in of_part.items()
    )
