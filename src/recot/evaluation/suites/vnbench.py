"""VNBench (arXiv 2406.09367): needles put into videos; a question is asked 4 times, its options in other orders."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from recot.errors import DataError
from recot.evaluation.aggregation import Summary, circular, mean_over, pooled
from recot.evaluation.items import Item
from recot.evaluation.suites.base import Benchmark, Fields, Origin, equal_options, texts

TRIES = 4
_NEEDLE = re.compile(r"_(ret|ord|cnt)_(edit|insert)\d*\.\w+$")
_FIELDS = Fields(
    texts=("video", "question", "type"),
    numbers=("try",),
    lists=("options",),
    others=("gt",),
    optional=("needle_time", "gt_option", "length"),
)


class VNBench(Benchmark):
    """``circular``, what VNBench ranks by: all 4 tries right, the mean over types; also single tries.

    ``try`` is 0 to 3, each with the options in an order of its own, see ``circular_tries``.

    Videos that are one haystack with other needles count as one video, see ``haystack``: how they are answered isn't
    independent.
    """

    name = "vnbench"
    origin = Origin(
        source="https://huggingface.co/datasets/Joez1717/VNBench",
        licence="academic research only",
        layout="annotations: VNBench-main-4try.json; videos: the folder that its `video` is relative to",
    )
    summary = Summary(
        {"circular": circular("question", TRIES, "type"), "macro": mean_over("type"), "accuracy": pooled}, ("type",)
    )

    def read(self) -> Iterator[Item]:
        """In the order of the file."""
        path = Path(self.annotations)
        tries: dict[str, list[tuple[str, ...]]] = defaultdict(list)
        for number, row in enumerate(self.rows(path, _FIELDS), 1):
            where = f"{path}, row {number}"
            options = texts(where, row["options"])
            video = row["video"].lstrip("./")
            question = f"{row['type']}/{video}/{row['question']}"
            if row["try"] not in range(TRIES) or not isinstance(row["try"], int):
                raise DataError(f"{where}: try={row['try']!r} should be a whole number from 0 to {TRIES - 1}")
            tries[question].append(options)
            yield Item(
                id=f"{question}#{row['try']}",
                video_id=haystack(video),
                video=Path(self.videos) / video,
                question=row["question"],
                form="letter",
                options=options,
                right=right_option(where, options, row),
                groups={"type": (row["type"],), "question": (question,)},
            )
        circular_tries(path, tries)


def haystack(video: str) -> str:
    """The video that needles were put into: ``video9`` of ``video9_ret_edit1.mp4`` and of ``video9_cnt_edit2.mp4``.

    Names of another kind are returned as they are.
    """
    return _NEEDLE.sub("", Path(video).name) if _NEEDLE.search(video) else video


def circular_tries(path: Path, tries: Mapping[str, Sequence[tuple[str, ...]]]) -> None:
    """Refuse questions that aren't asked in 4 tries, or always with the options in the same order.

    Args:
        path: of the annotations.
        tries: question -> the options of each try. That shuffling gives an order twice is no mistake; 4 times, it is.

    Raises:
        DataError: naming the question.
    """
    for question, own in tries.items():
        if len(own) != TRIES:
            raise DataError(f"{path}: {question} is asked {len(own)} times, but every question of VNBench {TRIES}")
        if len(set(own)) == 1:
            raise DataError(f"{path}: {question} has its options in the same order in all {TRIES} tries, {own[0]}")


def right_option(where: str, options: Sequence[str], row: Mapping[str, Any]) -> int:
    """The index of the option ``gt``: of equal ones that of ``gt_option``, or without it the first.

    The first is what ``llava_examples/model_video_niah.py`` of https://github.com/joez17/VideoNIAH takes. ``gt_option``
    is a letter, or a number from 0 on as in its ``evaluation/eval.py``.

    Raises:
        DataError: if no option is ``gt``, or if ``gt_option`` is another one.
    """
    same = equal_options(options, row["gt"])
    if not same:
        raise DataError(f"{where}: the answer {row['gt']!r} is none of the options {list(options)}")
    named = row.get("gt_option")
    if named is None:
        return same[0]
    for i in same:
        if named in (chr(ord("A") + i), i):
            return i
    raise DataError(f"{where}: gt_option={named!r:.100} is not the option gt={row['gt']!r} among {list(options)}")
