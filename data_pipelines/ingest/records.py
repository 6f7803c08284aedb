"""What an input holds, whatever its format: videos with their questions, and the rows that can't be used."""

import hashlib
import json
from dataclasses import dataclass, field

from recot.data.schema import QA

IMAGE_EXTENSIONS = ("jpg", "jpeg", "png", "gif", "bmp", "webp", "tif", "tiff", "heic", "avif")
"""Of files that people take for videos, or give along with them."""


@dataclass(slots=True)
class VideoRecord:
    """One video that the input names, and everything that it says about it.

    Attributes:
        video_id: unique among the records: the path as the input gives it, relative to the folder of videos; in a tar,
            ``<tar>/<member>``, and in a tar that recot wrote the id that the video had there.
        uri: where the bytes are, for ``fetch.local_copy``: ``file:///...`` (percent-encoded, RFC 8089), any other URL
            that fsspec knows, or one of these followed by ``#offset=...&size=...&member=...`` for a member of a tar.
        source: data set it belongs to (``data_source``), or else the name of the annotation file or folder.
        licence: what the input says; several that differ are joined with `` AND ``; None where it says nothing.
        source_uri: where the video came from, as the input tells (a shard knows it from before); else ``uri``.
        size: bytes of the file at ``uri`` (for a member, of the whole tar); None where asking for it isn't cheap (a
            remote video that a row names) or where there is no such file.
        mtime_ns: when that file was changed, nanoseconds since 1970; None as for ``size``.
        qa: questions, in order of the input; their ids are unique among all records.
    """

    video_id: str
    uri: str
    source: str
    licence: str | None = None
    source_uri: str = ""
    size: int | None = None
    mtime_ns: int | None = None
    qa: list[QA] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.source_uri = self.source_uri or self.uri


@dataclass(frozen=True)
class RejectedRow:
    """A row or tar member that can't be used: its place (``file.jsonl:17``), a reason code, and the reason in words."""

    where: str
    reason: str
    message: str


@dataclass(frozen=True)
class Records:
    """What an input holds.

    Attributes:
        videos: in order of first mention, or sorted by path for a folder.
        rows: annotation rows and tar samples read (0 for a folder of videos); those rejected are among them.
        rejected: rows that can't be used, in order of the input.
        ignored_files: files of a folder, or members of a tar, that are neither videos nor annotations by extension.
        renamed_ids: ids of videos and of questions that had been used before and so got ``@2``, ``@3``, ... appended.
    """

    videos: list[VideoRecord]
    rows: int = 0
    rejected: list[RejectedRow] = field(default_factory=list)
    ignored_files: int = 0
    renamed_ids: int = 0

    def hash(self) -> str:
        """16 hex digits that change with every video, its size and time, every question, and every rejected row.

        Not with ignored files: these come and go beside the videos, and nothing of them is read.
        """
        digest = hashlib.sha256(json.dumps([self.rows, self.renamed_ids]).encode())
        for video in self.videos:
            texts = [video.video_id, video.uri, video.source, video.licence, video.source_uri]
            digest.update(json.dumps([texts, video.size, video.mtime_ns, [vars(qa) for qa in video.qa]]).encode())
        for row in self.rejected:
            digest.update(json.dumps(vars(row)).encode())
        return digest.hexdigest()[:16]


class Rejection(Exception):
    """Why a row can't be used: a reason code for counts, and the reason in words."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
