"""How many videos and questions are left after each stage."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_pipelines.report.facts import CheckFacts

STAGES = ("read", "media", "embed", "language", "video_lm", "text", "signals", "compare", "policy")
"""In the order in which they are told; one that nobody knows comes last."""


@dataclass(frozen=True)
class Level:
    """What is left after a stage: the rows, and their share of the input."""

    name: str
    left: int
    share: float
    lost: int


@dataclass(frozen=True)
class ReasonCount:
    """A reason code: rows that have it, and those that have no other."""

    code: str
    rows: int
    alone: int


def funnel(decided: pa.Table, stage_of: Mapping[str, str]) -> list[Level]:
    """The input, and what each stage leaves of it; a row is lost at the first stage that gives it a reason.

    Args:
        decided: ``reason_codes``, a row for each of the input.
        stage_of: reason code -> stage, see ``stages_of_reasons``.
    """
    total = len(decided)
    stages = sorted(set(stage_of.values()), key=_place)
    rows, codes = _exploded(decided)
    place = {code: stages.index(stage) for code, stage in stage_of.items()}
    first = np.full(total, len(stages))
    np.minimum.at(first, rows, np.array([place.get(code, len(stages) - 1) for code in codes.to_pylist()], np.int64))
    lost = np.bincount(first, minlength=len(stages) + 1)
    levels, left = [Level("input", total, 1.0 if total else 0.0, 0)], total
    for number, stage in enumerate(stages):
        left -= int(lost[number])
        levels.append(Level(stage, left, left / total if total else 0.0, int(lost[number])))
    return levels


def count_reasons(decided: pa.Table) -> list[ReasonCount]:
    """Every reason code, the most frequent first."""
    rows, codes = _exploded(decided)
    count = np.bincount(rows, minlength=len(decided))
    every = Counter(codes.to_pylist())
    alone = Counter(codes.filter(pa.array(count[rows] == 1)).to_pylist())
    return [ReasonCount(code, n, alone[code]) for code, n in sorted(every.items(), key=lambda i: (-i[1], i[0]))]


def stages_of_reasons(checks: Iterable[CheckFacts]) -> dict[str, str]:
    """Reason code -> the stage that gives it."""
    return {code: check.stage for check in checks for code in check.reasons}


def _exploded(decided: pa.Table) -> tuple[np.ndarray, pa.Array]:
    """Row and reason code of every reason of every row."""
    lists = decided["reason_codes"].combine_chunks()
    return pc.list_parent_indices(lists).to_numpy(), pc.list_flatten(lists)


def _place(stage: str) -> tuple[int, str]:
    return (STAGES.index(stage) if stage in STAGES else len(STAGES), stage)
