"""LongVideoBench (arXiv 2407.15754), validation set, with or without subtitles."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from recot.errors import DataError
from recot.evaluation.aggregation import Summary, pooled
from recot.evaluation.items import Item, Subtitle
from recot.evaluation.subtitles import read_longvideobench
from recot.evaluation.suites.base import Fields, Origin, SubtitledBenchmark, require, texts

_MIRROR_OPTIONS = tuple(f"option{i}" for i in range(5))
_FIELDS = Fields(
    texts=(
        *("video_id", "question", "question_wo_referring_query", "topic_category", "question_category", "level", "id"),
        *("video_path", "subtitle_path"),
    ),
    numbers=("correct_choice", "duration_group", "starting_timestamp_for_subtitles", "duration"),
    lists=("candidates",),
    optional=("position", "view_count"),
)
_MIRROR_FIELDS = replace(_FIELDS, texts=(*_FIELDS.texts, *_MIRROR_OPTIONS), lists=())
_PADDING = "N/A"


class LongVideoBench(SubtitledBenchmark):
    """1,337 questions, pooled; tables by duration (15, 60, 600, 3600 s) and kind of question."""

    name = "longvideobench"
    origin = Origin(
        source="https://huggingface.co/datasets/longvideobench/LongVideoBench (gated)",
        licence="CC-BY-NC-SA-4.0",
        layout="annotations: lvb_val.json or validation-00000-of-00001.parquet; videos: videos/; "
        "subtitle_folder: subtitles/",
    )
    summary = Summary({"accuracy": pooled}, ("duration", "question_category", "level"))

    def read(self) -> Iterator[Item]:
        """In the order of the file."""
        path = Path(self.annotations)
        fields = _MIRROR_FIELDS if path.suffix == ".parquet" else _FIELDS
        for number, row in enumerate(self.rows(path, fields), 1):
            where = f"{path}, row {number}"
            options = _options(where, row)
            right = row["correct_choice"]
            if not isinstance(right, int) or not 0 <= right < len(options):
                raise DataError(f"{where}: correct_choice={right!r} is none of the {len(options)} options")
            yield Item(
                id=row["id"],
                video_id=row["video_id"],
                video=Path(self.videos) / row["video_path"],
                question=row["question"],
                form="letter",
                options=options,
                right=right,
                groups={
                    "duration": (str(row["duration_group"]),),
                    "question_category": (row["question_category"],),
                    "level": (row["level"],),
                },
                subtitles=self._subtitles(row) if self.subtitles else (),
                duration_s=float(row["duration"]),
            )

    def _subtitles(self, row: dict[str, Any]) -> tuple[Subtitle, ...]:
        path = Path(self.subtitle_folder) / row["subtitle_path"]
        require(path, self.origin)
        return read_longvideobench(path, float(row["starting_timestamp_for_subtitles"]), float(row["duration"]))


def _options(where: str, row: dict[str, Any]) -> tuple[str, ...]:
    if "candidates" in row:
        return texts(where, row["candidates"])
    given = [row[name] for name in _MIRROR_OPTIONS]
    options = [option for option in given if option != _PADDING]
    if given[: len(options)] != options:
        raise DataError(f"{where}: {_PADDING} stands before an option, but should pad the end: {given}")
    return tuple(options)
