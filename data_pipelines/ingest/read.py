"""The one entry to everything that a user may have: annotations, tables, folders and tars, local or remote."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from data_pipelines.ingest.annotations import read_annotations
from data_pipelines.ingest.collector import Collector
from data_pipelines.ingest.folders import read_folder
from data_pipelines.ingest.listing import expand, is_folder
from data_pipelines.ingest.locations import VideoRoot, base_name, local_path, parent, suffix
from data_pipelines.ingest.records import Records
from data_pipelines.ingest.tars import read_tar
from recot.data.schema import VIDEO_EXTENSIONS
from recot.errors import DataError


def read_records(source: str, *, video_root: str | None, scratch: Path, leave_out: Sequence[Path] = ()) -> Records:
    """Read ``source``: what it is follows from its name.

    - a folder: the videos in it and its subfolders, or else the tars, or recot's own shards (``shards.json``);
    - ``.tar``: a WebDataset, ``<key>.mp4`` with ``<key>.json`` and ``<key>.txt``;
    - ``.csv``, ``.parquet``: a table with a row a question, caption or video; see ``rows.py`` for the columns;
    - any other file: a JSON list or JSON lines of the same rows, LLaVA-Video's too;
    - a pattern with ``*``, ``?``, ``[ab]``, ``{a,b}`` or ``{000..012}``: all files that it matches.

    Args:
        source: a path or any URL that fsspec reads.
        video_root: folder, local or a URL, that relative paths in annotations start from; None for the folder of the
            annotation file. With a ``video_root``, annotations may name nothing outside of it: LLaVA-Video's paths are
            relative to the folder that its archives are unpacked in, so that is what to give, and annotations from
            elsewhere can't reach other files of this machine or its network. Without one, absolute paths and URLs are
            taken as they are. A relative path never leaves its folder through ``..``. Both are rows rejected as
            ``outside_root``.
        scratch: folder for the copy of a remote annotation file while it is being read.
        leave_out: local folders within a folder of videos or tars that aren't part of it, such as the output.

    Raises:
        DataError: if the source can't be read as a whole, or has nothing usable.
    """
    collector = Collector()
    for uri in expand(source):
        if is_folder(uri):
            read_folder(uri.rstrip("/"), collector, leave_out)
        elif suffix(uri) == "tar":
            read_tar(uri, base_name(uri), base_name(parent(uri)), collector)
        elif suffix(uri) in VIDEO_EXTENSIONS:
            path = local_path(uri)
            raise DataError(f"source={path or uri} is a video. Give the folder that it lies in, or annotations.")
        else:
            read_annotations(uri, VideoRoot.of(video_root, uri), collector, scratch)
    records = collector.records()
    if not records.videos:
        raise _nothing_usable(source, records)
    return records


def _nothing_usable(source: str, records: Records) -> DataError:
    reasons = Counter(row.reason for row in records.rejected)
    if records.rows and set(reasons) == {"image_only"}:
        return DataError(
            f"source={source}: all {records.rows} rows are about images. recot compresses videos: give annotations "
            'whose rows have "video": "relative/path.mp4".'
        )
    counted = ", ".join(f"{count} x {reason}" for reason, count in reasons.most_common()) or "the file is empty"
    first = f" First one: {records.rejected[0].where}: {records.rejected[0].message}." if records.rejected else ""
    return DataError(
        f"source={source}: no usable row among {records.rows} ({counted}).{first} Expected rows such as "
        '{"video": "a.mp4", "conversations": [{"from": "human", "value": "..."}, {"from": "gpt", "value": "..."}]}.'
    )
