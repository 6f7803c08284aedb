"""Video-MME (arXiv 2405.21075), with or without subtitles."""

from collections.abc import Iterator
from pathlib import Path

from recot.evaluation.aggregation import Summary, pooled
from recot.evaluation.items import Item, Subtitle
from recot.evaluation.subtitles import read_srt
from recot.evaluation.suites.base import (
    Fields,
    Origin,
    SubtitledBenchmark,
    option_by_letter,
    require,
    texts,
    video_file,
    without_letters,
)

_FIELDS = Fields(
    texts=(
        *("video_id", "duration", "domain", "sub_category", "url", "videoID", "question_id", "task_type", "question"),
        "answer",
    ),
    lists=("options",),
)


class VideoMME(SubtitledBenchmark):
    """2,700 questions, pooled; tables by duration, domain and task. 156 of 900 videos have no subtitles."""

    name = "video_mme"
    origin = Origin(
        source="https://huggingface.co/datasets/lmms-lab/Video-MME",
        licence="academic use only",
        layout="annotations: videomme/test-00000-of-00001.parquet; videos: data/ with <videoID>.mp4; "
        "subtitle_folder: subtitle/ with <videoID>.srt",
    )
    summary = Summary({"accuracy": pooled}, ("duration", "domain", "task"))

    def read(self) -> Iterator[Item]:
        """In the order of the file."""
        path = Path(self.annotations)
        if self.subtitles:
            require(Path(self.subtitle_folder), self.origin)
        known: dict[str, tuple[Subtitle, ...]] = {}
        for number, row in enumerate(self.rows(path, _FIELDS), 1):
            where, video = f"{path}, row {number}", row["videoID"]
            options = without_letters(where, texts(where, row["options"]))
            if video not in known:
                known[video] = self._subtitles(video)
            yield Item(
                id=row["question_id"],
                video_id=video,
                video=video_file(self.videos, video),
                question=row["question"],
                form="letter",
                options=options,
                right=option_by_letter(where, options, row["answer"]),
                groups={"duration": (row["duration"],), "domain": (row["domain"],), "task": (row["task_type"],)},
                subtitles=known[video],
            )

    def _subtitles(self, video: str) -> tuple[Subtitle, ...]:
        path = Path(self.subtitle_folder) / f"{video}.srt"
        return read_srt(path) if self.subtitles and path.is_file() else ()
