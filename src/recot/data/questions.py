"""Which questions come with a video, and what the model reads of each."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from recot.batch import Chat
from recot.data import settings
from recot.data.qa_text import question_text, reply_text
from recot.data.schema import QA, VideoSample
from recot.data.shards import ShardFolder
from recot.errors import ConfigError, DataError


@dataclass(frozen=True, kw_only=True)
class Questions:
    """The questions of a run.

    The turns of a conversation are one chat each: those of LLaVA-Video can be told by their ids (``<id>#0``,
    ``<id>#1``, ...), but hardly any needs the turns before it (our choice).

    Args:
        per_video: questions that a training draw asks, without replacement; fewer where a video has fewer.
            Validation asks all.
        tasks: task types that are asked, e.g. ``["caption"]``; None for all.

    Raises:
        ConfigError: for impossible values.
    """

    per_video: int
    tasks: Sequence[str] | None

    def __post_init__(self) -> None:
        settings.at_least(1, "questions.per_video", self.per_video)
        if self.tasks is None:
            return
        if isinstance(self.tasks, str) or not all(isinstance(task, str) for task in self.tasks) or not self.tasks:
            raise ConfigError(
                f"data.questions.tasks must be null for all task types, or a list such as [caption], got {self.tasks!r}"
            )
        object.__setattr__(self, "tasks", tuple(self.tasks))

    def fitting(self, sample: VideoSample) -> list[QA]:
        """The questions of a video that may be asked, in the order of its JSON."""
        return [qa for qa in sample.qa if self.tasks is None or qa.task_type in self.tasks]

    def videos(self, folder: ShardFolder) -> ShardFolder:
        """The folder without the videos that have no fitting question.

        They can't be left to be replaced when drawn: the shortest of a folder has no stand-in. ``tasks`` makes this
        read the JSON of every video, about 0.2 ms each.

        Raises:
            DataError: if none is left.
        """
        asked = folder.columns["n_qa"] > 0
        if self.tasks is not None:
            asked = np.array([known and self._fits(folder, i) for i, known in enumerate(asked.tolist())])
        if not asked.any():
            kinds = "any question" if self.tasks is None else f"a question of the types {', '.join(self.tasks)}"
            raise DataError(
                f"{folder.path}: none of its {len(folder)} videos has {kinds}. Set data.questions.tasks to types that "
                "are there, or name other folders in data.train and data.val."
            )
        return folder.only(np.flatnonzero(asked))

    def chats(self, sample: VideoSample, times_s: Tensor, rng: np.random.Generator | None) -> list[Chat]:
        """What is asked about a video, in the order of its JSON.

        Args:
            sample: its JSON.
            times_s: (g, T) float64 presentation seconds of its frames.
            rng: draws ``per_video`` questions; None takes all that fit.

        Raises:
            DataError: if there is none, or one can't be put to a model.
        """
        asked = self.fitting(sample)
        if not asked:
            raise DataError(f"video {sample.video_id} has no question of data.questions.tasks")
        if rng is not None:
            asked = [asked[i] for i in sorted(rng.permutation(len(asked))[: self.per_video].tolist())]
        return [
            Chat(
                user=question_text(qa),
                reply=reply_text(qa),
                spans=evidence(qa, times_s),
                sample_id=qa.sample_id,
                task=qa.task_type,
                options=tuple(qa.options),
            )
            for qa in asked
        ]

    def _fits(self, folder: ShardFolder, i: int) -> bool:
        try:
            return bool(self.fitting(folder.sample(i)))
        except DataError:
            return True  # damaged: said, and counted, when it is drawn


def evidence(qa: QA, times_s: Tensor) -> tuple[tuple[float, float], ...]:
    """The seconds that have to be seen to answer; none where that isn't known, or where it is all frames.

    Evidence that is the whole video, as of captions and of what is not shown, tells no frame from another.

    Args:
        qa: the question. Where it lists no evidence, the moment that it is about stands for it.
        times_s: (g, T) float64 presentation seconds of the video's frames.

    Raises:
        DataError: if a span isn't two numbers, the second not before the first.
    """
    spans = qa.evidence
    if not spans and qa.t_start is not None and qa.t_end is not None:
        spans = [[qa.t_start, qa.t_end]]
    if not all(len(span) == 2 and span[0] <= span[1] for span in spans):
        raise DataError(f"question {qa.sample_id}: evidence must be a list of [start, end] in seconds, got {spans}")
    seen = np.zeros(times_s.numel(), dtype=bool)
    for start, end in spans:
        moments = times_s.flatten().numpy()
        seen |= (start <= moments) & (moments <= end)
    return () if seen.all() else tuple((float(start), float(end)) for start, end in spans)
