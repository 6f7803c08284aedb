"""TempCompass (arXiv 2403.00476): choices, yes or no, matching captions. Captioning needs a judge: it is left out."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from recot.errors import DataError
from recot.evaluation.aggregation import Summary, mean_over, pooled
from recot.evaluation.answers import LETTERS, YES_NO
from recot.evaluation.items import Form, Item
from recot.evaluation.suites.base import (
    Benchmark,
    Fields,
    Origin,
    option_by_text,
    require,
    video_file,
    without_letter,
    without_letters,
)

_FIELDS = Fields(texts=("question", "answer"))
TASKS: dict[str, Form] = {"multi-choice": "letter", "yes_no": "yes_no", "caption_matching": "named"}


class TempCompass(Benchmark):
    """``macro`` is the mean over the three tasks. Tables by task, by temporal aspect, and by both.

    Clips that were made of others count as one video with them, see ``families``: how they are answered isn't
    independent.

    The official scorer asks an LLM about replies that its rules can't read; here they are wrong, as in its
    ``--disable_llm``.
    """

    name = "tempcompass"
    origin = Origin(
        source="https://github.com/llyx97/TempCompass",
        licence="see there; videos from ShutterStock, for research",
        layout="annotations: questions/ with multi-choice.json, yes_no.json and caption_matching.json; "
        "videos: videos/ with <video_id>.mp4",
    )
    summary = Summary({"macro": mean_over("task"), "accuracy": pooled}, ("task", "aspect", "task_aspect"))

    def template(self, item: Item) -> str:
        """Each task has a prompt of its own."""
        return f"{self.name}_{item.groups['task'][0]}"

    def read(self) -> Iterator[Item]:
        """Task by task, video by video."""
        asked = {task: self._asked(Path(self.annotations) / f"{task}.json") for task in TASKS}
        family = families(video for rows in asked.values() for video, _, _, _ in rows)
        for task, rows in asked.items():
            for video, aspect, number, row in rows:
                where = f"{Path(self.annotations) / task}.json, {video}, {aspect}, question {number}"
                _FIELDS.check(where, row, self.ignore_fields)
                item = self._item(where, task, f"{task}/{video}/{aspect}/{number}", video, aspect, row)
                yield replace(item, video_id=family[video])

    def _asked(self, path: Path) -> list[tuple[str, str, int, dict[str, Any]]]:
        require(path, self.origin)
        try:
            return [
                (video, aspect, number, row)
                for video, aspects in json.loads(path.read_text()).items()
                for aspect, rows in aspects.items()
                for number, row in enumerate(rows)
            ]
        except (ValueError, AttributeError, TypeError) as error:
            raise DataError(
                f"{path}: expected {{video: {{aspect: [questions]}}}} ({error}). Get it again: {self.origin.source}"
            ) from error

    def _item(self, where: str, task: str, identity: str, video: str, aspect: str, row: dict[str, Any]) -> Item:
        question, options, right = _parts(where, TASKS[task], row)
        return Item(
            id=identity,
            video_id=video,
            video=video_file(self.videos, video),
            question=question,
            form=TASKS[task],
            options=options,
            right=right,
            groups={"task": (task,), "aspect": (aspect,), "task_aspect": (f"{task}/{aspect}",)},
        )


def families(names: Iterable[str]) -> dict[str, str]:
    """Clips that share pixels: name -> the same for all of them.

    A clip that was made of others has their numbers in its name: ``1034419625_reverse``, or ``1060403198_1049965795_2``
    of two.
    """
    known = {name: re.findall(r"\d{5,}", name) or [name] for name in names}
    root: dict[str, str] = {}
    for numbers in known.values():
        joined = {root.get(number, number) for number in numbers}
        root |= {number: min(joined) for number in [*numbers, *(own for own, top in root.items() if top in joined)]}
    return {name: root[numbers[0]] for name, numbers in known.items()}


def _parts(where: str, form: Form, row: dict[str, Any]) -> tuple[str, tuple[str, ...], int]:
    """Question, options and the index of the right one.

    Options stand in the question, a line each; ``letter`` ones with ``A. `` before.
    """
    assert form in get_args(Form)
    if form == "yes_no":
        return row["question"], YES_NO, option_by_text(where, YES_NO, row["answer"].lower())
    question, *listed = (line.strip() for line in row["question"].split("\n"))
    if len(listed) < 2:
        raise DataError(f"{where}: no options below the question {row['question']!r}")
    if form == "named":
        return question, tuple(listed), option_by_text(where, listed, row["answer"])
    options = without_letters(where, listed)
    return question, options, _right(where, options, row["answer"])


def _right(where: str, options: Sequence[str], answer: str) -> int:
    """The option with the letter that an answer begins with, by which the official scorer goes, and with its text."""
    for i, (letter, option) in enumerate(zip(LETTERS, options, strict=False)):
        if answer.startswith(letter) and without_letter(where, letter, answer).strip() == option.strip():
            return i
    raise DataError(f"{where}: the answer {answer!r} is none of the options {list(options)}, by both letter and text")
