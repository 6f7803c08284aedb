"""``summary.json``: what went in, what was kept, and what was dropped for which reason. It completes an output."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa

from data_pipelines.evaluation_sets import EvaluationSet
from recot.atomic import write_file
from recot.errors import DataError

SUMMARY_NAME = "summary.json"


@dataclass(frozen=True)
class Tally:
    """Of videos, annotation rows, or questions."""

    input: int
    kept: int
    dropped: int
    quarantined: int = 0

    def __post_init__(self) -> None:
        if self.input != self.kept + self.dropped + self.quarantined:
            raise RuntimeError(
                f"lost count: {self.input} in, {self.kept} kept, {self.dropped} dropped, {self.quarantined} quarantined"
            )


@dataclass(frozen=True)
class Summary:
    """Counts of one run. What has several reasons counts for each of them.

    Attributes:
        config_hash: see ``PruneConfig.hash``.
        input_hash: of the annotations and of the names, sizes and times of the videos.
        videos, rows, questions: questions that a kept copy took over are kept.
        splits: videos in ``train`` and, if there is one, ``val``; empty where no shards were written.
        video_reasons, question_reasons, row_reasons: reason code -> count.
        not_judged: rules whose signal wasn't measured, so that they dropped nothing.
        renamed_ids: questions whose id was used before, and got ``@2``, ``@3``, ... appended.
        ignored_files: files of a source folder that aren't videos by their extension.
        evaluation_sets: how much of each could be compared.
    """

    config_hash: str
    input_hash: str
    videos: Tally
    rows: Tally
    questions: Tally
    splits: dict[str, int]
    video_reasons: dict[str, int]
    question_reasons: dict[str, int]
    row_reasons: dict[str, int]
    not_judged: list[str]
    renamed_ids: int
    ignored_files: int
    evaluation_sets: list[EvaluationSet]

    def write(self, folder: Path) -> None:
        """Write ``summary.json`` into ``folder``; equal summaries give equal bytes."""
        write_file(folder / SUMMARY_NAME, (json.dumps(asdict(self), indent=2, sort_keys=True) + "\n").encode())

    @classmethod
    def read(cls, folder: Path) -> "Summary | None":
        """The summary in ``folder``, None if there is none.

        Raises:
            DataError: if the file there is something else.
        """
        path = folder / SUMMARY_NAME
        if not path.is_file():
            return None
        try:
            data = json.loads(path.read_bytes())
            tallies = {name: Tally(**data[name]) for name in ("videos", "rows", "questions")}
            sets = [EvaluationSet(**entry) for entry in data["evaluation_sets"]]
            return cls(**{**data, **tallies, "evaluation_sets": sets})
        except (ValueError, TypeError, KeyError, RuntimeError) as error:
            raise DataError(f"{path} was not written by prune.py: {error}. Choose another output folder.") from error

    def table(self, output: Path) -> str:
        """The counts and where things are, as lines for a terminal."""
        lines = [f"{'':<28}{'input':>8}{'kept':>8}{'dropped':>8}{'set aside':>11}"]
        for name in ("videos", "rows", "questions"):
            tally: Tally = getattr(self, name)
            if tally.input:
                label = {"rows": "annotation rows"}.get(name, name)
                counts = f"{tally.input:>8}{tally.kept:>8}{tally.dropped:>8}{tally.quarantined:>11}"
                lines.append(f"{label:<28}{counts}")
        for title, reasons in (
            ("videos", self.video_reasons),
            ("questions", self.question_reasons),
            ("rows", self.row_reasons),
        ):
            for reason, count in sorted(reasons.items(), key=lambda item: (-item[1], item[0])):
                lines.append(f"  {title} not kept: {reason:<34}{count:>6}")
        if self.not_judged:
            lines.append(f"  rules without a signal to judge: {', '.join(self.not_judged)}")
        if self.renamed_ids:
            lines.append(f"  questions renamed, their ids were used before: {self.renamed_ids}")
        if self.ignored_files:
            lines.append(f"  files ignored, no video by extension: {self.ignored_files}")
        lines += [f"  {entry.line()}" for entry in self.evaluation_sets]
        for split, count in self.splits.items():
            lines.append(f"{split} shards ({count} videos): {output / split}")
        lines.append(f"every check of every video and question: {output / 'audit.parquet'}")
        lines.append(f"to look at: {output / 'report.html'}")
        return "\n".join(lines)


def tally(decided: pa.Table) -> Tally:
    """Of a table with the column ``decision``."""
    counts = Counter(decided["decision"].to_pylist())
    return Tally(len(decided), counts["keep"], counts["drop"], counts["quarantine"])


def count_reasons(reasons: Iterable[list[str]]) -> dict[str, int]:
    """Reason code -> number of lists that have it, most frequent first."""
    return dict(Counter(reason for of_sample in reasons for reason in of_sample).most_common())
