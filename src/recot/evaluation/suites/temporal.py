"""Temporal grounding: Charades-STA (arXiv 1705.02101) and the temporal part of V-STaR (arXiv 2503.11495)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recot.errors import DataError
from recot.evaluation.aggregation import Summary, pooled, recall_at
from recot.evaluation.items import Item, Span
from recot.evaluation.suites.base import Benchmark, Fields, Origin

IOUS = (0.3, 0.5, 0.7)
_CHARADES = Fields(texts=("video", "caption"), lists=("timestamp",))
_VSTAR = Fields(
    texts=("domain", "temporal_question"),
    numbers=("fps", "width", "height", "frame_count"),
    lists=("timestamps",),
    others=("vid", "question", "chain", "object", "answer"),
    optional=("bboxes", "spatial_question", "spatial_question_2"),
)
_RECALLS = {f"R1@{iou}": recall_at(iou) for iou in IOUS}


class CharadesSTA(Benchmark):
    """R@1 at IoU 0.3, 0.5 and 0.7, and mean IoU. A reply without a span has IoU 0."""

    name = "charades_sta"
    origin = Origin(
        source="https://github.com/jiyanggao/TALL, with the videos of https://prior.allenai.org/projects/charades",
        licence="Charades: non-commercial use only",
        layout="annotations: a .json, .jsonl or .parquet file with video, caption, timestamp; "
        "videos: Charades_v1_480/ with the files that it names",
    )
    summary = Summary({"mIoU": pooled, **_RECALLS})

    def read(self) -> Iterator[Item]:
        """In the order of the file."""
        path = Path(self.annotations)
        for number, row in enumerate(self.rows(path, _CHARADES), 1):
            yield Item(
                id=str(number - 1),
                video_id=row["video"],
                video=Path(self.videos) / row["video"],
                question=row["caption"],
                form="span",
                span=(moment := _span(f"{path}, row {number}", row["timestamp"])),
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
        files = {file.stem: file for file in sorted(Path(self.videos).rglob("*.mp4"))}
        for number, row in enumerate(self.rows(path, _VSTAR), 1):
            seconds = round(row["frame_count"] / row["fps"], 2)
            length = "Short" if seconds < 60 else "Medium" if seconds < 180 else "Long"
            yield Item(
                id=str(number - 1),
                video_id=str(row["vid"]),
                video=files.get(str(row["vid"]), Path(self.videos) / f"{row['vid']}.mp4"),
                question=row["temporal_question"],
                form="span",
                span=(moment := _span(f"{path}, row {number}", row["timestamps"])),
                groups={"domain": (row["domain"],), "duration": (length,)},
                evidence=(moment,),
                duration_s=seconds,
            )


def _span(where: str, value: Any) -> Span:
    if not isinstance(value, list) or len(value) != 2 or not all(isinstance(v, int | float) for v in value):
        raise DataError(f"{where}: expected [start, end] in seconds, got {value!r}")
    start, end = float(value[0]), float(value[1])
    if start > end:
        raise DataError(f"{where}: the span {value} ends before it starts")
    return start, end
