"""``audit.parquet``: every check of every sample, kept or dropped, with its value, threshold and reason."""

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from data_pipelines.policy import Verdict
from recot.atomic import write_file

AUDIT_NAME = "audit.parquet"

AUDIT_SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("stage", pa.string()),
        ("signal", pa.string()),
        ("value", pa.float64()),
        ("threshold", pa.float64()),
        ("threshold_source", pa.string()),
        ("verdict", pa.string()),  # pass | drop
        ("reason_code", pa.string()),
        ("error_class", pa.string()),
        ("elapsed_ms", pa.float64()),
        ("config_hash", pa.string()),
        ("detail", pa.string()),
    ]
)


def write_audit(folder: Path, verdicts: list[Verdict], config_hash: str) -> None:
    """Write ``audit.parquet`` into ``folder``, one row a verdict."""
    rows = [
        {
            "sample_id": verdict.row.sample_id,
            "stage": verdict.row.stage,
            "signal": verdict.row.signal,
            "value": verdict.row.value,
            "threshold": None if verdict.threshold is None else verdict.threshold.bound,
            "threshold_source": None if verdict.threshold is None else verdict.threshold.source,
            "verdict": "pass" if verdict.reason_code is None else "drop",
            "reason_code": verdict.reason_code,
            "error_class": verdict.row.error_class,
            "elapsed_ms": verdict.row.elapsed_ms,
            "config_hash": config_hash,
            "detail": verdict.row.detail,
        }
        for verdict in verdicts
    ]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=AUDIT_SCHEMA), buffer, compression="zstd")
    write_file(folder / AUDIT_NAME, buffer.getvalue())
