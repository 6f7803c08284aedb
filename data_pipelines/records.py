"""Reads annotations (a JSON list, JSON lines) or a bare folder of videos into one record a video.

Three kinds of rows are understood, each about one video:

- a conversation: ``{"id", "video", "conversations": [{"from": "human", "value"}, {"from": "gpt", "value"}, ...]}``;
- a question: ``{"video", "question", "answer"}``, optionally with ``options`` and ``task_type``;
- a caption: ``{"video", "caption"}``, which becomes an answer to an empty question.

All may have ``id``, ``data_source``, ``evidence`` (a list of [start, end] that have to be seen to answer), and the
moment in the video that they are about, ``t_start`` and ``t_end``, in presentation seconds. A row that can't be
understood is rejected with its reason and place; the others are used.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from recot.data.schema import QA, VIDEO_EXTENSIONS
from recot.errors import DataError

IMAGE_EXTENSIONS = ("jpg", "jpeg", "png", "gif", "bmp", "webp", "tif", "tiff", "heic", "avif")
_PLACEHOLDER = re.compile(r"\s*<(?:image|video)>\s*")
_LONGEST_S = 1e7
"""No moment of a video is later than this; refuses NaN, infinity and milliseconds since 1970 too."""


@dataclass
class VideoRecord:
    """One video that the input names, and everything that it says about it.

    Attributes:
        video_id: the path as the input gives it, relative to the folder of videos; unique among the records.
        path: where the file should be.
        source: data set it belongs to (``data_source``), or else the name of the annotation file or folder.
        qa: questions, in order of the input.
    """

    video_id: str
    path: Path
    source: str
    qa: list[QA] = field(default_factory=list)


@dataclass(frozen=True)
class RejectedRow:
    """An annotation row that can't be used: its place (``file.jsonl:17``), a reason code, and the reason in words."""

    where: str
    reason: str
    message: str


@dataclass(frozen=True)
class Records:
    """What an input holds.

    Attributes:
        videos: in order of first mention, or sorted by path for a folder.
        rows: annotation rows read (0 for a folder); those rejected are among them.
        rejected: rows that can't be used.
        ignored_files: files of a folder that aren't videos by their extension.
    """

    videos: list[VideoRecord]
    rows: int = 0
    rejected: list[RejectedRow] = field(default_factory=list)
    ignored_files: int = 0


class _Rejection(Exception):
    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def read_records(source: Path, video_root: Path | None) -> Records:
    """Read ``source``, an annotation file or a folder of videos.

    Args:
        source: a JSON or JSONL file, or a folder, which is searched with its subfolders.
        video_root: folder that relative paths in annotations start from; None for the annotation file's own folder.

    Raises:
        DataError: if the source doesn't exist, can't be parsed, or has nothing usable.
    """
    if source.is_dir():
        return _read_folder(source)
    if not source.is_file():
        raise DataError(
            f"source={source}: there is no such file or folder. Expected annotations (.json or .jsonl) or a folder of "
            "videos."
        )
    return _read_annotations(source, video_root or source.parent)


def _read_folder(folder: Path) -> Records:
    relative = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    visible = [path for path in relative if not any(part.startswith(".") for part in path.parts)]
    found = sorted(path.as_posix() for path in visible if _extension(path) in VIDEO_EXTENSIONS)
    if not found:
        if any(_extension(path) in IMAGE_EXTENSIONS for path in visible):
            raise DataError(
                f"source={folder} holds images but no videos. recot compresses videos: give a folder with files such "
                "as .mp4, .mkv or .webm, or annotations that name videos."
            )
        raise DataError(
            f"source={folder} holds no videos (looked in all subfolders for .{', .'.join(VIDEO_EXTENSIONS)}). "
            "Give another folder, or an annotation file that names the videos."
        )
    source = _as_text(folder.resolve().name)
    videos = [VideoRecord(_as_text(name), folder / name, source) for name in found]
    return Records(videos, ignored_files=len(visible) - len(found))


def _as_text(name: str) -> str:
    """A file name as UTF-8 can hold it; on disk, names may be any bytes."""
    return name.encode(errors="backslashreplace").decode()


def _extension(path: Path) -> str:
    return path.suffix.removeprefix(".").lower()


def _read_annotations(file: Path, video_root: Path) -> Records:
    videos: dict[str, VideoRecord] = {}
    rejected: list[RejectedRow] = []
    uses: Counter[str] = Counter()
    name = _as_text(file.stem)
    rows = 0
    for rows, (where, row) in enumerate(_parse_rows(file), start=1):
        try:
            if isinstance(row, ValueError):
                raise _Rejection("not_json", f"the line is not JSON: {row}")
            record = _to_record(row, name, video_root, fallback_id=f"{name}-{rows}")
        except _Rejection as error:
            rejected.append(RejectedRow(where, error.reason, str(error)))
            continue
        record.qa = [_with_unique_id(qa, uses) for qa in record.qa]
        videos.setdefault(record.video_id, replace(record, qa=[])).qa.extend(record.qa)
    if not videos:
        raise _nothing_usable(file, rows, rejected)
    return Records(list(videos.values()), rows, rejected)


def _nothing_usable(file: Path, rows: int, rejected: list[RejectedRow]) -> DataError:
    reasons = Counter(row.reason for row in rejected)
    if rows and set(reasons) == {"image_only"}:
        return DataError(
            f"source={file}: all {rows} rows are about images. recot compresses videos: give annotations whose rows "
            'have "video": "relative/path.mp4".'
        )
    counted = ", ".join(f"{count} x {reason}" for reason, count in reasons.most_common()) or "the file is empty"
    first = f" First one: {rejected[0].where}: {rejected[0].message}." if rejected else ""
    return DataError(
        f"source={file}: no usable row among {rows} ({counted}).{first} Expected rows such as "
        '{"video": "a.mp4", "conversations": [{"from": "human", "value": "..."}, {"from": "gpt", "value": "..."}]}.'
    )


def _parse_rows(file: Path) -> Iterator[tuple[str, Any]]:
    """Place and content of every row; a line of JSONL that doesn't parse comes as its ``ValueError``."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"source={file} can't be read as UTF-8 text: {error}. Expected annotations (.json or .jsonl) or a folder "
            "of videos."
        ) from error
    name = _as_text(file.name)
    if text.lstrip()[:1] != "[":
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                yield f"{name}:{number}", _parse_line(line)
        return
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"source={file} is not valid JSON: {error}. Repair the file, or write one JSON object a line (JSONL): "
            "then only the damaged lines are left out."
        ) from error
    for number, row in enumerate(rows, start=1):
        yield f"{name}[{number}]", row


def _parse_line(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        return error
    except RecursionError:
        return ValueError("it is nested too deeply")


def _to_record(row: Any, default_source: str, video_root: Path, fallback_id: str) -> VideoRecord:
    if not isinstance(row, dict):
        raise _Rejection("not_an_object", f"expected a JSON object, got {type(row).__name__}")
    video = row.get("video")
    if video is None and "image" in row:
        raise _Rejection("image_only", "the row names an image and no video")
    if not isinstance(video, str) or not video.strip() or "\0" in video:
        raise _Rejection("no_video", f'"video" must be the path of a video, got {video!r}')
    _check_text(video)
    source = row.get("data_source", default_source)
    row_id = row.get("id", fallback_id)
    if not isinstance(source, str) or not isinstance(row_id, str | int):
        raise _Rejection("bad_field", '"data_source" and "id" must be strings')
    _check_text(source)
    path = Path(video)
    return VideoRecord(path.as_posix(), video_root / path, source, _to_qa(row, _check_text(str(row_id))))


def _to_qa(row: dict[str, Any], row_id: str) -> list[QA]:
    """The questions of a row, none for a row that only names a video."""
    t_start, t_end = _time(row, "t_start"), _time(row, "t_end")
    if t_start is not None and t_end is not None and t_end < t_start:
        raise _Rejection("bad_time", f"t_end {t_end} is before t_start {t_start}")
    evidence = _spans(row.get("evidence") or [])
    options = row.get("options") or []
    if not isinstance(options, list):
        raise _Rejection("bad_field", '"options" must be a list of strings')
    options = [_text(option, "options") for option in options]
    task_type = _text(row.get("task_type") or ("multiple_choice" if options else "open"), "task_type")
    if "conversations" in row:
        turns = _turns(row["conversations"])
    elif "question" in row or "answer" in row:
        turns = [(_text(row.get("question"), "question"), _text(row.get("answer"), "answer"))]
    elif "caption" in row:
        turns = [("", _text(row["caption"], "caption"))]
        task_type = "caption"
    else:
        turns = []
    ids = [row_id] if len(turns) == 1 else [f"{row_id}#{turn}" for turn in range(len(turns))]
    return [
        QA(qa_id, question, answer, task_type, options, t_start, t_end, evidence)
        for qa_id, (question, answer) in zip(ids, turns, strict=True)
    ]


def _turns(conversations: Any) -> list[tuple[str, str]]:
    """Question and answer of every turn, without the placeholders that say where a model sees the video."""
    said = conversations if isinstance(conversations, list) else []
    speakers = [turn.get("from") if isinstance(turn, dict) else None for turn in said]
    if not said or len(said) % 2 or speakers != ["human", "gpt"] * (len(said) // 2):
        raise _Rejection("bad_conversation", f"expected human and gpt in turns, got {speakers or conversations!r}")
    texts = [_PLACEHOLDER.sub("\n", _text(turn.get("value"), "value")).strip() for turn in said]
    if not all(texts[1::2]):
        raise _Rejection("bad_text", "an answer is empty")
    return list(zip(texts[::2], texts[1::2], strict=True))


def _time(row: dict[str, Any], name: str) -> float | None:
    value = row.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _LONGEST_S:
        raise _Rejection("bad_time", f"{name} must be presentation seconds, got {value!r}")
    return float(value)


def _spans(value: Any) -> list[list[float]]:
    pairs = value if isinstance(value, list) else [value]
    spans = []
    for pair in pairs:
        if not (isinstance(pair, list) and len(pair) == 2):
            raise _Rejection("bad_time", f'"evidence" must be a list of [start, end] in seconds, got {value!r}')
        start, end = (_time({"evidence": moment}, "evidence") for moment in pair)
        if start is None or end is None or end < start:
            raise _Rejection("bad_time", f'"evidence" must be a list of [start, end] in seconds, got {value!r}')
        spans.append([start, end])
    return spans


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _Rejection("bad_text", f'"{name}" must be text, got {value!r}')
    return _check_text(value)


def _check_text(value: str) -> str:
    """Refuse halves of surrogate pairs, which JSON can escape but UTF-8 can't hold."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise _Rejection("bad_text", f"text that UTF-8 can't hold: {error}") from error
    return value


def _with_unique_id(qa: QA, uses: Counter[str]) -> QA:
    """The same question; an id that was used before gets ``@2``, ``@3``, ... appended."""
    sample_id = qa.sample_id
    while uses[sample_id]:
        uses[qa.sample_id] += 1
        sample_id = f"{qa.sample_id}@{uses[qa.sample_id]}"
    uses[sample_id] += 1
    return replace(qa, sample_id=sample_id)
