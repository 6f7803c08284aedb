"""VNBench (arXiv 2406.09367): needles put into videos; a question is asked 4 times, its options in other orders."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from recot.errors import DataError
from recot.evaluation.aggregation import Summary, circular, mean_over, pooled
from recot.evaluation.items import Item
from recot.evaluation.suites.base import Benchmark, Fields, Origin, right_option, texts

TRIES = 4
_FIELDS = Fields(
    texts=("video", "question", "type"),
    numbers=("try",),
    lists=("options",),
    others=("gt",),
    optional=("needle_time", "gt_option", "length"),
)


class VNBench(Benchmark):
    """``circular``, what VNBench ranks by: all 4 tries right, the mean over types; also single tries."""

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
        tries: dict[str, list[int]] = defaultdict(list)
        for number, row in enumerate(self.rows(path, _FIELDS), 1):
            where = f"{path}, row {number}"
            options = texts(where, row["options"])
            video = row["video"].lstrip("./")
            question = f"{row['type']}/{video}/{row['question']}"
            tries[question].append(int(row["try"]))
            yield Item(
                id=f"{question}#{row['try']}",
                video_id=video,
                video=Path(self.videos) / video,
                question=row["question"],
                form="letter",
                options=options,
                right=right_option(where, options, row["gt"]),
                groups={"type": (row["type"],), "question": (question,)},
            )
        for question, own in tries.items():
            if len(own) != TRIES:
                raise DataError(f"{path}: {question} is asked {len(own)} times, but every question of VNBench {TRIES}")
