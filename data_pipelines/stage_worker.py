"""A worker of a stage: takes batches of items, does those that aren't done, notes each result in the ledger at once.

It runs in a process of its own, which the engine starts, and may have children in turn (``SupervisedPool``).
"""

import atexit
import contextlib
import fcntl
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from data_pipelines.ledger import Ledger, Row
from data_pipelines.supervised import Failure, Outcome
from recot.errors import RecotError, VideoError

Item = dict[str, Any]
"""What a stage must know of an item, as JSON can hold it: ``id`` (see ``ledger.item_id``), paths, texts, numbers."""
Work = Callable[[list[Item]], Iterator[Outcome[Row]]]
"""Gives the outcome of each item, in order, as soon as it is known."""
MakeWork = Callable[[], AbstractContextManager[Work]]
"""Picklable; called once in each worker, where it loads models or starts a ``SupervisedPool``."""

REPORT = pa.struct(
    [
        ("id", pa.string()),
        ("reason", pa.string()),
        ("elapsed_s", pa.float64()),
        ("stopped_by", pa.string()),
        ("message", pa.string()),
    ]
)
"""What goes back to the driver of an item: ``reason`` of its failure, if it failed, and seconds. ``stopped_by`` names
the class of an exception that concerns the whole stage."""
_LOG_TAIL_BYTES = 4000


def one_by_one(function: Callable[[Item], Row]) -> Work:
    """Work that calls ``function`` for each item, for code that can be trusted not to crash or hang.

    An exception is a failure of its item. A ``ConfigError`` or ``DataError`` concerns all items, and ends the stage.
    """

    def outcome(item: Item) -> Outcome[Row]:
        start = time.perf_counter()
        try:
            result, failure = function(item), None
        except VideoError as error:
            result, failure = None, Failure(error.reason, "VideoError", error.message)
        except RecotError:
            raise
        except MemoryError as error:
            result, failure = None, Failure("out_of_memory", "MemoryError", str(error))
        except Exception as error:
            result, failure = None, Failure("exception", type(error).__name__, str(error))
        return Outcome(result, failure, time.perf_counter() - start)

    return lambda items: map(outcome, items)


class StageWorker:
    """What the engine makes one of in each worker process.

    Args:
        ledger: of the stage.
        make_work: gives the work.
        lease: a file that the driver on this machine keeps locked as long as it wants workers, see
            ``_end_with_lease``. None on a cluster, whose engine sees to that.
    """

    def __init__(self, ledger: Ledger, make_work: MakeWork, lease: Path | None) -> None:
        self._ledger = ledger
        self._make_work = make_work
        self._work: Work | None = None
        self._resources = contextlib.ExitStack()
        atexit.register(self._resources.close)
        self._log: IO[bytes] | None = None
        self._writing = threading.Lock()
        _forget_main_module()
        if lease is not None:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the driver, which gives up the lease
            _end_with_lease(lease, self._writing)
            self._log = _divert_output()

    def run(self, items: Any) -> pa.Array:
        """A batch.

        Args:
            items: a Daft series of ``Item``s as JSON.

        Returns:
            A ``REPORT`` for each. No exception leaves, as the engine would turn it into a text.
        """
        batch: list[Item] = [json.loads(item) for item in items.to_pylist()]
        try:
            reports = list(self._run(batch))
        except Exception as error:
            expected = isinstance(error, RecotError)
            message = str(error) if expected else f"{traceback.format_exc()}{self._logged()}"
            stop = {"stopped_by": type(error).__name__, "message": message}
            reports = [{"id": item["id"], **stop} for item in batch]
        if self._log is not None:
            self._log.truncate(0)  # it holds the noise of one batch at most
            self._log.seek(0)
        return pa.array(reports, REPORT)

    def _run(self, batch: list[Item]) -> Iterator[dict[str, Any]]:
        if self._work is None:
            self._work = self._resources.enter_context(self._make_work())
        # Engines may hand out a batch once more after a loss, and another run may be at the same items.
        todo = []
        for item in batch:
            if self._ledger.path(item["id"]).exists():
                yield {"id": item["id"], "elapsed_s": 0.0}
            else:
                todo.append(item)
        for item, outcome in zip(todo, self._work(todo), strict=True):
            result = outcome.result if outcome.failure is None else outcome.failure
            assert result is not None
            with self._writing:
                self._ledger.write(item["id"], result)
            reason = None if outcome.failure is None else outcome.failure.reason
            yield {"id": item["id"], "reason": reason, "elapsed_s": outcome.elapsed_s}

    def _logged(self) -> str:
        """The end of what children and C code printed during this batch."""
        if self._log is None:
            return ""
        length = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, length - _LOG_TAIL_BYTES))
        return self._log.read().decode(errors="backslashreplace")


def _forget_main_module() -> None:
    """Spawned children import the main module of their parent, which here is the engine's, for nothing."""
    main = sys.modules["__main__"]
    main.__spec__ = None
    vars(main).pop("__file__", None)


def _end_with_lease(lease: Path, writing: threading.Lock) -> None:
    """End this process and its children as soon as the driver gives up its lock on ``lease``, or dies, however it dies.

    Else a worker whose driver was killed would go on to the end of its batch, beside those of the next run. What holds
    ``writing`` is finished first, and nothing is written after: the death of a child must not pass for a crash.
    """
    file = lease.open("rb")

    def wait() -> None:
        fcntl.flock(file, fcntl.LOCK_SH)
        lease.unlink(missing_ok=True)
        with writing:
            for child in multiprocessing.active_children():
                child.kill()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _divert_output() -> IO[bytes]:
    """Let what children and C code print go to a file without a name, which is returned, and not to the engine.

    Daft reads the standard error of its workers: for marks of its own, which Python prints, and for lines to show.
    A line that isn't UTF-8, like one of FFmpeg with a damaged file's metadata, would end the whole query.
    """
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, encoding="utf-8", errors="backslashreplace")
    sys.stdout = sys.stderr
    log = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115, it lives as long as the process
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    return log
