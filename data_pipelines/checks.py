"""What one check found in every row of a table, and the rows that it adds to ``audit.parquet``."""

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_WORD = pa.dictionary(pa.int32(), pa.string())
VERDICT_SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("stage", _WORD),
        ("signal", _WORD),
        ("value", pa.float64()),
        ("threshold", pa.float64()),
        ("threshold_source", _WORD),
        ("verdict", _WORD),  # pass | drop | quarantine
        ("reason_code", _WORD),
        ("error_class", pa.string()),
        ("config_hash", _WORD),
        ("detail", pa.string()),
    ]
)
"""``audit.parquet`` without ``elapsed_ms``. Words that repeat are stored once."""

STATUSES = ("ok", "na", "error", "proxy")
MEASURED = ("ok", "proxy")
"""Those of a signal that has a value."""
STAGES = {
    "media": (
        *("health", "frames", "duration_s", "min_side", "packet_activity", "dark", "blank", "blur", "static"),
        *("motion", "cuts_per_min"),
    ),
    "embed": ("effective_frames", "effective_per_min", "relevance", "relevance_caption"),
    "language": ("blind_right", "blind_margin"),
    "video_lm": ("one_frame_margin", "video_gain", "single_frame"),
    "text": (
        *("question_length", "answer_length", "repetition", "language_english"),
        *("caption_length", "caption_repetition"),
    ),
    "compare": ("leak_text", "span_beyond_s"),
}
"""Stage -> the signals that it measures."""
_STAGE_OF = {signal: stage for stage, signals in STAGES.items() for signal in signals}


@dataclass(frozen=True)
class Readings:
    """A signal of n rows.

    Attributes:
        values: float64, null where there is none.
        measured: (n,) bool, status ``ok`` or ``proxy``.
        failed: (n,) bool, status ``error``, or ``ok`` without a value.
        status: string, null where the table says nothing.
        detail: string, one line for people, or null.
    """

    values: pa.Array
    measured: np.ndarray
    failed: np.ndarray
    status: pa.Array
    detail: pa.Array

    def having(self, status: str) -> np.ndarray:
        """(n,) bool, where the status is this one; none said is ``ok``."""
        return pc.equal(pc.fill_null(self.status, "ok"), status).to_numpy(zero_copy_only=False)

    def numbers(self) -> np.ndarray:
        """(n,) float64, NaN where there is no value."""
        return self.values.to_numpy(zero_copy_only=False)


@dataclass(frozen=True)
class Check:
    """One check of every row, n of them.

    Attributes:
        stage: part of the pipeline that measured.
        signal: what is checked.
        values: float64 or null, or None where the check has no number.
        codes: (n,) int16, place of the row's reason in ``reasons``; -1 lets it pass.
        reasons: reason codes that occur.
        held: (n,) bool, rows to quarantine: what failed is ours to repair. The others with a reason are dropped.
        threshold: the bound, a number or one a row.
        threshold_source: where it comes from.
        error_class: string or null, a row.
        status: string or null, a row; ``detail`` begins with it where it isn't ``ok``.
        detail: string or null, a row, perhaps dictionary-encoded.
    """

    stage: str
    signal: str
    values: pa.Array | None
    codes: np.ndarray
    reasons: tuple[str, ...]
    held: np.ndarray
    threshold: float | np.ndarray | None = None
    threshold_source: str | None = None
    error_class: pa.Array | None = None
    status: pa.Array | None = None
    detail: pa.Array | None = None

    def take(self, rows: np.ndarray) -> "Check":
        """The check of some rows, (m,) int64."""

        def of(column: pa.Array | None) -> pa.Array | None:
            return None if column is None else column.take(pa.array(rows))

        return replace(
            self,
            values=of(self.values),
            codes=self.codes[rows],
            held=self.held[rows],
            threshold=self.threshold[rows] if isinstance(self.threshold, np.ndarray) else self.threshold,
            error_class=of(self.error_class),
            status=of(self.status),
            detail=of(self.detail),
        )

    def verdicts(self, ids: pa.Array, config_hash: str) -> pa.Table:
        """``VERDICT_SCHEMA``, a row for each of ``ids``."""
        n = len(ids)
        verdict = np.where(self.codes < 0, 0, np.where(self.held, 2, 1)).astype(np.int32)
        threshold = np.full(n, self.threshold) if isinstance(self.threshold, float) else self.threshold
        columns = [
            ids,
            _repeated(self.stage, n),
            _repeated(self.signal, n),
            pa.nulls(n, pa.float64()) if self.values is None else self.values,
            pa.nulls(n, pa.float64()) if threshold is None else pa.array(threshold, from_pandas=True),
            pa.nulls(n, _WORD) if self.threshold_source is None else _repeated(self.threshold_source, n),
            pa.DictionaryArray.from_arrays(verdict, pa.array(["pass", "drop", "quarantine"])),
            pa.DictionaryArray.from_arrays(
                pa.array(self.codes.astype(np.int32), mask=self.codes < 0), pa.array(self.reasons, pa.string())
            ),
            pa.nulls(n, pa.string()) if self.error_class is None else self.error_class,
            _repeated(config_hash, n),
            _explained(self.status, pa.nulls(n, pa.string()) if self.detail is None else self.detail.cast(pa.string())),
        ]
        return pa.Table.from_arrays(columns, schema=VERDICT_SCHEMA)


def signal_names(table: pa.Table) -> list[str]:
    """The signals of a table: columns that have a ``_status`` beside them."""
    return [name for name in table.column_names if f"{name}_status" in table.column_names]


def stage_of(signal: str) -> str:
    """The stage that measures a signal."""
    return _STAGE_OF.get(signal, "signals")


def read_signal(table: pa.Table, name: str) -> Readings:
    """The column ``name`` with its status and detail; without a status column, what has a value is ``ok``."""
    values = table[name].combine_chunks().cast(pa.float64())
    present = np.asarray(values.is_valid())
    nothing = pa.nulls(len(values), pa.string())
    detail = table[f"{name}_detail"].combine_chunks() if f"{name}_detail" in table.column_names else nothing
    if f"{name}_status" not in table.column_names:
        return Readings(values, present, np.zeros(len(values), bool), nothing, detail)
    status = table[f"{name}_status"].combine_chunks()
    number = pc.fill_null(pc.index_in(status, value_set=pa.array(STATUSES)), -1).to_numpy()
    good = (number == STATUSES.index("ok")) | (number == STATUSES.index("proxy"))
    measured = present & (good | (number == -1))
    failed = (number == STATUSES.index("error")) | (good & ~present)
    return Readings(values, measured, failed, status, detail)


def observed(readings: Readings, name: str) -> Check:
    """The check of a signal that nothing depends on: every row passes."""
    codes = np.full(len(readings.measured), -1, np.int16)
    held = np.zeros(len(codes), bool)
    return Check(stage_of(name), name, readings.values, codes, (), held, status=readings.status, detail=readings.detail)


def _explained(status: pa.Array | None, detail: pa.Array) -> pa.Array:
    """The detail, with the status in front where it isn't ``ok``; null instead of nothing."""
    nothing = pa.scalar(None, pa.string())
    detail = pc.if_else(pc.equal(detail, ""), nothing, detail)
    if status is None:
        return detail
    unusual = pc.if_else(pc.equal(status, "ok"), nothing, status)
    return pc.coalesce(pc.binary_join_element_wise(unusual, detail, ": "), unusual, detail)


def _repeated(word: str, n: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(np.zeros(n, np.int32), pa.array([word]))
