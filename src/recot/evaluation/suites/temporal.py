"""Temporal grounding: Charades-STA (arXiv 1705.02101) and the temporal part of V-STaR (arXiv 2503.11495)."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recot.errors import DataError
from recot.evaluation.aggregation import Summary, pooled, recall_at
from recot.evaluation.items import Item
from recot.evaluation.suites.base import VIDEO_SUFFIXES, Benchmark, Fields, Origin, annotated_span, require

IOUS = (0.3, 0.5, 0.7)
_CHARADES = Fields(texts=("video", "caption"), lists=("timestamp",))
_VSTAR = Fields(
    texts=("domain", "temporal_question"),
    numbers=("fps", "width", "height", "frame_count"),
    lists=("timestamps",),
    others=("vid", "question", "chain", "object", "answer"),
    optional=("bboxes", "spatial_question", "spatial_question_2"),
)
_TIME = r"(-?\d+(?:\.\d+)?)"
_LINE = re.compile(rf"(\S+)\s+{_TIME}\s+{_TIME}\s*##(.*)")
_RECALLS = {f"R1@{iou}": recall_at(iou) for iou in IOUS}


class CharadesSTA(Benchmark):
    """R@1 at IoU 0.3, 0.5 and 0.7, and mean IoU. A reply without a span has IoU 0.

    The annotations are the authors' text, a line a query, or rows with ``video``, ``caption`` and ``timestamp``.
    """

    name = "charades_sta"
    origin = Origin(
        source="https://github.com/jiyanggao/TALL, with the videos of https://prior.allenai.org/projects/charades",
        licence="Charades: non-commercial use only",
        layout="annotations: charades_sta_test.txt with lines `[video name] [start time] [end time]##[sentence]`, or a "
        "mirror's .json, .jsonl or .parquet file with video, caption, timestamp; "
        "videos: Charades_v1_480/ with <video name>.mp4, or with the files that the mirror names",
    )
    summary = Summary({"mIoU": pooled, **_RECALLS})

    def read(self) -> Iterator[Item]:
        """In the order of the file."""
        path = Path(self.annotations)
        rows = text_rows(path, self.origin) if path.suffix == ".txt" else self.rows(path, _CHARADES)
        for number, row in enumerate(rows, 1):
            yield Item(
                id=str(number - 1),
                video_id=row["video"],
                video=Path(self.videos) / row["video"],
                question=row["caption"],
                form="span",
                span=(moment := annotated_span(f"{path}, row {number}", row["timestamp"])),
                evidence=(moment,),
            )


class VStarTemporal(Benchmark):
    """R@1 at tIoU 0.3, 0.5 and 0.7, and mean tIoU, by domain and length. Its other questions are left out.

    2,094 samples in 9 domains, as the authors announced it (paper: arXiv 2503.11495); lengths as in their ``eval.py``.
    """

    name = "vstar"
    origin = Origin(
        source="https://huggingface.co/datasets/V-STaR-Bench/V-STaR",
        licence="see there; for research",
        layout="annotations: V_STaR_test.json; videos: the folder with <vid>.mp4, in it or in folders below",
    )
    summary = Summary({"mIoU": pooled, **_RECALLS}, ("domain", "duration"))

    def read(self) -> Iterator[Item]:
        """In the order of the file."""
        path = Path(self.annotations)
        videos = [file for file in sorted(Path(self.videos).rglob("*.*")) if file.suffix.lower() in VIDEO_SUFFIXES]
        # Of several, the last counts: .mp4, as the benchmark has it.
        files = {file.stem: file for file in sorted(videos, key=lambda file: file.suffix == ".mp4")}
        for number, row in enumerate(self.rows(path, _VSTAR), 1):
            where = f"{path}, row {number}"
            if not (row["frame_count"] > 0 and row["fps"] > 0):
                raise DataError(f"{where}: frame_count={row['frame_count']} and fps={row['fps']} should be above 0")
            seconds = round(row["frame_count"] / row["fps"], 2)
            length = "Short" if seconds < 60 else "Medium" if seconds < 180 else "Long"
            yield Item(
                id=str(number - 1),
                video_id=str(row["vid"]),
                video=files.get(str(row["vid"]), Path(self.videos) / f"{row['vid']}.mp4"),
                question=row["temporal_question"],
                form="two_times",
                span=(moment := annotated_span(where, row["timestamps"])),
                groups={"domain": (row["domain"],), "duration": (length,)},
                evidence=(moment,),
                duration_s=seconds,
            )


def text_rows(path: Path, origin: Origin) -> list[dict[str, Any]]:
    """The rows of Charades-STA's own file, whose lines are ``[video name] [start time] [end time]##[sentence]``.

    Source: https://github.com/jiyanggao/TALL, README.

    Raises:
        DataError: if it is absent or damaged.
    """
    require(path, origin)
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").split("\n") if line.strip()]
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is damaged: {error}. Get it again: {origin.source}") from error
    return [_text_row(f"{path}, row {number}", line, origin) for number, line in enumerate(lines, 1)]


def _text_row(where: str, line: str, origin: Origin) -> dict[str, Any]:
    found = _LINE.fullmatch(line)
    if found is None:
        raise DataError(
            f"{where}: expected `[video name] [start time] [end time]##[sentence]`, with times in seconds, got "
            f"{line!r:.100}. Get it again: {origin.source}"
        )
    video, start, end, sentence = found.groups()
    return {"video": f"{video}.mp4", "caption": sentence, "timestamp": [float(start), float(end)]}
