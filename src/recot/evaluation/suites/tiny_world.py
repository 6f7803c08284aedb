"""The tiny world: multiple-choice questions about rendered videos whose every second is known."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recot.errors import DataError
from recot.evaluation.aggregation import Summary, mean_over, pooled
from recot.evaluation.items import Item
from recot.evaluation.suites.base import Benchmark, Fields, Origin, annotated_span, option_by_text, require, texts
from recot.tiny_world.truth import TWIN

_TRUTH = Fields(
    texts=("video", "video_id", "sha256", "caption"),
    numbers=("seed", "frames", "size", "fps", "duration_s"),
    lists=("captions", "events", "qa"),
    others=("twin",),
)
_QA = Fields(
    texts=("sample_id", "question", "answer", "task_type"),
    numbers=("t_start", "t_end"),
    lists=("options", "evidence"),
)


class TinyWorld(Benchmark):
    """A folder of ``python -m recot.tiny_world``: ``annotations`` and ``videos`` are both its ``videos/``.

    Twins count as one video: they share all but what is asked, so how they are answered isn't independent.
    """

    name = "tiny_world"
    origin = Origin(
        source="`python -m recot.tiny_world --out DIR --videos N --frames F --seed S --split test`",
        licence="CC0-1.0",
        layout="annotations: DIR/videos with <number>.json; videos: the same folder, with <number>.mp4",
    )
    summary = Summary({"macro": mean_over("task"), "accuracy": pooled}, ("task",))

    def read(self) -> Iterator[Item]:
        """Questions with options, video by video."""
        folder = Path(self.annotations)
        require(folder, self.origin)
        for path in sorted(folder.glob("*.json")):
            try:
                truth = json.loads(path.read_text())
            except ValueError as error:
                raise DataError(f"{path} is damaged: {error}. Make the folder again: {self.origin.source}") from error
            if not isinstance(truth, dict):  # such as the annotations.json one folder above
                raise DataError(f"{path} isn't the truth of a video. Wanted: {self.origin.layout}")
            _TRUTH.check(str(path), truth, self.ignore_fields)
            for number, qa in enumerate(truth["qa"], 1):
                where = f"{path}, question {number}"
                _QA.check(where, qa, self.ignore_fields)
                if qa["options"]:
                    yield self._item(where, truth, qa)

    def _item(self, where: str, truth: dict[str, Any], qa: dict[str, Any]) -> Item:
        options = texts(where, qa["options"])
        if len(set(options)) < len(options):
            raise DataError(f"{where}: an option occurs twice in {list(options)}. Make the folder again.")
        return Item(
            id=qa["sample_id"],
            video_id=truth["video_id"].removesuffix(TWIN),
            video=Path(self.videos) / truth["video"],
            question=qa["question"],
            form="letter",
            options=options,
            right=option_by_text(where, options, qa["answer"]),
            groups={"task": (qa["task_type"],)},
            evidence=tuple(annotated_span(f"{where}, evidence", span) for span in qa["evidence"]),
            duration_s=float(truth["duration_s"]),
        )
