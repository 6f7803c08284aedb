"""What all checks of a table's rows come to: a decision for every row, with every reason."""

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa

from data_pipelines.checks import Check

DECISIONS = ("keep", "drop", "quarantine")
_Pairs = tuple[np.ndarray, np.ndarray]
"""Rows and numbers of reason codes, (m,) int64 each, by row and without repetition: most rows have no reason."""


class Findings:
    """The checks of n rows, and of the rows that own them.

    Attributes:
        checks: those added so far.
        dropped: (n,) bool, rows that something drops.
        held: (n,) bool, rows that something holds back; they are dropped if something else drops them.
    """

    def __init__(self, rows: int) -> None:
        self.checks: list[Check] = []
        self.dropped = np.zeros(rows, bool)
        self.held = np.zeros(rows, bool)
        self._inherited: list[Check] = []
        self._owner = np.zeros(rows, np.int64)

    @property
    def good(self) -> np.ndarray:
        """(n,) bool, rows without a reason."""
        return ~(self.dropped | self.held)

    def add(self, *checks: Check) -> None:
        """Count the findings of checks of these rows."""
        for check in checks:
            found = check.codes >= 0
            self.dropped |= found & ~check.held
            self.held |= found & check.held
        self.checks.extend(checks)

    def inherit(self, checks: Sequence[Check], owner: np.ndarray) -> None:
        """Count the findings of checks of other rows, one of which, ``owner`` (n,) int64, each row belongs to."""
        for check in checks:
            found, held = (check.codes >= 0)[owner], check.held[owner]
            self.dropped |= found & ~held
            self.held |= found & held
        self._inherited, self._owner = list(checks), owner

    def decisions(self) -> pa.Array:
        """(n,) string, of ``DECISIONS``."""
        return pa.array(DECISIONS).take(pa.array(np.where(self.dropped, 1, np.where(self.held, 2, 0))))

    def reason_codes(self) -> pa.ListArray:
        """(n,) list of strings: inherited reasons and then their own, in order of the checks."""
        both = [*self._inherited, *self.checks]
        known = list(dict.fromkeys(reason for check in both for reason in check.reasons))
        rows, numbers = _pairs(self.checks, known)
        if self._inherited:
            more_rows, more_numbers = _handed_down(_pairs(self._inherited, known), self._owner)
            rows, numbers = _in_order(np.concatenate((rows, more_rows)), np.concatenate((numbers, more_numbers)))
        ends = np.cumsum(np.bincount(rows, minlength=len(self.dropped)))
        offsets = pa.array(np.concatenate(([0], ends)).astype(np.int32))
        return pa.ListArray.from_arrays(offsets, pa.array(known, pa.string()).take(pa.array(numbers)))


def _pairs(checks: Iterable[Check], known: Sequence[str]) -> _Pairs:
    rows, numbers = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for check in checks:
        found = np.flatnonzero(check.codes >= 0)
        rows.append(found)
        numbers.append(np.array([known.index(reason) for reason in check.reasons], np.int64)[check.codes[found]])
    return _in_order(np.concatenate(rows), np.concatenate(numbers))


def _handed_down(pairs: _Pairs, owner: np.ndarray) -> _Pairs:
    """The pairs of rows that others belong to, given to those."""
    rows, numbers = pairs
    count = np.bincount(rows, minlength=owner.max(initial=-1) + 1)
    start, each = (np.cumsum(count) - count)[owner], count[owner]
    place = np.arange(each.sum()) - np.repeat(np.cumsum(each) - each, each) + np.repeat(start, each)
    return np.repeat(np.arange(len(owner)), each), numbers[place]


def _in_order(rows: np.ndarray, numbers: np.ndarray) -> _Pairs:
    width = int(numbers.max(initial=0)) + 1
    combined = np.sort(rows * width + numbers, kind="stable")  # merges the runs of the checks
    combined = combined[np.diff(combined, prepend=-1) != 0]
    return combined // width, combined % width
