"""Batches made while training, each a pure function of its step."""

import itertools
import os
from collections.abc import Callable, Iterable
from typing import Any

import lightning as L
from torch.utils.data import DataLoader, Dataset


class StepwiseDataModule(L.LightningDataModule):
    """Serves ``train_batch`` without end. Lightning's own count of steps is all the progress there is.

    Args:
        num_workers: processes that make batches; 0 makes them in the main process.
    """

    def __init__(self, *, num_workers: int) -> None:
        super().__init__()
        self.num_workers = num_workers

    def train_batch(self, step: int, rank: int = 0) -> Any:
        """The batch of a step, counted from 0 over the whole run."""
        raise NotImplementedError

    def train_dataloader(self) -> DataLoader[Any]:
        """Endless, from the step on at which the trainer stands."""
        start, rank = 0, 0
        if self.trainer is not None:
            start = self.trainer.global_step * self.trainer.accumulate_grad_batches
            rank = self.trainer.global_rank
        return self.loader(lambda step: self.train_batch(step, rank), itertools.count(start))

    def loader(self, make: Callable[[int], Any], order: Iterable[int]) -> DataLoader[Any]:
        """The batches that ``make`` gives for the numbers of ``order``."""
        # Without it, tokenizers writes a warning for every worker that is forked.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        return DataLoader(_Batches(make), sampler=order, batch_size=None, num_workers=self.num_workers)


class _Batches(Dataset[Any]):
    def __init__(self, make: Callable[[int], Any]) -> None:
        self._make = make

    def __getitem__(self, index: int) -> Any:
        return self._make(index)
