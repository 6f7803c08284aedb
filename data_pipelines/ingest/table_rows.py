"""Rows of CSV and Parquet tables, one after the other, with the values that JSON would have.

``options``, ``evidence``, ``spans`` and ``conversations`` may be JSON strings: always in CSV, and in Parquet where the
column isn't a list. An empty cell of a CSV is null. Columns that aren't known are not read.
"""

import csv
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data_pipelines.ingest.json_rows import Row, refuse_utf16
from data_pipelines.ingest.records import Rejection
from data_pipelines.ingest.rows import FIELDS
from recot.errors import DataError

_JSON_FIELDS = ("options", "evidence", "spans", "conversations")
_TIMES = ("t_start", "t_end")
_BATCH = 1024


def csv_rows(path: Path, name: str) -> Iterator[Row]:
    """Rows of a CSV file in UTF-8 whose first line names the columns; cells may hold line ends within quotes.

    A row with too many or too few cells, or with quotes that don't match, is rejected alone (``bad_csv``), and so is
    one that isn't UTF-8 (``not_utf8``). Python's own parser is used, as it goes on after either. Errors call the file
    ``name``.

    Raises:
        DataError: if the file can't be read, is UTF-16, or its first line isn't one with a column ``video``.
    """
    try:
        with path.open("rb") as head:
            refuse_utf16(head.read(2), name)
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            reader = csv.reader(file, strict=True)
            columns = _csv_header(reader, name)
            while True:
                line = reader.line_num + 1
                try:
                    cells = next(reader, None)
                except csv.Error as error:
                    yield f":{line}", Rejection("bad_csv", f"expected a row of CSV: {error}")
                    continue
                if cells is None:
                    return
                if cells:  # a blank line is no row
                    yield f":{line}", _csv_row(columns, cells)
    except OSError as error:
        raise DataError(f"source={name} can't be read: {error.strerror or error}") from error


def _csv_header(reader: Any, name: str) -> list[str]:
    try:
        columns = [column.strip() for column in next(reader, [])]
    except csv.Error as error:
        raise DataError(f"source={name}: the first line isn't CSV: {error}") from error
    _check_columns(columns, name)
    return columns


def _csv_row(columns: list[str], cells: list[str]) -> dict[str, Any] | Rejection:
    if len(cells) != len(columns):
        return Rejection("bad_csv", f"expected {len(columns)} cells, got {len(cells)}")
    row = {column: cell for column, cell in zip(columns, cells, strict=True) if cell and column in FIELDS}
    try:
        "".join(row.values()).encode()
    except UnicodeEncodeError:
        return Rejection("not_utf8", "expected UTF-8 text; save the file as UTF-8")
    return _with_json_values(row)


def parquet_rows(path: Path, name: str) -> Iterator[Row]:
    """Rows of a Parquet file, one batch in memory at a time.

    Every row of a row group that can't be read on is rejected (``damaged_row_group``). Errors call the file ``name``.

    Raises:
        DataError: if it is no Parquet file, is cut off, or has no column ``video``.
    """
    try:
        file = pq.ParquetFile(path, pre_buffer=False, page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"source={name} is damaged or no Parquet file: {_one_line(error)}. Get it again.") from error
    with file:
        _check_columns(file.schema_arrow.names, name)
        number = 0
        for group in range(file.num_row_groups):
            end = number + file.metadata.row_group(group).num_rows
            try:
                for row in _group_rows(file, group):
                    number += 1
                    yield f"[{number}]", row
            except (pa.ArrowException, OSError) as error:
                reason = Rejection("damaged_row_group", f"row group {group} can't be read: {_one_line(error)}")
                for lost in range(number + 1, end + 1):
                    yield f"[{lost}]", reason
            number = end


def _group_rows(file: pq.ParquetFile, group: int) -> Iterator[dict[str, Any] | Rejection]:
    # An image may be there as its bytes, which nobody needs here.
    columns = [
        field.name
        for field in file.schema_arrow
        if field.name in FIELDS and (field.name != "image" or field.type == "string")
    ]
    for batch in file.iter_batches(_BATCH, row_groups=[group], columns=columns, use_threads=False):
        try:
            yield from map(_with_json_values, batch.to_pylist())
        except (ValueError, OverflowError):  # one row at a time, to see which
            yield from (_batch_row(batch.slice(i, 1)) for i in range(len(batch)))


def _batch_row(row: pa.RecordBatch) -> dict[str, Any] | Rejection:
    try:
        return _with_json_values(row.to_pylist()[0])
    except UnicodeDecodeError:
        return Rejection("not_utf8", "expected UTF-8 text")
    except (ValueError, OverflowError) as error:  # times out of Python's range
        return Rejection("bad_field", f"a value can't be read: {error}")


def _with_json_values(row: dict[str, Any]) -> dict[str, Any]:
    """Strings in columns of lists and numbers as what they spell; what spells nothing stays, to be rejected."""
    for name in _JSON_FIELDS:
        value = row.get(name)
        if isinstance(value, str):
            try:
                row[name] = json.loads(value)
            except (ValueError, RecursionError):
                continue
    for name in _TIMES:
        value = row.get(name)
        if isinstance(value, str | Decimal):
            try:
                row[name] = float(value)
            except ValueError:
                continue
    return row


def _check_columns(columns: list[str], name: str) -> None:
    repeated = sorted({column for column in columns if columns.count(column) > 1 and column in FIELDS})
    if "video" not in columns or repeated:
        problem = f"the column {repeated[0]} occurs twice" if repeated else "there is no column named video"
        raise DataError(
            f"source={name}: {problem} among {', '.join(columns[:20]) or 'none'}. Expected video, and caption or "
            "question and answer; optionally options, t_start, t_end, evidence, id, task_type, data_source, licence."
        )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
