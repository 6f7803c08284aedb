"""Thresholds: which values of a signal are let through, and why the others aren't."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from data_pipelines.checks import MEASURED, STAGES, Check, read_signal, stage_of
from recot.errors import ConfigError

_BOUNDS = ("min", "max", "min_quantile", "max_quantile")
_CONFIG_KEY = "pruning.policy.rules"


@dataclass
class Rule:
    """One bound of one signal. The rule's name in the config is the reason code of what it drops.

    Attributes:
        signal: column of the videos' or the samples' table, which decides what is judged.
        source: where the number comes from, in words.
        min: smallest good value; a value equal to a bound is good.
        max: largest good value.
        min_quantile: the lowest share of the values, at most this one, is dropped; values equal to the first one that
            stays are good.
        max_quantile: the highest ``1 - max_quantile`` of the values is dropped.
        status: ``ok`` judges only what was measured itself, ``proxy`` only what stands in for it, on another scale;
            None judges both.
        within: column whose values are the groups that a quantile is taken in; None for all rows together.
        enabled: False leaves the signal unjudged.
    """

    signal: str
    source: str
    min: float | None = None
    max: float | None = None
    min_quantile: float | None = None
    max_quantile: float | None = None
    status: str | None = None
    within: str | None = None
    enabled: bool = True

    @property
    def bound(self) -> str:
        """Name of the one bound that is set."""
        return next(name for name in _BOUNDS if getattr(self, name) is not None)

    def check(self, name: str) -> None:
        """Raise ``ConfigError`` unless there is exactly one bound, and it can work."""
        key = f"{_CONFIG_KEY}.{name}"
        given = [bound for bound in _BOUNDS if getattr(self, bound) is not None]
        if len(given) != 1:
            raise ConfigError(f"{key}: expected exactly one of {', '.join(_BOUNDS)}, got {given or 'none'}")
        quantile = self.bound.endswith("_quantile")
        if quantile and not 0 < getattr(self, self.bound) < 1:
            raise ConfigError(f"{key}.{self.bound}={getattr(self, self.bound)}: expected a share between 0 and 1")
        if self.status not in (None, *MEASURED):
            raise ConfigError(f"{key}.status={self.status}: expected {' or '.join(MEASURED)}, or null for both")
        if self.within is not None and not quantile:
            raise ConfigError(f"{key}.within={self.within}: only min_quantile and max_quantile have groups")


def enabled(rules: Mapping[str, Rule], columns: list[str], others: list[str]) -> dict[str, Rule]:
    """The rules that judge a table with ``columns``; ``others`` are those of the other table.

    Raises:
        ConfigError: for a signal that nobody knows, or that both tables have.
    """
    found = {}
    for name, rule in rules.items():
        if not rule.enabled:
            continue
        key = f"{_CONFIG_KEY}.{name}.signal={rule.signal}"
        known = {*columns, *others, *(signal for signals in STAGES.values() for signal in signals)}
        if rule.signal not in known:
            near = difflib.get_close_matches(rule.signal, known, n=3)
            raise ConfigError(f"{key}: there is no such signal. {'Did you mean ' + ' or '.join(near) if near else ''}")
        if rule.signal in columns and rule.signal in others:
            raise ConfigError(f"{key}: both videos and samples have this column; expected one of them")
        if rule.signal in columns:
            found[name] = rule
    return found


def judge(table: pa.Table, name: str, rule: Rule, groups: pa.Array | None, broken: np.ndarray) -> Check:
    """Apply a rule to every row.

    A value outside the bound, or NaN, has the rule's name as its reason. A signal that couldn't be measured
    (``error``) has ``<signal>_error`` and is held. ``na`` passes, and so does another status than
    the rule's.

    Args:
        table: has the column ``rule.signal``.
        name: the rule's name.
        rule: what is judged.
        groups: of any type, one a row, for a quantile within groups; None for all rows together.
        broken: (n,) bool, rows whose video failed as a whole: that is their reason, and not each signal that it lacks.

    Raises:
        ConfigError: if the column doesn't hold numbers.
    """
    try:
        readings = read_signal(table, rule.signal)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ConfigError(
            f"{_CONFIG_KEY}.{name}.signal={rule.signal}: expected a column of numbers: {error}"
        ) from error
    upper, given = rule.bound.startswith("max"), float(getattr(rule, rule.bound))
    judged = readings.measured if rule.status is None else readings.measured & readings.having(rule.status)
    bounds: float | np.ndarray = given
    if rule.bound.endswith("_quantile"):
        bounds = _quantiles(readings.numbers(), judged, groups, given, upper)
    numbers = readings.numbers()
    good = numbers <= bounds if upper else numbers >= bounds  # NaN is never good
    codes = np.full(len(numbers), -1, np.int16)
    codes[judged & ~good] = 0
    codes[readings.failed & ~broken] = 1
    return Check(
        stage=stage_of(rule.signal),
        signal=rule.signal,
        values=readings.values,
        codes=codes,
        reasons=(name, f"{rule.signal}_error"),
        held=readings.failed,
        threshold=bounds if rule.status is None else np.where(judged, bounds, np.nan),
        threshold_source=f"{_CONFIG_KEY}.{name}.{rule.bound} ({rule.source})",
        status=readings.status,
        detail=readings.detail,
    )


def _quantiles(
    numbers: np.ndarray, judged: np.ndarray, groups: pa.Array | None, share: float, upper: bool
) -> np.ndarray:
    """(n,) the bound of every row's group: the first value, counted from the bad end, that stays. NaN where none is."""
    if groups is None:
        number_of_group = np.zeros(len(numbers), np.int64)
    else:
        number_of_group = groups.dictionary_encode(null_encoding="encode").indices.to_numpy()
    rows = np.flatnonzero(judged & ~np.isnan(numbers))
    rows = rows[np.lexsort((numbers[rows], number_of_group[rows]))]
    count = np.bincount(number_of_group[rows], minlength=number_of_group.max(initial=-1) + 1)
    start = np.cumsum(count) - count
    lost = np.floor((1 - share if upper else share) * count + 1e-9).astype(np.int64)
    place = start + (count - 1 - lost if upper else lost)
    bounds = np.full(len(count), np.nan)
    bounds[count > 0] = numbers[rows[place[count > 0]]]
    return bounds[number_of_group]
