"""Parquet files that are written piece by piece, and appear whole or not at all."""

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from recot.atomic import fsync_path

ROWS_PER_GROUP = 65536
"""Rows of a row group, and so in memory at once (our choice)."""


def write_parquet(path: Path, tables: Iterable[pa.Table], schema: pa.Schema, metadata: dict[str, str]) -> int:
    """Write the rows of all tables, one table after another.

    Equal rows give equal bytes, however they are cut into tables. Dictionaries are written as what they stand for.

    Args:
        path: the file.
        tables: with the columns of ``schema``, of these types or of dictionaries of these.
        schema: of the file.
        metadata: noted in the file's schema.

    Returns:
        The number of rows.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    rows, pending = 0, schema.empty_table()
    try:
        with (
            temporary.open("wb") as file,
            pq.ParquetWriter(file, schema.with_metadata(metadata), compression="zstd") as writer,
        ):
            for table in tables:
                rows += len(table)
                pending = pa.concat_tables([pending, table.cast(schema)])
                while len(pending) >= ROWS_PER_GROUP:
                    _write_group(writer, pending.slice(0, ROWS_PER_GROUP))
                    pending = pending.slice(ROWS_PER_GROUP)
            _write_group(writer, pending)
        fsync_path(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    fsync_path(path.parent)
    return rows


def _write_group(writer: pq.ParquetWriter, table: pa.Table) -> None:
    if len(table):
        # In one piece: where a column is cut into chunks shows in its pages.
        writer.write_table(table.combine_chunks(), row_group_size=len(table))
