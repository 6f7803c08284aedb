"""A folder: of videos, or of tars."""

from collections.abc import Sequence
from pathlib import Path

from data_pipelines.ingest.collector import Collector
from data_pipelines.ingest.listing import list_files
from data_pipelines.ingest.locations import base_name, local_path, parent
from data_pipelines.ingest.records import IMAGE_EXTENSIONS, VideoRecord
from data_pipelines.ingest.shard_folders import read_shard_folder
from data_pipelines.ingest.tars import read_tar
from recot.data.schema import VIDEO_EXTENSIONS
from recot.data.shard_index import MANIFEST_NAME
from recot.errors import DataError

_ANNOTATIONS = ("json", "jsonl", "csv", "parquet")


def read_folder(folder: str, collector: Collector, leave_out: Sequence[Path] = ()) -> None:
    """Add the videos that lie in a folder and its subfolders; where there are none, those in the tars there.

    A subfolder that can't be listed is rejected (``unreadable_folder``). A local folder that has ``shards.json`` is
    read through its index, as recot wrote it.

    Args:
        folder: its URI.
        collector: takes the videos.
        leave_out: local folders whose files count for nothing.

    Raises:
        DataError: if there are neither videos nor tars, or a folder of shards is damaged.
    """
    files = list_files(folder, leave_out, lambda name, why: collector.reject(name, "unreadable_folder", why))
    source = base_name(folder)
    videos = [file for file in files if _extension(file.name) in VIDEO_EXTENSIONS]
    tars = [file for file in files if _extension(file.name) == "tar"]
    for file in videos:
        record = VideoRecord(file.name, file.uri, source, size=file.size, mtime_ns=file.mtime_ns)
        collector.add_video(record)
    if videos:
        collector.ignored_files += len(files) - len(videos)
        return
    if not tars:
        raise _nothing_in(folder, {_extension(file.name) for file in files})
    indexed = [parent(file.uri) for file in files if file.name.rpartition("/")[2] == MANIFEST_NAME]
    for shards in indexed if local_path(folder) is not None else []:
        read_shard_folder(shards, collector)
    for file in tars:
        if local_path(folder) is None or parent(file.uri) not in indexed:
            read_tar(file.uri, file.name, source, collector)


def _nothing_in(folder: str, extensions: set[str]) -> DataError:
    path = local_path(folder)
    shown = folder if path is None else str(path)
    if extensions & set(IMAGE_EXTENSIONS):
        return DataError(
            f"source={shown} holds images but no videos. recot compresses videos: give a folder with files such as "
            ".mp4, .mkv or .webm, or annotations that name videos."
        )
    found = next((name for name in _ANNOTATIONS if name in extensions), None)
    hint = "" if found is None else f" It holds annotations: give source='{shown}/*.{found}' to read those."
    return DataError(
        f"source={shown} holds no videos (looked in all subfolders for .{', .'.join(VIDEO_EXTENSIONS)}, and for .tar)."
        f"{hint} Give another folder, or an annotation file that names the videos."
    )


def _extension(name: str) -> str:
    return name.rpartition("/")[2].rpartition(".")[2].lower()
