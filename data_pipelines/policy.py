"""From signals to decisions: pure functions, so that thresholds can be changed without scoring anything again."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class SignalRow:
    """One signal of one sample.

    Attributes:
        sample_id: the video's id, or the place of an annotation row.
        stage: part of the pipeline that measured it: ``read``, ``inspect`` or ``compare``.
        signal: its name.
        value: None where it couldn't be measured, and where the signal only says that something failed.
        status: ``ok`` or ``error``: what couldn't be measured is an error, never a low score.
        reason_code: why it is an error.
        error_class: the exception's or signal's name behind an error.
        elapsed_ms: wall-clock milliseconds that measuring took, where known.
        detail: one line for people.
    """

    sample_id: str
    stage: str
    signal: str
    value: float | None = None
    status: str = "ok"
    reason_code: str | None = None
    error_class: str | None = None
    elapsed_ms: float | None = None
    detail: str = ""


@dataclass(frozen=True)
class Threshold:
    """The range that a signal must lie in, bounds included, and the reason code of a sample outside.

    Attributes:
        bound: the number that is crossed.
        upper: whether ``bound`` is the largest good value, or else the smallest.
        source: where the number comes from, e.g. the config key.
    """

    bound: float
    upper: bool
    reason_code: str
    source: str

    def accepts(self, value: float) -> bool:
        """Whether ``value`` lies in the range; NaN never does."""
        return value <= self.bound if self.upper else value >= self.bound


@dataclass(frozen=True)
class Verdict:
    """What one signal says about its sample. ``reason_code`` is None if it lets the sample pass."""

    row: SignalRow
    threshold: Threshold | None
    reason_code: str | None


def judge(rows: Iterable[SignalRow], thresholds: Mapping[str, Threshold]) -> list[Verdict]:
    """One verdict for every row: an error drops with its own reason, a value outside its range with the threshold's.

    Args:
        rows: signals in any order.
        thresholds: signal name -> range. A signal without one is recorded and drops nothing.
    """
    verdicts = []
    for row in rows:
        threshold = thresholds.get(row.signal)
        if row.status == "error":
            reason = row.reason_code
        elif threshold is not None and row.value is not None and not threshold.accepts(row.value):
            reason = threshold.reason_code
        else:
            reason = None
        verdicts.append(Verdict(row, threshold, reason))
    return verdicts


def decide(verdicts: Iterable[Verdict]) -> dict[str, list[str]]:
    """Every sample's reasons to be dropped, in the order of the verdicts; no reason means that it is kept."""
    reasons: dict[str, list[str]] = {}
    for verdict in verdicts:
        of_sample = reasons.setdefault(verdict.row.sample_id, [])
        if verdict.reason_code is not None and verdict.reason_code not in of_sample:
            of_sample.append(verdict.reason_code)
    return reasons
