"""Worker processes around a `BatchReader`, and the two iterables that Lightning sees.

They are not torch DataLoaders: Lightning would deal those to ranks by itself, and the order here is dealt already.
"""

import re
import signal
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader
from torch.utils.data._utils import signal_handling

from recot.batch import Cursor, VideoBatch
from recot.data.order import Draw, TrainOrder
from recot.data.reader import BatchReader
from recot.errors import DataError

_DEAD_WORKER = re.compile(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\)")


@dataclass(frozen=True)
class Workers:
    """How batches are read.

    Attributes:
        count: worker processes; 0 reads in the main process.
        hang_s: seconds after which a batch that doesn't come is an error.
        pin_memory: put batches into page-locked memory, for copies to a GPU.
    """

    count: int
    hang_s: float
    pin_memory: bool


def read_batches(reader: BatchReader, draws: Iterable[list[Draw]], workers: Workers) -> Generator[VideoBatch]:
    """Batches in the order of ``draws``; the workers start with the first one and end with the iterator.

    Raises:
        DataError: if a batch can't be read, or a worker dies (naming the sample it was reading) or hangs.
    """
    loader = DataLoader(
        reader,
        batch_size=None,
        sampler=draws,
        num_workers=workers.count,
        timeout=workers.hang_s if workers.count else 0,
        pin_memory=workers.pin_memory,
        generator=torch.Generator(),  # else starting workers would draw from the global one
    )
    try:
        for batch in loader:
            if isinstance(batch, DataError):
                raise batch
            yield batch
    except RuntimeError as error:
        where = explain([reader], error)
        if where is None:
            raise
        # Its traceback would keep the iterator alive, and torch complains of the dead worker as long as that lives.
        raise DataError(where) from error.with_traceback(None)


def watch_workers() -> None:
    """Let a worker's death interrupt whatever the main process does; call it before Lightning notes signal handlers.

    torch installs its handler with the first DataLoader of a process. Lightning puts the handlers that it found at the
    start of a run back at its end, so that the second run of a sweep would have none, and torch doesn't look again.
    """
    if signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL:
        signal_handling._SIGCHLD_handler_set = False
        signal_handling._set_SIGCHLD_handler()


def explain(readers: Sequence[BatchReader], error: BaseException) -> str | None:
    """What to tell the user about a worker that died or hangs; None if ``error`` is something else."""
    text = str(error).strip().rstrip(".")
    dead = _DEAD_WORKER.search(text)
    if dead is None and not text.startswith("DataLoader timed out"):
        return None
    pids = None if dead is None else [int(pid) for pid in dead.group(1).split(",")]
    names = [
        reader.describe(source, sample)
        for reader in readers
        for pid, source, sample in reader.busy.tolist()
        if source >= 0 and (pids is None or pid in pids)
    ]
    reading = "; ".join(names) or "nothing at that moment"
    if dead is None:
        return (
            f"{text}: a decoder hangs. The workers were reading {reading}. Drop that video, or raise data.timeout_s if "
            "the machine is just slow."
        )
    return (
        f"{text}. It was reading {reading}. Either a decoder crashed on it (drop the video), or the machine ran out of "
        "memory (lower data.num_workers, data.batch_size or data.token_budget)."
    )


class TrainLoader:
    """Training batches from wherever the run stands.

    Each iteration gives ``len()`` batches from the cursor on: an epoch's worth, and it goes on into the next epoch
    where the cursor was in the middle of one. So Lightning may iterate, stop and iterate again as it likes: what it has
    trained is what the cursor counts, and nothing is skipped or repeated. Nothing is read before the first batch is
    asked for, because Lightning makes iterators before it has restored a checkpoint. The workers live on, reading
    ahead, from one iteration to the next.

    Args:
        reader: reads the draws.
        order: all batches.
        cursor: says where to go on, asked at the start of each iteration.
        rank: of this process.
        world_size: processes that share each step.
        workers: how batches are read.
    """

    def __init__(
        self,
        reader: BatchReader,
        order: TrainOrder,
        cursor: Callable[[], Cursor],
        *,
        rank: int,
        world_size: int,
        workers: Workers,
    ) -> None:
        self.reader = reader
        self._order = order
        self._cursor = cursor
        self._rank, self._world_size = rank, world_size
        self._workers = workers
        self._stream: Generator[VideoBatch] | None = None
        self._stream_at: Cursor | None = None

    def __len__(self) -> int:
        """Batches of this rank in an epoch: of the first one, where epochs differ under a token budget."""
        return self._order.batch_count(0) // self._world_size

    def __iter__(self) -> Iterator[VideoBatch]:
        start = self._cursor()
        if self._stream is None or self._stream_at != start:
            self._stream, self._stream_at = self._open(start), start
        for _ in range(len(self)):
            batch = next(self._stream)
            self._stream_at = batch.cursor
            yield batch

    def close(self) -> None:
        """End the workers; another iteration starts new ones."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def state_dict(self) -> dict[str, Any]:
        """Lightning takes a loader without this for one that can't be resumed, and warns."""
        return asdict(self._cursor())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The cursor came back with the DataModule's state; this one was saved with it and is the same."""
        assert state == asdict(self._cursor()), f"two cursors in one checkpoint: {state}, {self._cursor()}"

    def _open(self, start: Cursor) -> Generator[VideoBatch]:
        draws = (batch for batch, _ in self._walk(start))
        for batch, (_, after) in zip(read_batches(self.reader, draws, self._workers), self._walk(start), strict=True):
            batch.cursor = Cursor(*after)
            yield batch

    def _walk(self, start: Cursor) -> Iterator[tuple[list[Draw], tuple[int, int]]]:
        return self._order.walk(start.epoch, start.position, self._rank, self._world_size)


class ValLoader:
    """The same batches each time. Ranks take turns: nothing is dropped or repeated, so the last rank may have one less.

    Args:
        reader: reads the draws.
        batches: all validation batches.
        rank: of this process.
        world_size: processes that share them.
        workers: how batches are read.
    """

    def __init__(
        self, reader: BatchReader, batches: list[list[Draw]], *, rank: int, world_size: int, workers: Workers
    ) -> None:
        self.reader = reader
        self._batches = batches[rank::world_size]
        self._workers = workers
        self._stream: Generator[VideoBatch] | None = None

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[VideoBatch]:
        self.close()
        self._stream = read_batches(self.reader, self._batches, self._workers)
        return self._stream

    def close(self) -> None:
        """End the workers. Lightning drops an iterator only when it makes the next one."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None
