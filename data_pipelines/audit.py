"""``audit.parquet``: every check of every sample, kept or dropped, with its value, threshold and reason."""

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from data_pipelines.ingest.records import RejectedRow
from data_pipelines.parquet_file import write_parquet

AUDIT_NAME = "audit.parquet"

AUDIT_SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),  # or the id of a video, or the place of an annotation row
        ("stage", pa.string()),
        ("signal", pa.string()),
        ("value", pa.float64()),
        ("threshold", pa.float64()),
        ("threshold_source", pa.string()),
        ("verdict", pa.string()),  # pass | drop | quarantine
        ("reason_code", pa.string()),
        ("error_class", pa.string()),
        ("config_hash", pa.string()),
        ("detail", pa.string()),
    ]
)


def write_audit(folder: Path, verdicts: Iterable[pa.Table], rejected: Iterable[RejectedRow], config_hash: str) -> int:
    """Write ``audit.parquet`` into ``folder``: the rejected rows of the input, then all verdicts.

    Args:
        folder: where it goes.
        verdicts: tables with the columns of ``AUDIT_SCHEMA``; they are asked for one by one.
        rejected: rows of the input that couldn't be used.
        config_hash: noted with every row, and in the schema's metadata.

    Returns:
        The number of rows.
    """

    def tables() -> Iterable[pa.Table]:
        yield _rejections(rejected, config_hash)
        yield from verdicts

    return write_parquet(folder / AUDIT_NAME, tables(), AUDIT_SCHEMA, {"config_hash": config_hash})


def _rejections(rejected: Iterable[RejectedRow], config_hash: str) -> pa.Table:
    rows = [
        {
            "sample_id": row.where,
            "stage": "read",
            "signal": "annotation_row",
            "verdict": "drop",
            "reason_code": row.reason,
            "config_hash": config_hash,
            "detail": row.message,
        }
        for row in rejected
    ]
    return pa.Table.from_pylist(rows, schema=AUDIT_SCHEMA)
