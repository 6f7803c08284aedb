"""WebDataset tars from anyone: adjacent members that share a key are one sample, and its video is read where it lies.

``<key>.mp4`` (or another of our extensions) is the video. ``<key>.json`` is an annotation row as ``rows.py`` describes,
without ``video``, or what recot writes into its own shards; ``<key>.txt`` is a caption, where the JSON has no question.
The key ends at the first dot of the file's name, so a video with more dots (``clip_0.5s.mp4``) is rejected, unless
it lies beside the sample's video (``<key>.left.mp4``). Other members are ignored, and nothing is ever unpickled.
"""

from dataclasses import dataclass
from itertools import groupby
from typing import Any, BinaryIO

from data_pipelines.ingest.collector import Collector
from data_pipelines.ingest.fetch import open_anywhere
from data_pipelines.ingest.json_rows import parse_json
from data_pipelines.ingest.listing import stat
from data_pipelines.ingest.locations import Member, local_path
from data_pipelines.ingest.records import IMAGE_EXTENSIONS, Rejection, VideoRecord
from data_pipelines.ingest.rows import check_text, checked_fields, origin, questions
from data_pipelines.ingest.shard_folders import sample_record
from data_pipelines.ingest.tar_members import DamagedTar, TarMember, tar_members
from recot.data.schema import REFUSED_EXTENSIONS, VIDEO_EXTENSIONS, VideoSample
from recot.errors import DataError

_LARGEST_TEXT = 16 << 20  # bytes of a JSON or txt member
_QUESTION_FIELDS = ("conversations", "question", "answer", "caption")


@dataclass(frozen=True)
class _Tar:
    uri: str
    name: str
    source: str
    size: int | None
    mtime_ns: int | None


def read_tar(uri: str, name: str, source: str, collector: Collector) -> None:
    """Add every sample of the tar at ``uri``; only headers, JSON and captions are read.

    What can't be used is rejected with its place. Of a tar that is cut off, the samples before the last one that is
    there are used (``damaged_tar``): nobody knows whether that one is whole.

    Args:
        uri: of the tar.
        name: of the tar, in places and video ids: its path below the folder that is read.
        source: data set of samples that name none.
        collector: takes the samples.
    """
    try:
        tar = _Tar(uri, name, source, *stat(uri))
        with open_anywhere(uri) as file:
            for key, members in groupby(tar_members(file), key=_key):
                _add_sample(tar, file, key, list(members), collector)
    except DamagedTar as error:
        collector.reject(name, "damaged_tar", f"{error}. The samples before its last one are used")
    except Exception as error:
        if local_path(uri) is not None and not isinstance(error, OSError):
            raise
        collector.reject(name, "unreadable_tar", f"{type(error).__name__}: {error}")


def _key(member: TarMember) -> str:
    folder, slash, name = member.name.rpartition("/")
    return f"{folder}{slash}{name.partition('.')[0]}"


def _extension(member: TarMember) -> str:
    return member.name.rpartition("/")[2].partition(".")[2].lower()


def _add_sample(tar: _Tar, file: BinaryIO, key: str, members: list[TarMember], collector: Collector) -> None:
    parts: dict[str, TarMember] = {}
    dotted: list[str] = []
    whole = True
    for member in members:
        where, extension = f"{tar.name}/{member.name}", _extension(member)
        if member.problem:
            collector.reject(where, member.problem, member.detail)
            whole = False
        elif extension.rpartition(".")[2] in REFUSED_EXTENSIONS:
            collector.reject(where, "refused_member", "such files are unpickled elsewhere; it is not opened")
        elif extension in parts:
            collector.reject(where, "repeated_member", "the sample has another member of the same name")
            whole = False
        elif any(part.startswith(".") for part in member.name.split("/")):
            collector.ignored_files += 1
        elif "." in extension and extension.rpartition(".")[2] in VIDEO_EXTENSIONS:
            dotted.append(where)
        elif not _is_used(extension):
            collector.ignored_files += 1
        else:
            parts[extension] = member
    if any(extension in VIDEO_EXTENSIONS for extension in parts):
        collector.ignored_files += len(dotted)
    elif dotted:
        for where in dotted:
            why = f"a WebDataset's key ends at the first dot, here {key}; write another sign for the dots in its name"
            collector.reject(where, "dotted_name", why)
        return
    if not (whole and parts):
        return
    try:
        record = _sample(tar, file, key, parts)
    except Rejection as error:
        collector.reject(f"{tar.name}/{key}", error.reason, str(error))
    else:
        collector.add_row(record)


def _is_used(extension: str) -> bool:
    return extension in (*VIDEO_EXTENSIONS, *IMAGE_EXTENSIONS, "json", "txt")


def _sample(tar: _Tar, file: BinaryIO, key: str, parts: dict[str, TarMember]) -> VideoRecord:
    videos = [member for extension, member in parts.items() if extension in VIDEO_EXTENSIONS]
    if not videos and any(extension in IMAGE_EXTENSIONS for extension in parts):
        raise Rejection("image_only", "the sample has an image and no video")
    if len(videos) != 1:
        raise Rejection("no_video" if not videos else "several_videos", f"the sample has {len(videos)} videos")
    video = videos[0]
    uri = Member(tar.uri, video.offset, video.size, video.name).uri
    row = _parsed(file, parts["json"]) if "json" in parts else {}
    if isinstance(row, dict) and "schema_version" in row:
        try:
            return sample_record(VideoSample.from_json(row, "its JSON"), uri, tar.size, tar.mtime_ns)
        except DataError as error:
            raise Rejection("bad_field", str(error)) from error
    fields = checked_fields(row)
    if "txt" in parts and not any(name in fields for name in _QUESTION_FIELDS):
        caption = _text(file, parts["txt"])
        fields |= {"caption": caption} if caption else {}
    # Where a downloader found a video is its origin.
    origins = [fields.get(name) for name in ("source_uri", "url")]
    source = fields.get("source")
    return VideoRecord(
        f"{tar.name}/{video.name}",
        uri,
        source_uri=next((check_text(given) for given in origins if isinstance(given, str)), ""),
        size=tar.size,
        mtime_ns=tar.mtime_ns,
        qa=questions(fields, f"{tar.name.rpartition('.')[0]}/{key}"),
        **origin(fields, source if isinstance(source, str) else tar.source),
    )


def _parsed(file: BinaryIO, member: TarMember) -> Any:
    row = parse_json(_content(file, member))
    if isinstance(row, Rejection):
        raise row
    return row


def _text(file: BinaryIO, member: TarMember) -> str:
    try:
        return _content(file, member).decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise Rejection("not_utf8", f"{member.name}: expected UTF-8 text: {error.reason}") from error


def _content(file: BinaryIO, member: TarMember) -> bytes:
    if member.size > _LARGEST_TEXT:
        raise Rejection("too_large_member", f"{member.name} has {member.size} bytes, at most {_LARGEST_TEXT} are read")
    file.seek(member.offset)
    return file.read(member.size)
