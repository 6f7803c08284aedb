"""Examples: one video or question with a few of its frames, its texts, and the values that decided about it."""

import unicodedata
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_pipelines.report.charts import number
from data_pipelines.report.facts import CheckFacts
from data_pipelines.report.pictures import Pictures

_LONGEST_TEXT = 280  # characters
_LONGEST_NAME = 90
_LISTED = 6
"""Questions of a video, or options of a question, that are listed."""


@dataclass(frozen=True)
class Card:
    """What is shown of a video or a question; texts are as the input has them, and must be escaped.

    Attributes:
        title: id of the video, or of the question.
        strip: ``data:`` URI of some frames, or None.
        facts: label and value.
        texts: questions with their answers, or what went wrong.
    """

    title: str
    strip: str | None
    facts: list[tuple[str, str]]
    texts: list[str]


class Cards:
    """Makes the cards of videos and questions.

    Args:
        videos: all videos.
        samples: all questions.
        pictures: gives the frames.
    """

    def __init__(self, videos: pa.Table, samples: pa.Table, pictures: Pictures) -> None:
        self._videos = videos
        self._samples = samples
        self._pictures = pictures
        owner = pc.index_in(samples["video_id"], value_set=videos["video_id"])
        self._owner = pc.fill_null(owner, -1).to_numpy().astype(np.int64)

    def make(self, kind: str, row: int, check: CheckFacts | None = None) -> Card:
        """The card of a row of ``videos`` or ``questions``, with what ``check`` is about."""
        film = row if kind == "videos" else int(self._owner[row])
        video = _row(self._videos, film)
        title, texts = clean(video["video_id"], _LONGEST_NAME), []
        facts = [("video", title)] if kind == "questions" else []
        if kind == "questions":
            sample = _row(self._samples, row)
            title = clean(sample["sample_id"], _LONGEST_NAME)
            texts.append(_asked(sample))
        else:
            sample = {}
            asked = np.flatnonzero(self._owner == row)[:_LISTED].tolist()
            texts += [_asked(_row(self._samples, place)) for place in asked[:2]]
        if check is not None:
            facts += _measured({**video, **sample}, check.signal)
        facts += _format(video)
        if video.get("error_detail"):
            texts.insert(0, clean(video["error_detail"], _LONGEST_TEXT))
        return Card(title, self._pictures.of(video["video_id"], _aspect(video)), facts, texts)


def clean(text: Any, longest: int) -> str:
    """A text of the input on one line, and cut."""
    words = " ".join(without_controls(str(text)[: 4 * longest]).split())
    return words if len(words) <= longest else words[: longest - 1] + "…"


def without_controls(text: str) -> str:
    """A text without control characters, some of which would turn the words around it; line ends stay."""
    return "".join(" " if unicodedata.category(s) in ("Cc", "Cf", "Cs") and s != "\n" else s for s in text)


def _row(table: pa.Table, row: int) -> dict[str, Any]:
    heavy = ("hashes", "mirrored_hashes", "hash_times_s", "embeddings", "missing_frames")
    names = [name for name in table.column_names if name not in heavy]
    return dict(table.select(names).slice(row, 1).to_pylist()[0])


def _measured(row: dict[str, Any], signal: str) -> list[tuple[str, str]]:
    value, status, detail = (row.get(f"{signal}{end}") for end in ("", "_status", "_detail"))
    found = []
    if isinstance(value, int | float):
        found.append((signal, number(value)))
    elif status is not None:
        found.append((signal, str(status)))
    return found + ([("detail", clean(detail, _LONGEST_NAME))] if detail else [])


def _format(video: dict[str, Any]) -> list[tuple[str, str]]:
    parts = []
    if video.get("media_duration_s") is not None:
        parts.append(f"{number(video['media_duration_s'])} s")
    if video.get("width") and video.get("height"):
        parts.append(f"{video['width']}x{video['height']}")
    if video.get("codec"):
        parts.append(clean(video["codec"], _LONGEST_NAME))
    return [("format", ", ".join(parts))] if parts else []


def _aspect(video: dict[str, Any]) -> float | None:
    width, height = video.get("width"), video.get("height")
    return width / height if width and height else None


def _asked(sample: dict[str, Any]) -> str:
    options = [clean(option, _LONGEST_NAME) for option in (sample.get("options") or [])[:_LISTED]]
    words = [
        clean(sample.get("question") or "(caption)", _LONGEST_TEXT),
        *(["[" + " / ".join(options) + "]"] if options else []),
    ]
    return " ".join([*words, "→", clean(sample.get("answer") or "", _LONGEST_TEXT)])
