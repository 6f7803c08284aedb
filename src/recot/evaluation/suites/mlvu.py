"""MLVU (arXiv 2406.04264): the multiple-choice tasks of its dev and its test set."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from recot.errors import DataError
from recot.evaluation.aggregation import Summary, mean_over, pooled
from recot.evaluation.items import Item
from recot.evaluation.suites.base import Benchmark, Fields, Origin, equal_options, option_by_letter, require, texts

_LICENCE = "CC-BY-NC-SA-4.0, for research only"
_DEV_TASKS = ("plotQA", "needle", "ego", "count", "order", "anomaly_reco", "topic_reasoning")
DEV_FILES = tuple(f"{number}_{task}" for number, task in enumerate(_DEV_TASKS, 1))
_DEV_FIELDS = Fields(
    texts=("video", "question", "question_type"), numbers=("duration",), lists=("candidates",), others=("answer",)
)
_MIRROR_FIELDS = Fields(
    texts=("video_name", "question", "task_type"),
    lists=("candidates",),
    others=("answer",),
    optional=("duration", "question_id"),
)
_TEST_FIELDS = Fields(
    texts=("video", "question", "question_type", "question_id"),
    lists=("candidates",),
    others=("answer",),
    optional=("duration",),
)
_WITH_UNANSWERABLE = "2_needle"
_INLINE_OPTIONS = re.compile(r"\n\s*\(A\) .*", re.DOTALL)
_SUMMARY = Summary({"m_avg": mean_over("task"), "accuracy": pooled}, ("task",))


class MLVUDev(Benchmark):
    """Seven tasks. ``m_avg``, the mean over tasks, is what MLVU ranks by; ``accuracy`` pools. Publications mix them.

    In the files as they were at first, two answers of the needle task are not among the candidates (``unanswerable``):
    no reply is right, as in MLVU's own scorer; and a row of the topic task is empty, which is left out. Of equal
    candidates, the last is right, see ``last_option``. A mirror in one file has letters for answers, so that nothing is
    unanswerable, and the options in the question once more.
    """

    name = "mlvu_dev"
    origin = Origin(
        source="https://huggingface.co/datasets/MLVU/MVLU",
        licence=_LICENCE,
        layout="annotations: the folder json/ with 1_plotQA.json to 7_topic_reasoning.json, or a mirror's one file; "
        "videos: the folder video/ with 1_plotQA/ to 7_topic_reasoning/, for a mirror without these",
    )
    summary = _SUMMARY

    @property
    def uncounted(self) -> tuple[str, ...]:
        """A mirror's letters don't tell which questions are ``unanswerable``."""
        return () if Path(self.annotations).is_dir() else ("unanswerable",)

    def read(self) -> Iterator[Item]:
        """Task by task."""
        path = Path(self.annotations)
        require(path, self.origin)
        yield from self._own_files(path) if path.is_dir() else self._mirror(path)

    def _own_files(self, folder: Path) -> Iterator[Item]:
        for name in DEV_FILES:
            path = folder / f"{name}.json"
            for number, row in enumerate(self.rows(path, _DEV_FIELDS), 1):
                where = f"{path}, row {number}"
                options = texts(where, row["candidates"])
                if not "".join((row["question"], *options)).strip():
                    continue
                right = last_option(options, row["answer"])
                if right is None and name != _WITH_UNANSWERABLE:
                    raise DataError(f"{where}: the answer {row['answer']!r} is none of the candidates {list(options)}")
                yield _item(
                    identity=f"{name}/{number - 1}",
                    video_id=row["video"],  # some videos lie in the folders of two tasks
                    video=Path(self.videos) / name / row["video"],
                    row=row,
                    question=row["question"],
                    options=options,
                    right=right,
                    task=row["question_type"],
                )

    def _mirror(self, path: Path) -> Iterator[Item]:
        for number, row in enumerate(self.rows(path, _MIRROR_FIELDS), 1):
            where = f"{path}, row {number}"
            options = texts(where, row["candidates"])
            yield _item(
                identity=f"{row['task_type']}/{number - 1}",
                video_id=row["video_name"],
                video=Path(self.videos) / row["video_name"],
                row=row,
                question=_INLINE_OPTIONS.sub("", row["question"]),
                options=options,
                right=option_by_letter(where, options, row["answer"]),
                task=row["task_type"],
            )


class MLVUTest(Benchmark):
    """Nine tasks of 6 options, with letters A to F.

    502 questions, by the ids of the authors' example of a submission (https://github.com/JUNJIE99/MLVU,
    ``evaluation_test/test_res.json``): count 60, ego 53, needleQA 60, order 70, plotQA 50, anomaly_reco 39,
    topic_reasoning 91, sportsQA 36, tutorialQA 43. An answer is the text of a candidate, the last one of equal ones
    (see ``last_option``), or else a letter.
    """

    name = "mlvu_test"
    origin = Origin(
        source="https://huggingface.co/datasets/MLVU/MLVU_Test",
        licence=_LICENCE,
        layout="annotations: test-ground-truth/test_mcq_gt.json; videos: the folder with its test videos",
    )
    summary = _SUMMARY

    def read(self) -> Iterator[Item]:
        """In the order of the file."""
        path = Path(self.annotations)
        for number, row in enumerate(self.rows(path, _TEST_FIELDS), 1):
            where = f"{path}, row {number}"
            options = texts(where, row["candidates"])
            if len(options) != 6:
                raise DataError(f"{where}: {len(options)} candidates, but every question of MLVU's test set has 6")
            right = last_option(options, row["answer"])
            yield _item(
                identity=row["question_id"],
                video_id=row["video"],
                video=Path(self.videos) / row["video"],
                row=row,
                question=row["question"],
                options=options,
                right=option_by_letter(where, options, row["answer"]) if right is None else right,
                task=row["question_type"],
            )


def last_option(options: Sequence[str], answer: Any) -> int | None:
    """The index of the option with the text of an answer: of equal ones the last, as in MLVU's own scripts; else None.

    Source: ``qa_template`` in https://github.com/JUNJIE99/MLVU, ``videochat2/choice_bench.py``.
    """
    same = equal_options(options, answer)
    return same[-1] if same else None


def _item(
    *,
    identity: str,
    video_id: str,
    video: Path,
    row: dict[str, Any],
    question: str,
    options: tuple[str, ...],
    right: int | None,
    task: str,
) -> Item:
    duration = row.get("duration")
    return Item(
        id=identity,
        video_id=video_id,
        video=video,
        question=question,
        form="letter",
        options=options,
        right=right,
        groups={"task": (task,)},
        duration_s=float(duration) if isinstance(duration, int | float) else None,
    )
