"""Annotation files of all formats, local or remote, into the collector."""

from pathlib import Path

from data_pipelines.ingest.collector import Collector
from data_pipelines.ingest.fetch import local_copy
from data_pipelines.ingest.json_rows import json_rows
from data_pipelines.ingest.listing import stat
from data_pipelines.ingest.locations import VideoRoot, base_name, local_path, protocol, suffix
from data_pipelines.ingest.records import Rejection
from data_pipelines.ingest.rows import row_record
from data_pipelines.ingest.table_rows import csv_rows, parquet_rows
from recot.errors import DataError, VideoError

_READERS = {"csv": csv_rows, "parquet": parquet_rows}
"""Extension -> reader; everything else is read as JSON."""
_LARGEST_BYTES = 2**38


def read_annotations(uri: str, root: VideoRoot, collector: Collector, scratch: Path) -> None:
    """Add every row of the annotation file at ``uri``; rows that can't be used are rejected with their place.

    The size and time of a local video are looked up, and it is no error if it isn't there: the stage that opens the
    videos says so of local and remote ones alike.

    Raises:
        DataError: if the file can't be had or can't be parsed at all.
    """
    name, path = base_name(uri), local_path(uri)
    stem, shown = name.rpartition(".")[0] or name, uri if path is None else str(path)
    read = _READERS.get(suffix(uri), json_rows)
    try:
        with local_copy(uri, scratch, max_bytes=_LARGEST_BYTES) as copy:
            for number, (place, row) in enumerate(read(copy, shown), start=1):
                try:
                    if isinstance(row, Rejection):
                        raise row
                    record = row_record(row, root, source=stem, row_id=f"{stem}-{number}")
                except Rejection as error:
                    collector.reject(f"{name}{place}", error.reason, str(error))
                    continue
                if protocol(record.uri) == "file" and not collector.knows(record.uri):
                    record.size, record.mtime_ns = stat(record.uri)
                collector.add_row(record)
    except VideoError as error:
        raise DataError(f"source={shown} can't be read: {error.message} [{error.reason}]") from error
