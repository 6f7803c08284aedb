"""Draws into batches: what is read of a video and asked about it, and what stands in for one that can't be read."""

import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from recot.batch import Chat, VideoBatch
from recot.data.collate import collate
from recot.data.dataset import Clip, VideoDataset, Window
from recot.data.order import Draw
from recot.data.questions import Questions
from recot.errors import DataError, VideoError
from recot.grouping import GROUP_SIZE
from recot.randomness import derive_seed, keyed_rng

REPLACEMENTS = 7
"""Other samples that are tried before a batch is given up (our choice)."""


class BatchReader(Dataset["VideoBatch | DataError"]):
    """Reads the draws of a batch, in a DataLoader worker or in the main process.

    Args:
        sources: the shard folders that ``Draw.source`` counts.
        seed: of the run.
        groups_per_sample: groups of a window; a shorter video is used whole, as is any if this is None.
        fixed: take the middle of a video and all questions about it (validation); else the place and the questions are
            drawn anew at each pass (training).
        tokens_per_frame: encoder tokens of a frame.
        num_workers: worker processes that will use it.
        questions: which are asked about a video; None for none.

    Attributes:
        costs: of each source, (N,) int64 encoder tokens that a window of each video costs, repeated frames included.
        busy: (workers, 3) int64 in shared memory: process id, source and sample that each worker is reading; source is
            -1 between samples. It outlives a worker that dies.
    """

    def __init__(
        self,
        sources: Sequence[VideoDataset],
        *,
        seed: int,
        groups_per_sample: int | None,
        fixed: bool,
        tokens_per_frame: int,
        num_workers: int,
        questions: Questions | None,
    ) -> None:
        self.sources = list(sources)
        self.seed = seed
        self.groups_per_sample = groups_per_sample
        self.fixed = fixed
        self.questions = questions
        self.costs = [self._taken(source.groups) * GROUP_SIZE * tokens_per_frame for source in sources]
        self.busy = torch.full((max(1, num_workers), 3), -1).share_memory_()

    @property
    def largest(self) -> int:
        """Encoder tokens of the largest sample."""
        return max(int(costs.max()) for costs in self.costs)

    def __getitem__(self, draws: list[Draw]) -> "VideoBatch | DataError":
        """A batch. An error is returned, not raised: torch would bury its message in a worker's traceback."""
        worker = torch.utils.data.get_worker_info()
        row = self.busy[0 if worker is None else worker.id]
        row[0] = os.getpid()
        try:
            return self._batch(draws, row)
        except DataError as error:
            return error
        finally:
            row[1] = -1

    def seed_of(self, draw: Draw) -> int:
        """The seed of everything random about a draw."""
        return derive_seed(self.seed, draw.lap, self.sources[draw.source].folder.key(draw.sample))

    def window(self, draw: Draw) -> Window:
        """Which groups a draw takes."""
        total = int(self.sources[draw.source].groups[draw.sample])
        groups = int(self._taken(total))
        if self.fixed:
            return Window((total - groups) // 2, groups)
        return Window(int(keyed_rng(self.seed_of(draw), "window").integers(total - groups + 1)), groups)

    def chats(self, draw: Draw, clip: Clip) -> list[Chat]:
        """What is asked about a draw's video; nothing where there are no questions.

        Raises:
            DataError: if a question can't be put to a model.
        """
        if self.questions is None:
            return []
        rng = None if self.fixed else keyed_rng(self.seed_of(draw), "questions")
        return self.questions.chats(self.sources[draw.source].folder.sample(draw.sample), clip.times_s, rng)

    def describe(self, source: int, sample: int) -> str:
        """Key and shard of a sample, for messages."""
        folder = self.sources[source].folder
        return f"sample {folder.key(sample)} of {folder.path / str(folder.columns['shard'][sample])}"

    def _batch(self, draws: list[Draw], row: torch.Tensor) -> VideoBatch:
        parts = [self._read(draw, row) for draw in draws]
        used = [part.draw for part in parts]
        return collate(
            [part.clip for part in parts],
            [self.sources[draw.source].folder.key(draw.sample) for draw in used],
            [self.seed_of(draw) for draw in used],
            [failure for part in parts for failure in part.failures],
            None if self.questions is None else [part.chats for part in parts],
        )

    def _taken(self, groups: Any) -> Any:
        """How many of so many groups, a number or an array, a sample has."""
        return groups if self.groups_per_sample is None else np.minimum(groups, self.groups_per_sample)

    def _read(self, draw: Draw, row: torch.Tensor) -> "_Part":
        """The first readable candidate."""
        source = self.sources[draw.source]
        failed: list[tuple[str, str]] = []
        for candidate in self._candidates(draw):
            row[2] = candidate.sample
            row[1] = candidate.source
            try:
                clip = source.clip(candidate.sample, self.window(candidate))
                return _Part(candidate, clip, self.chats(candidate, clip), failed)
            except (VideoError, DataError) as error:
                reason = f"{error.message} [{error.reason}]" if isinstance(error, VideoError) else str(error)
                where = self.describe(candidate.source, candidate.sample)
                failed.append((source.folder.key(candidate.sample), f"{where}: {reason}"))
            except Exception as error:
                error.add_note(f"while reading {self.describe(candidate.source, candidate.sample)}")
                raise
        raise DataError(
            f"{len(failed)} samples in a row can't be read, so the batch is given up: "
            + "; ".join(reason for _, reason in failed)
        )

    def _candidates(self, draw: Draw) -> Iterator[Draw]:
        """The draw itself, then the next samples of the index that cost no more: a batch stays within its budget."""
        yield draw
        costs = self.costs[draw.source]
        tried = 0
        for step in range(1, len(costs)):
            sample = (draw.sample + step) % len(costs)
            if costs[sample] <= costs[draw.sample]:
                yield draw._replace(sample=sample)
                tried += 1
                if tried == REPLACEMENTS:
                    return


class _Part(NamedTuple):
    """One sample of a batch."""

    draw: Draw
    clip: Clip
    chats: list[Chat]
    failures: list[tuple[str, str]]  # (key, reason) of those that it stands in for
