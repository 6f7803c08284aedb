"""What a report says of each check: thresholds, counts, and which rows are worth a look."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

EXAMPLES = 6
"""Rows shown for a reason."""
BORDERLINE = 4
"""Rows shown on each side of a threshold."""
_MAX_BOUNDS = 6


@dataclass(frozen=True)
class CheckFacts:
    """One check of all videos or of all questions.

    Attributes:
        kind: ``videos`` or ``questions``.
        stage: part of the pipeline that measured.
        signal: what was checked.
        source: where the threshold comes from; None where there is none.
        bounds: the different thresholds (a quantile has one a group), ascending, thinned out evenly if they are many.
        low_is_bad: whether what lies under the threshold goes, None if nobody can tell.
        reasons: reason code -> rows that have it.
        passed: rows that pass.
        examples: reason code -> some of its rows, evenly spread over the input.
        just_lost: rows next to the threshold that don't pass, nearest first.
        just_passed: the same of those that pass.
    """

    kind: str
    stage: str
    signal: str
    source: str | None
    bounds: list[float]
    low_is_bad: bool | None
    reasons: dict[str, int]
    passed: int
    examples: dict[str, list[int]]
    just_lost: list[int]
    just_passed: list[int]


def check_facts(kind: str, verdicts: Iterable[pa.Table]) -> Iterator[CheckFacts]:
    """The facts of each check.

    Args:
        kind: ``videos`` or ``questions``.
        verdicts: one table a check with the columns of ``audit.AUDIT_SCHEMA``, a row for each row of ``kind``.
    """
    for table in verdicts:
        if len(table):
            yield _facts(kind, table)


def _facts(kind: str, table: pa.Table) -> CheckFacts:
    passed = pc.equal(table["verdict"], "pass").to_numpy(zero_copy_only=False)
    values, thresholds = (_numbers(table[name]) for name in ("value", "threshold"))
    codes = table["reason_code"].cast(pa.string())
    counts = {row["values"]: row["counts"] for row in pc.value_counts(codes).to_pylist() if row["values"] is not None}
    bounds = np.unique(thresholds[~np.isnan(thresholds)])
    judged = ~np.isnan(values) & ~np.isnan(thresholds)
    below, above = judged & (values < thresholds), judged & (values > thresholds)
    low_is_bad = None
    if (below & ~passed).any() or (above & passed).any():
        low_is_bad = True
    elif (above & ~passed).any() or (below & passed).any():
        low_is_bad = False
    return CheckFacts(
        kind=kind,
        stage=_word(table, "stage") or "",
        signal=_word(table, "signal") or "",
        source=_word(table, "threshold_source"),
        bounds=bounds[_spread(len(bounds), _MAX_BOUNDS)].tolist(),
        low_is_bad=low_is_bad,
        reasons=dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))),
        passed=int(np.count_nonzero(passed)),
        examples={code: _rows_with(codes, code) for code in counts},
        just_lost=_nearest(values, thresholds, judged & ~passed),
        just_passed=_nearest(values, thresholds, judged & passed),
    )


def _numbers(column: pa.ChunkedArray) -> np.ndarray:
    """(n,) float64, NaN for null."""
    return column.cast(pa.float64()).to_numpy()


def _word(table: pa.Table, column: str) -> str | None:
    value = table[column][0].as_py()
    return None if value is None else str(value)


def _rows_with(codes: pa.ChunkedArray, code: str) -> list[int]:
    rows = np.flatnonzero(pc.fill_null(pc.equal(codes, code), False).to_numpy(zero_copy_only=False))
    return rows[_spread(len(rows), EXAMPLES)].tolist()


def _spread(total: int, most: int) -> np.ndarray:
    """At most ``most`` of ``total`` places, evenly spread."""
    return np.unique(np.linspace(0, total - 1, min(total, most)).round().astype(np.int64))


def _nearest(values: np.ndarray, thresholds: np.ndarray, among: np.ndarray) -> list[int]:
    rows = np.flatnonzero(among)
    order = np.argsort(np.abs(values[rows] - thresholds[rows]), kind="stable")
    return rows[order[:BORDERLINE]].tolist()
