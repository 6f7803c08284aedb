"""The evaluation sets that a corpus is compared with: how they are read, and how much of them can be compared."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import pyarrow as pa

from data_pipelines.ingest.records import Records
from recot.data.schema import VIDEO_EXTENSIONS
from recot.errors import DataError

_COLUMNS = ("video_id", "error_reason")


@dataclass(frozen=True)
class EvaluationSet:
    """How much of one entry of ``evaluation_sets`` can be compared.

    Attributes:
        source: the entry.
        videos: that it names.
        compared: those of them that decode, or whose file name is that of one that does in an entry of videos alone.
        not_compared: ``error_reason`` -> count of the other videos.
        questions: whose texts are compared, whether or not there are videos.
        rejected_rows: reason code -> count of rows that can't be used.
    """

    source: str
    videos: int
    compared: int
    not_compared: dict[str, int]
    questions: int
    rejected_rows: dict[str, int]

    def line(self) -> str:
        """The counts as a line for people; it begins with ``warning`` where something is left out."""
        lost = [f"{count} x {reason}" for reason, count in (self.not_compared | self.rejected_rows).items()]
        line = f"compared with {self.source}: {self.compared} of {self.videos} videos, {self.questions} questions"
        return f"warning: {line}; can't be read: {', '.join(lost)}" if lost else line


def read_evaluation_sets(sources: Sequence[str], read: Callable[[str], Records]) -> list[Records]:
    """What each source holds, as ``read`` tells.

    Raises:
        DataError: as ``read`` does, but naming ``evaluation_sets``.
    """
    found = []
    for source in sources:
        try:
            found.append(read(source))
        except DataError as error:
            # Readers say which key the path is from, and there is but one that they know.
            raise DataError(str(error).replace("source=", "evaluation_sets=")) from error
    return found


def count_compared(
    sources: Sequence[str], records: Sequence[Records], videos: Sequence[pa.Table]
) -> list[EvaluationSet]:
    """How much of each evaluation set can be compared.

    Args:
        sources: the entries.
        records: what each holds.
        videos: of each, ``video_id`` and ``error_reason``, null for a video that decodes.

    Raises:
        DataError: if none of the videos of a set can be compared.
    """
    asked = [sum(len(video.qa) for video in record.videos) for record in records]
    failed = [dict(zip(*(table[name].to_pylist() for name in _COLUMNS), strict=True)) for table in videos]
    alone = [of_set for of_set, questions in zip(failed, asked, strict=True) if not questions]
    there = {_name(video) for of_set in alone for video, reason in of_set.items() if reason is None}
    counts = []
    for source, record, questions, of_set in zip(sources, records, asked, failed, strict=True):
        lost = {video: why for video, why in of_set.items() if why and not (questions and _name(video) in there)}
        reasons = dict(Counter(lost.values()))
        if lost and len(lost) == len(of_set):
            raise _nothing_to_compare(source, next(iter(lost)), reasons)
        rejected = dict(Counter(row.reason for row in record.rejected))
        counts.append(EvaluationSet(source, len(of_set), len(of_set) - len(lost), reasons, questions, rejected))
    return counts


def _name(video_id: str) -> str:
    """Of the file, without an extension of ours: annotations often leave out both folder and extension."""
    path = PurePosixPath(video_id)
    return path.stem if path.suffix.removeprefix(".").lower() in VIDEO_EXTENSIONS else path.name


def _nothing_to_compare(source: str, first: str, reasons: dict[str, int]) -> DataError:
    counted = ", ".join(f"{count} x {reason}" for reason, count in reasons.items())
    return DataError(
        f"evaluation_sets={source}: none of its videos can be compared ({counted}), the first one is {first}. Paths of "
        "videos must start from the folder of the annotations; where they don't, add the folder that holds the videos "
        f"as an entry of its own: evaluation_sets=[{source},FOLDER]. Without that, they may be kept for training."
    )
