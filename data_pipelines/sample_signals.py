"""Questions on their way into a stage, and signals of questions on their way out, in a row of the ledger a video."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from data_pipelines.ledger import item_id
from data_pipelines.signals.signal import Signal
from data_pipelines.stage_worker import Item
from recot.data.schema import QA

_DESCRIBE = re.compile(r"\b(?:describe|description|captions?|summari[sz]e|summary)\b", re.IGNORECASE)
_SHORTEST_CAPTION = 8  # words
_ENDINGS = {"": pa.float64(), "_status": pa.string(), "_detail": pa.string()}


@dataclass(frozen=True)
class Question:
    """What the stages read of a ``QA``."""

    question: str
    answer: str
    options: list[str]
    task_type: str

    @property
    def is_caption(self) -> bool:
        """Whether the answer describes the video, so that there is nothing to guess.

        Known by its task type, by an empty question, or by a question that asks for a description and gets a long one.
        """
        long = len(self.answer.split()) >= _SHORTEST_CAPTION
        asked = long and not self.options and _DESCRIBE.search(self.question) is not None
        return self.task_type == "caption" or not self.question.strip() or asked


def text_item(media: str, questions: Sequence[QA], **more: float | int | None) -> Item:
    """Item of a stage that reads a video's questions: a video's scores are done anew if one of them changes.

    Args:
        media: the video's item of the stage ``media``.
        questions: all of the video, in order.
        more: numbers that the stage needs beside them; they follow from the media item, so the id leaves them out.
    """
    texts = [[qa.question, qa.answer, qa.task_type, *qa.options] for qa in questions]
    parts: list[str | int] = []
    for text in texts:
        parts += [len(text), *text]
    return {"id": item_id(media, *parts), "media": media, "texts": texts, **more}


def questions_of(item: Item) -> list[Question]:
    """The questions of a ``text_item``."""
    return [Question(question, answer, options, kind) for question, answer, kind, *options in item["texts"]]


def video_fields(names: Iterable[str]) -> list[pa.Field]:
    """Columns of signals of a video: value, status and detail of each."""
    return [pa.field(f"{name}{end}", kind) for name in names for end, kind in _ENDINGS.items()]


def sample_fields(names: Iterable[str]) -> list[pa.Field]:
    """Columns of signals of a video's questions: lists with an entry a question, in order."""
    return [pa.field(field.name, pa.list_(field.type)) for field in video_fields(names)]


def video_values(signals: Mapping[str, Signal]) -> dict[str, Any]:
    """Values for ``video_fields``."""
    found: dict[str, Any] = {}
    for name, signal in signals.items():
        found |= {name: signal.value, f"{name}_status": signal.status, f"{name}_detail": signal.detail}
    return found


def sample_values(names: Iterable[str], questions: Sequence[Mapping[str, Signal]]) -> dict[str, Any]:
    """Values for ``sample_fields``, of each question's signals by name."""
    rows = [video_values(signals) for signals in questions]
    return {field.name: [row[field.name] for row in rows] for field in video_fields(names)}


def video_columns(rows: pa.Table, names: Iterable[str], items: Sequence[str | None]) -> pa.Table:
    """A row a video, with value, status and detail of each signal.

    Args:
        rows: of the ledger, with the columns ``id``, ``error_reason`` and ``video_fields(names)``.
        names: signals.
        items: the item of each video; None where there is none. Where it has no result, the status is ``error``.
    """
    found = _of_items(rows, items)
    lost = {"": None, "_status": "error", "_detail": found["error_reason"]}
    return pa.table(
        {
            name + ending: found[name + ending] if ending == "" else pc.coalesce(found[name + ending], lost[ending])
            for name in names
            for ending in _ENDINGS
        }
    )


def sample_columns(
    rows: pa.Table, names: Iterable[str], items: Sequence[str | None], counts: Sequence[int]
) -> pa.Table:
    """A row a question, with value, status and detail of each signal.

    Args:
        rows: of the ledger, with the columns ``id``, ``error_reason`` and ``sample_fields(names)``.
        names: signals.
        items: as for ``video_columns``.
        counts: questions of each video.

    Raises:
        ValueError: if a video has scores of another number of questions.
    """
    found = _of_items(rows, items)
    reasons = found["error_reason"].to_pylist()
    columns = {}
    for name in names:
        for ending, kind in _ENDINGS.items():
            values: list[Any] = []
            for scores, reason, count in zip(found[name + ending].to_pylist(), reasons, counts, strict=True):
                lost = {"": None, "_status": "error", "_detail": reason}[ending]
                values += [lost] * count if scores is None else scores
            columns[name + ending] = pa.array(values, kind)
    if any(len(column) != sum(counts) for column in columns.values()):
        raise ValueError(f"{len(next(iter(columns.values())))} scores for {sum(counts)} questions")
    return pa.table(columns)


def _of_items(rows: pa.Table, items: Sequence[str | None]) -> pa.Table:
    return rows.take(pc.index_in(pa.array(items, pa.string()), value_set=rows["id"].combine_chunks(), skip_nulls=True))
