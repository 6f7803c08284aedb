"""LVBench (arXiv 2406.08035): questions about videos of an hour."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from recot.errors import DataError
from recot.evaluation.aggregation import Summary, pooled
from recot.evaluation.items import Item, Span
from recot.evaluation.suites.base import Benchmark, Fields, Origin, read_rows, right_option, texts

_INLINE = re.compile(r"\n\s*\(([A-Z])\)\s*")
_QA = Fields(texts=("question", "time_reference"), others=("answer", "question_type"))
_OWN_QA = replace(_QA, others=(*_QA.others, "uid"))
_OWN_VIDEO = Fields(texts=("key", "type"), lists=("qa",), optional=("video_info",))


class LVBench(Benchmark):
    """Pooled accuracy; a question may be of several types, and is in the table under each.

    The annotations are rows, or, as the authors publish them, videos with their questions, whose options stand in the
    question.
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
            if "qa" in row:
                _OWN_VIDEO.check(where, row, self.ignore_fields)
                for i, qa in enumerate(row["qa"]):
                    _OWN_QA.check(f"{where}, question {i}", qa, self.ignore_fields)
                    question, options = split_options(f"{where}, question {i}", qa["question"])
                    yield self._item(where, str(qa["uid"]), f"{row['key']}.mp4", row["type"], qa, question, options)
            else:
                yield self._row(where, number, row)

    def _row(self, where: str, number: int, row: dict[str, Any]) -> Item:
        """Of mirrors: ``video`` and ``candidates``, or ``video_path`` and ``options``."""
        video, options = ("video_path", "options") if "video_path" in row else ("video", "candidates")
        fields = replace(_QA, texts=(*_QA.texts, video, "type"), lists=(options,), optional=("uid",))
        fields.check(where, row, self.ignore_fields)
        identity = str(row.get("uid", number - 1))
        question = _INLINE.split(row["question"])[0]
        return self._item(where, identity, row[video], row["type"], row, question, texts(where, row[options]))

    def _item(
        self,
        where: str,
        identity: str,
        video: str,
        kind: str,
        qa: dict[str, Any],
        question: str,
        options: tuple[str, ...],
    ) -> Item:
        types = qa["question_type"]
        return Item(
            id=identity,
            video_id=video,
            video=Path(self.videos) / video,
            question=question,
            form="letter",
            options=options,
            right=right_option(where, options, qa["answer"]),
            groups={"question_type": tuple([types] if isinstance(types, str) else types), "type": (kind,)},
            evidence=time_reference(qa["time_reference"]),
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


def time_reference(text: str) -> tuple[Span, ...]:
    """``01:02-01:10`` or ``1:00:05-1:00:09`` in seconds; nothing where it isn't two times."""
    times = re.fullmatch(r"\s*([\d:]+)\s*-\s*([\d:]+)\s*", text)
    if times is None:
        return ()
    start, end = (_clock(part) for part in times.groups())
    return ((start, end),) if start <= end else ()


def _clock(text: str) -> float:
    seconds = 0
    for part in text.split(":"):
        seconds = seconds * 60 + int(part or 0)
    return float(seconds)
