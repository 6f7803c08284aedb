"""One annotation row, whatever file it came from: the fields that are understood, and what is wrong with the others.

A row is about one video, and of one of these kinds:

- a conversation: ``{"id", "video", "conversations": [{"from": "human", "value"}, {"from": "gpt", "value"}, ...]}``;
- a question: ``{"video", "question", "answer"}``, optionally with ``options`` and ``task_type``;
- a caption: ``{"video", "caption"}``, which becomes an answer to an empty question;
- a video alone.

All may have ``id``, ``data_source``, ``licence`` (or ``license``), ``evidence`` (or ``spans``: a list of [start, end]
that have to be seen to answer), and the moment in the video that they are about, ``t_start`` and ``t_end``, in
presentation seconds. A field that is null counts as missing; a whole number where a text belongs is its decimal text.
"""

import re
import reprlib
from collections.abc import Mapping
from typing import Any

from data_pipelines.ingest.choices import split_choice
from data_pipelines.ingest.locations import VideoRoot
from data_pipelines.ingest.records import Rejection, VideoRecord
from recot.data.schema import QA

FIELDS = (
    "video",
    "id",
    "conversations",
    "question",
    "answer",
    "options",
    "caption",
    "task_type",
    "t_start",
    "t_end",
    "evidence",
    "spans",
    "data_source",
    "licence",
    "license",
    "image",
)
"""Every field that is read. ``image`` only tells rows about images from those that lack their video."""

_PLACEHOLDER = re.compile(r"\s*<(?:image|video)>\s*")
_LONGEST_S = 1e7
"""No moment of a video is later than this; refuses NaN, infinity and milliseconds since 1970 too."""


def row_record(row: Any, root: VideoRoot, *, source: str, row_id: str) -> VideoRecord:
    """The video that an annotation row names, with the row's questions.

    Args:
        row: parsed JSON, or a table's row as plain Python values.
        root: says where the video is, and whether it may be there.
        source: data set of a row that names none.
        row_id: id of a row that has none.

    Raises:
        Rejection: with the reason and the field that is wrong.
    """
    fields = checked_fields(row)
    video = fields.get("video")
    if video is None and "image" in fields:
        raise Rejection("image_only", "the row names an image and no video")
    if not isinstance(video, str) or not video.strip() or "\0" in video:
        raise Rejection("no_video", f'"video" must be the path of a video, got {reprlib.repr(video)}')
    check_text(video)
    video_id, uri = root.locate(video)
    return VideoRecord(video_id, uri, qa=questions(fields, row_id), **origin(fields, source))


def checked_fields(row: Any) -> dict[str, Any]:
    """A row without its nulls.

    Raises:
        Rejection: ``not_an_object``.
    """
    if not isinstance(row, Mapping):
        raise Rejection("not_an_object", f"expected a JSON object, got {type(row).__name__}")
    return {name: value for name, value in row.items() if value is not None}


def origin(fields: Mapping[str, Any], source: str) -> dict[str, Any]:
    """``source`` and ``licence`` of a row, as keyword arguments of ``VideoRecord``.

    Raises:
        Rejection: ``bad_field`` or ``bad_text``.
    """
    source = fields.get("data_source", source)
    licence = fields.get("licence", fields.get("license"))
    if not isinstance(source, str) or not isinstance(licence, str | None):
        raise Rejection("bad_field", '"data_source" and "licence" must be strings')
    return {"source": check_text(source), "licence": check_text(licence.strip()) or None if licence else None}


def questions(fields: Mapping[str, Any], row_id: str) -> list[QA]:
    """The questions of a row, none for a row that only names a video.

    Raises:
        Rejection: ``bad_conversation``, ``bad_field``, ``bad_text`` or ``bad_time``.
    """
    given_id = fields.get("id", row_id)
    if not isinstance(given_id, str | int) or isinstance(given_id, bool):
        raise Rejection("bad_field", f'"id" must be a string or a whole number, got {reprlib.repr(given_id)}')
    row_id = check_text(str(given_id))
    t_start, t_end = _time(fields, "t_start"), _time(fields, "t_end")
    if t_start is not None and t_end is not None and t_end < t_start:
        raise Rejection("bad_time", f"t_end {t_end} is before t_start {t_start}")
    evidence = _spans(fields.get("evidence") or fields.get("spans") or [])
    options = fields.get("options") or []
    if not isinstance(options, list):
        raise Rejection("bad_field", '"options" must be a list of strings')
    options = [_text(option, "options") for option in options]
    task_type = _text(fields.get("task_type") or ("multiple_choice" if options else "open"), "task_type")
    if "conversations" in fields:
        turns = _turns(fields["conversations"])
    elif "question" in fields or "answer" in fields:
        turns = [(_text(fields.get("question"), "question"), _text(fields.get("answer"), "answer"))]
    elif "caption" in fields:
        turns = [("", _text(fields["caption"], "caption"))]
        task_type = "caption"
    else:
        turns = []
    ids = [row_id] if len(turns) == 1 else [f"{row_id}#{turn}" for turn in range(len(turns))]
    named = fields.get("task_type")
    asked = [_with_options(question, answer, options) for question, answer in turns]
    return [
        QA(qa_id, question, answer, task_type if listed == options or named else "multiple_choice", *rest)
        for qa_id, (question, listed, answer) in zip(ids, asked, strict=True)
        for rest in [(listed, t_start, t_end, evidence)]
    ]


def _with_options(question: str, answer: str, options: list[str]) -> tuple[str, list[str], str]:
    """Options in the question's text are taken out of it where the row lists none."""
    found = None if options else split_choice(question, answer)
    return (question, options, answer) if found is None else found


def check_text(value: str) -> str:
    """Refuse halves of surrogate pairs, which JSON can escape but UTF-8 can't hold.

    Raises:
        Rejection: ``bad_text``.
    """
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise Rejection("bad_text", f"text that UTF-8 can't hold: {error.reason} at {error.start}") from error
    return value


def _turns(conversations: Any) -> list[tuple[str, str]]:
    """Question and answer of every turn, without the placeholders that say where a model sees the video."""
    said = conversations if isinstance(conversations, list) else []
    speakers = [turn.get("from") if isinstance(turn, dict) else None for turn in said]
    if not said or len(said) % 2 or speakers != ["human", "gpt"] * (len(said) // 2):
        got = reprlib.repr(speakers or conversations)
        raise Rejection("bad_conversation", f"expected human and gpt in turns, got {got}")
    texts = [_PLACEHOLDER.sub("\n", _text(turn.get("value"), "value")).strip() for turn in said]
    if not all(texts[1::2]):
        raise Rejection("bad_text", "an answer is empty")
    return list(zip(texts[::2], texts[1::2], strict=True))


def _time(fields: Mapping[str, Any], name: str) -> float | None:
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _LONGEST_S:
        raise Rejection("bad_time", f"{name} must be presentation seconds, got {reprlib.repr(value)}")
    return float(value)


def _spans(value: Any) -> list[list[float]]:
    spans = []
    for pair in value if isinstance(value, list) else [value]:
        moments = pair if isinstance(pair, list) and len(pair) == 2 else [None, None]
        start, end = (_time({"evidence": moment}, "evidence") for moment in moments)
        if start is None or end is None or end < start:
            got = reprlib.repr(value)
            raise Rejection("bad_time", f'"evidence" must be a list of [start, end] in seconds, got {got}')
        spans.append([start, end])
    return spans


def _text(value: Any, name: str) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value.strip():
        raise Rejection("bad_text", f'"{name}" must be text, got {reprlib.repr(value)}')
    return check_text(value)
