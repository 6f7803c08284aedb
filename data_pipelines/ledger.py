"""What a stage found out about each item: one small file an item. A file that is there is whole, and its item is done.

A run that was killed goes on from here, and a run with other thresholds finds all scores here. Nothing depends on the
order in which items were done.
"""

import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data_pipelines.supervised import Failure
from recot.atomic import write_file
from recot.errors import DataError

Row = dict[str, Any]
"""A result: a value for each column of the stage's schema."""

_OWN_COLUMNS = [pa.field(name, pa.string()) for name in ("id", "error_reason", "error_class", "error_detail")]
_ID_LENGTH = 64
_ROWS_AT_A_TIME = 512


def item_id(*parts: str | int | None) -> str:
    """64 hex digits: sha256 of what tells an item from others, and from itself before a change.

    For a file, give its URI, size in bytes and modification time in ns; for a question, its video's id and its texts.
    """
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def config_hash(settings: Mapping[str, Any], version: int) -> str:
    """16 hex digits that change with every setting of a stage, and with the version number of its code.

    Args:
        settings: what decides the results, as JSON can hold it. Not the number of workers.
        version: raised with every change of the code that changes results.
    """
    text = json.dumps([dict(settings), version], sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _parquet(row: pa.Table) -> bytes:
    """For one row, dictionaries and statistics cost more than they save, and so does compressing small values."""
    compression = {f.name: "zstd" if pa.types.is_binary(f.type) else "none" for f in row.schema}
    sink = io.BytesIO()
    pq.write_table(
        row, sink, compression=compression, use_dictionary=False, write_statistics=False, write_page_checksum=True
    )
    return sink.getvalue()


@dataclass(frozen=True)
class Ledger:
    """The results of one stage under one config: ``<folder>/<id[:2]>/<id>-<config>.parquet``, one row each.

    An item that failed has a file too, with null in every column of the stage: it isn't tried again unless ``forget``
    deletes that.

    Attributes:
        folder: of the stage, shared by all configs and runs. Workers on other machines must see it as well.
        config: see ``config_hash``.
        columns: of a result. Each file also has ``id`` and, null unless the item failed, ``error_reason``,
            ``error_class`` and ``error_detail`` (see ``Failure``), all strings.
    """

    folder: Path
    config: str
    columns: pa.Schema

    def __post_init__(self) -> None:
        fixed = [field.name for field in self.columns if pa.types.is_fixed_size_list(field.type)]
        if fixed:
            raise ValueError(f"columns {fixed}: Parquet can't hold null there; use lists without a fixed size")

    @property
    def schema(self) -> pa.Schema:
        """All columns of a file."""
        return pa.schema([*_OWN_COLUMNS, *self.columns])

    def path(self, item: str) -> Path:
        """Where the result of an item is, or will be."""
        return self.folder / item[:2] / f"{item}-{self.config}.parquet"

    def missing(self, items: Iterable[str]) -> list[str]:
        """Those without a result, in the order given, each once. Listing folders is faster than asking by item.

        Raises:
            DataError: if a folder can't be listed.
        """
        wanted = dict.fromkeys(items)
        for prefix in sorted({item[:2] for item in wanted}):
            for item in self._done(prefix):
                wanted.pop(item, None)
        return list(wanted)

    def _done(self, prefix: str) -> Iterator[str]:
        ending = f"-{self.config}.parquet"
        try:
            with os.scandir(self.folder / prefix) as entries:
                yield from (e.name[:_ID_LENGTH] for e in entries if e.name[_ID_LENGTH:] == ending)
        except FileNotFoundError:
            return
        except OSError as error:
            raise DataError(
                f"{self.folder / prefix} can't be listed: {error.strerror or error}. Choose another folder for scores."
            ) from error

    def write(self, item: str, result: Row | Failure) -> None:
        """Note a result for good. Equal results give equal bytes.

        Raises:
            ValueError: if the result's columns aren't the stage's.
            DataError: if the file can't be written.
        """
        if isinstance(result, Failure):
            row = {"error_reason": result.reason, "error_class": result.error_class, "error_detail": result.message}
        elif result.keys() != set(self.columns.names):
            raise ValueError(f"{self.folder.name}: columns {sorted(result)}, expected {sorted(self.columns.names)}")
        else:
            row = result
        content = _parquet(pa.Table.from_pylist([{"id": item, **row}], self.schema))
        path = self.path(item)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_file(path, content)
        except OSError as error:
            raise DataError(
                f"{path} can't be written: {error.strerror or error}. Free some space, or choose another folder for "
                "scores; what is done so far stays."
            ) from error

    def forget(self, item: str) -> None:
        """Delete a result, if there is one, so that the next run makes it again."""
        self.path(item).unlink(missing_ok=True)

    def read(self, item: str, columns: Sequence[str] | None = None) -> Row:
        """The row of one item; see ``read_table``."""
        (row,) = self._read(item, columns).to_pylist()
        return dict(row)

    def read_table(self, items: Iterable[str], columns: Sequence[str] | None = None) -> pa.Table:
        """The rows of ``items``, in this order.

        Args:
            items: each must be done.
            columns: those to load, in this order; the others are not even read. None: all.

        Raises:
            DataError: for a file that is missing, damaged, or has other columns than it must.
        """
        tables = list(self.stream(items, columns))
        return pa.concat_tables(tables) if tables else self._wanted(columns).empty_table()

    def stream(self, items: Iterable[str], columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Like ``read_table``, a few hundred rows at a time, for columns that don't fit in memory together."""
        waiting = iter(items)
        while few := list(islice(waiting, _ROWS_AT_A_TIME)):
            yield pa.concat_tables(self._read(item, columns) for item in few).combine_chunks()

    def _wanted(self, columns: Sequence[str] | None) -> pa.Schema:
        return self.schema if columns is None else pa.schema([self.schema.field(name) for name in columns])

    def _read(self, item: str, columns: Sequence[str] | None) -> pa.Table:
        path = self.path(item)
        try:
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                table = file.read(columns=None if columns is None else list(columns), use_threads=False)
        except FileNotFoundError as error:
            raise DataError(f"{path}: there is no such result. Run the pipeline again to make it.") from error
        except (pa.ArrowException, OSError) as error:
            raise DataError(
                f"{path} is damaged: {error}. Delete this file and run again; the other results stay."
            ) from error
        wanted = self._wanted(columns)
        if table.num_rows != 1 or set(table.schema.names) != set(wanted.names):
            raise self._other_schema(path)
        table = table.select(wanted.names)
        if table.schema != wanted:
            raise self._other_schema(path)
        return table

    @staticmethod
    def _other_schema(path: Path) -> DataError:
        return DataError(f"{path} doesn't hold one row of this stage. Delete this file and run again.")
