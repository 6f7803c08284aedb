"""LVBench (arXiv 2406.08035): questions about videos of an hour."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from recot.errors import DataError
from recot.evaluation.aggregation import Summary, pooled
from recot.evaluation.answers import LETTERS
from recot.evaluation.items import Item, Span
from recot.evaluation.suites.base import (
    Benchmark,
    Fields,
    Origin,
    option_by_letter,
    option_by_text,
    read_rows,
    texts,
    video_file,
    without_letters,
)

_INLINE = re.compile(r"\n\s*\(([A-Z])\)\s*")
_QA = Fields(texts=("question",), others=("answer", "question_type"), optional=("time_reference",))
_OWN_QA = replace(_QA, others=(*_QA.others, "uid"))
_OWN_VIDEO = Fields(texts=("key", "type"), lists=("qa",), optional=("video_info",))


class LVBench(Benchmark):
    """Pooled accuracy; a question may be of several types, and is in the table under each.

    The annotations are rows, or, as the authors publish them, videos with their questions, whose options stand in the
    question, and whose answers are letters. A mirror's answer that isn't a letter is the text of an option.
    """

    name = "lvbench"
    origin = Origin(
        source="https://huggingface.co/datasets/THUDM/LVBench",
        licence="CC-BY-NC-SA-4.0, academic research only",
        layout="annotations: video_info.meta.jsonl, or a mirror's .json, .jsonl or .parquet; "
        "videos: the folder with <key>.mp4, or with the files that the mirror names",
    )
    summary = Summary({"accuracy": pooled}, ("question_type", "type"))

    def read(self) -> Iterator[Item]:
        """In the order of the file."""
        path = Path(self.annotations)
        for number, row in enumerate(read_rows(path, self.origin), 1):
            where = f"{path}, row {number}"
            if "qa" not in row:
                yield self._mirrored(where, number, row)
                continue
            _OWN_VIDEO.check(where, row, self.ignore_fields)
            for i, qa in enumerate(row["qa"]):
                at = f"{where}, question {i}"
                _OWN_QA.check(at, qa, self.ignore_fields)
                asked = split_options(at, qa["question"])
                right = option_by_letter(at, asked[1], qa["answer"])
                yield self._item(at, str(qa["uid"]), row["key"], row["type"], qa, asked, right)

    def _mirrored(self, where: str, number: int, row: dict[str, Any]) -> Item:
        """Of mirrors: ``video`` and ``candidates``, or ``video_path`` and ``options``, with or without letters."""
        video, listed = ("video_path", "options") if "video_path" in row else ("video", "candidates")
        fields = replace(_QA, texts=(*_QA.texts, video, "type"), lists=(listed,), optional=("uid", *_QA.optional))
        fields.check(where, row, self.ignore_fields)
        options = texts(where, row[listed])
        is_letter = str(row["answer"]).strip() in [*LETTERS[: len(options)]]
        right = (option_by_letter if is_letter else option_by_text)(where, options, row["answer"])
        if all(option.startswith(f"({letter})") for letter, option in zip(LETTERS, options, strict=False)):
            options = without_letters(where, options)
        identity = str(number - 1 if row.get("uid") is None else row["uid"])
        asked = _INLINE.split(row["question"])[0], options
        return self._item(where, identity, row[video], row["type"], row, asked, right)

    def _item(
        self,
        where: str,
        identity: str,
        video: str,
        kind: str,
        qa: dict[str, Any],
        asked: tuple[str, tuple[str, ...]],
        right: int,
    ) -> Item:
        """``video`` may lack its ending; ``asked`` is the question with its options."""
        name = video if Path(video).suffix else f"{video}.mp4"
        return Item(
            id=identity,
            video_id=name,
            video=Path(self.videos) / video if name == video else video_file(self.videos, video),
            question=asked[0],
            form="letter",
            options=asked[1],
            right=right,
            groups={"question_type": question_types(where, qa["question_type"]), "type": (kind,)},
            evidence=time_reference(where, qa.get("time_reference")),
        )


def split_options(where: str, question: str) -> tuple[str, tuple[str, ...]]:
    """Question and options of a text such as ``Who runs?\\n(A) Ann\\n(B) Bob``.

    Raises:
        DataError: if the letters aren't A, B, ... in order.
    """
    text, *parts = _INLINE.split(question)
    letters, options = parts[::2], parts[1::2]
    if len(letters) < 2 or letters != [chr(ord("A") + i) for i in range(len(letters))]:
        raise DataError(f"{where}: no options (A), (B), ... in {question!r}")
    return text, tuple(option.strip() for option in options)


def question_types(where: str, value: Any) -> tuple[str, ...]:
    """One type, or a list of them.

    Raises:
        DataError: if it is something else.
    """
    types = value if isinstance(value, list) else [value]
    if not types or not all(isinstance(name, str) for name in types):
        raise DataError(f"{where}: question_type={value!r:.100} should be a text or a list of texts")
    return tuple(types)


def time_reference(where: str, text: Any) -> tuple[Span, ...]:
    """``01:02-01:10`` or ``1:00:05-1:00:09`` in seconds; nothing for None, or where it isn't two times in order.

    They are whole seconds: ``01:02-01:02`` is all of that second.

    Raises:
        DataError: if it is no text.
    """
    if text is not None and not isinstance(text, str):
        raise DataError(f"{where}: time_reference={text!r:.100} should be a text such as 01:02-01:10, or null")
    times = re.fullmatch(r"\s*([\d:]+)\s*-\s*([\d:]+)\s*", text or "")
    if times is None:
        return ()
    start, end = (_clock(part) for part in times.groups())
    return ((start, max(end, start + 1)),) if start <= end else ()


def _clock(text: str) -> float:
    seconds = 0
    for part in text.split(":"):
        seconds = seconds * 60 + int(part or 0)
    return float(seconds)
