"""``summary.json``: what went in, what was kept, and what was dropped for which reason. It completes an output."""

import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

from recot.atomic import write_file
from recot.errors import DataError

SUMMARY_NAME = "summary.json"


@dataclass(frozen=True)
class Tally:
    """Of videos, annotation rows, or questions."""

    input: int
    kept: int
    dropped: int

    def __post_init__(self) -> None:
        if self.input != self.kept + self.dropped:
            raise RuntimeError(f"lost count: {self.input} in, {self.kept} kept, {self.dropped} dropped")


@dataclass(frozen=True)
class Summary:
    """Counts of one run. A video with several reasons counts for each of them.

    Attributes:
        config_hash: see ``PruneConfig.hash``.
        input_hash: of the annotations and of the names, sizes and times of the videos.
        videos, rows, questions: questions of duplicates are kept, with the video that they are a copy of.
        splits: videos in ``train`` and, if there is one, ``val``.
        video_reasons, row_reasons: reason code -> count.
        ignored_files: files of a source folder that aren't videos by their extension.
    """

    config_hash: str
    input_hash: str
    videos: Tally
    rows: Tally
    questions: Tally
    splits: dict[str, int]
    video_reasons: dict[str, int]
    row_reasons: dict[str, int]
    ignored_files: int

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
            return cls(**{**data, **tallies})
        except (ValueError, TypeError, KeyError, RuntimeError) as error:
            raise DataError(f"{path} was not written by prune.py: {error}. Choose another output folder.") from error

    def table(self, output: Path) -> str:
        """The counts and where things are, as lines for a terminal."""
        lines = [f"{'':<28}{'input':>8}{'kept':>8}{'dropped':>8}"]
        for name in ("videos", "rows", "questions"):
            tally: Tally = getattr(self, name)
            if tally.input:
                label = {"rows": "annotation rows"}.get(name, name)
                lines.append(f"{label:<28}{tally.input:>8}{tally.kept:>8}{tally.dropped:>8}")
        for title, reasons in (("videos dropped", self.video_reasons), ("rows dropped", self.row_reasons)):
            for reason, count in sorted(reasons.items(), key=lambda item: (-item[1], item[0])):
                lines.append(f"  {title}: {reason:<34}{count:>6}")
        if self.ignored_files:
            lines.append(f"  files ignored, no video by extension: {self.ignored_files}")
        for split, count in self.splits.items():
            lines.append(f"{split} shards ({count} videos): {output / split}")
        lines.append(f"every check of every video: {output / 'audit.parquet'}")
        return "\n".join(lines)


def count_reasons(reasons: dict[str, list[str]]) -> dict[str, int]:
    """Reason code -> number of samples that have it, most frequent first."""
    return dict(Counter(reason for of_sample in reasons.values() for reason in of_sample).most_common())
