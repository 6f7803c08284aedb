"""Runs a stage over many items with Daft: on this machine with nothing to start, or on a Ray cluster, by the same plan.

Nothing else imports Daft. What travels through it is small: an item's id, paths and numbers in; what became of it out.
Results go from the worker straight to the ledger, so a run that is killed loses the items that its workers were on.
"""

import contextlib
import fcntl
import gc
import json
import logging
import os
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, ModuleType, TracebackType
from typing import Any

import pyarrow as pa
from tqdm import tqdm

from data_pipelines.ledger import Ledger
from data_pipelines.stage_worker import REPORT, Item, MakeWork, StageWorker
from recot.errors import ConfigError, DataError, RecotError

_QUIET = {"DAFT_ANALYTICS_ENABLED": "0", "DAFT_PROGRESS_BAR": "0"}
_LARGEST_BATCH = 32
_LONGEST_TEARDOWN_S = 20.0
_BATCHES_A_WORKER = 32
"""At least so many, if there are enough items, to even out slow batches and to move the progress bar."""


class StageError(RecotError):
    """A stage can't go on. What is in the ledger stays, and the next run goes on from there."""


@dataclass(frozen=True)
class StageRun:
    """What running a stage took.

    Attributes:
        items: that were asked for, each counted once.
        ran: those that weren't done before.
        failed: reason -> number, of those that ran.
        wall_s: seconds from start to end, all workers at once.
        busy_s: seconds that the items took, added up.
    """

    items: int
    ran: int
    failed: dict[str, int]
    wall_s: float
    busy_s: float


def run_stage(
    items: Iterable[Item],
    *,
    ledger: Ledger,
    make_work: MakeWork,
    workers: int,
    address: str | None = None,
    batch: int = _LARGEST_BATCH,
    unit: str = "video",
) -> StageRun:
    """See to it that every item has its result in ``ledger``; those that have one aren't touched.

    Args:
        items: see ``stage_worker.Item``. One id, one result.
        ledger: of the stage; its folder's name is that of the stage.
        make_work: see ``stage_worker.MakeWork``. What it gives decides results and failures by the item alone.
        workers: processes, each with its own work.
        address: of a Ray cluster, such as ``ray://head:10001``; None is this machine. All machines of the cluster must
            see the ledger's folder under the same name, and what the items name.
        batch: items that a worker gets at once, at most; smaller if there are few. Progress shows by the batch.
        unit: what an item is, for the progress bar.

    Raises:
        ConfigError: if there is an address but no Ray, or if ``make_work`` raises it.
        DataError: if the ledger can't be written, or if the work raises it.
        StageError: if a worker ended, or raised what it must not.
        KeyboardInterrupt: for Ctrl-C.
    """
    start = time.monotonic()
    wanted = {item["id"]: item for item in items}
    todo = [wanted[item] for item in ledger.missing(wanted)]
    failed: Counter[str] = Counter()
    finished, busy_s = 0, 0.0
    with (
        tqdm(total=len(wanted), initial=len(wanted) - len(todo), desc=ledger.folder.name, unit=unit) as bar,
        contextlib.closing(_query(todo, ledger, make_work, workers, address, batch)) as batches,
    ):
        for reports in batches:
            for report in reports:
                _raise_if_stopped(report, ledger)
                failed.update([report["reason"]] if report["reason"] else [])
                busy_s += report["elapsed_s"]
            finished += len(reports)
            bar.update(len(reports))
    if finished < len(todo):
        raise KeyboardInterrupt  # Daft takes it for the end where the shell made us ignore SIGINT
    return StageRun(len(wanted), len(todo), dict(sorted(failed.items())), time.monotonic() - start, busy_s)


def _query(
    todo: list[Item], ledger: Ledger, make_work: MakeWork, workers: int, address: str | None, batch: int
) -> Generator[list[dict[str, Any]], None, None]:
    """The reports of batches, in the order in which they end."""
    if not todo:
        return
    daft = _daft(address)
    workers = min(workers, len(todo))
    batch = max(1, min(batch, _LARGEST_BATCH, len(todo) // (workers * _BATCHES_A_WORKER)))
    lease = _Lease() if address is None else None
    stage = daft.cls(StageWorker, max_concurrency=workers, use_process=True, name_override=ledger.folder.name)(
        ledger, make_work, None if lease is None else lease.path
    )
    daft.method.batch(StageWorker.run, return_dtype=daft.DataType.from_arrow_type(REPORT), batch_size=batch)
    frame = daft.from_arrow(pa.table({"item": [json.dumps(item) for item in todo]}))
    plan = frame.into_batches(batch).select(stage.run(daft.col("item")).alias("report"))
    try:
        # The lease ends first, and with it the workers: the stream waits for their end.
        with (
            _teardown_awaited(),
            daft.execution_config_ctx(maintain_order=False),
            contextlib.closing(plan.to_arrow_iter()) as stream,
            lease or contextlib.nullcontext(),
            contextlib.nullcontext() if lease is None else _ctrl_c_ends(lease),
        ):
            for found in stream:
                yield found.column(0).to_pylist()
    except BaseException as error:
        if isinstance(error, RecotError) or not isinstance(error, Exception):
            raise
        left = len(ledger.missing(item["id"] for item in todo))
        raise StageError(
            f"A worker of stage {ledger.folder.name} ended ({error}). If it was killed, memory ran out, most likely: "
            f"try fewer workers. {left} of {len(todo)} items are left; the next run goes on with them."
        ) from error


def _raise_if_stopped(report: dict[str, Any], ledger: Ledger) -> None:
    if report["stopped_by"] is None:
        return
    for known in (ConfigError, DataError):
        if report["stopped_by"] == known.__name__:
            raise known(report["message"])
    raise StageError(f"Stage {ledger.folder.name} can't go on: {report['message']}")


def _daft(address: str | None) -> ModuleType:
    """Daft, quiet, set to run at ``address``."""
    os.environ.update(_QUIET)
    logging.getLogger("daft_local_execution").setLevel(logging.CRITICAL)  # its errors reach us as exceptions
    import daft

    if address is not None:
        _connect(address)
        daft.set_runner_ray(noop_if_initialized=True)
    return daft


def _connect(address: str) -> None:
    try:
        import ray
    except ImportError as error:
        raise ConfigError(
            f"engine.address={address}: Ray isn't installed. pip install -e '.[cluster]', or set engine.address=null "
            "to run on this machine."
        ) from error
    if ray.is_initialized():
        return
    try:
        ray.init(address, runtime_env={"env_vars": _QUIET}, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError) as error:
        raise ConfigError(
            f"engine.address={address}: no Ray cluster can be reached there ({str(error).strip().splitlines()[-1]}). "
            "Start one with `ray start --head`, or set engine.address=null to run on this machine."
        ) from error


@contextlib.contextmanager
def _teardown_awaited() -> Iterator[None]:
    """At the end of the block, wait until Daft has seen the workers of its query end.

    It does that on threads of its own, and Python ends with SIGABRT if such a thread calls it while it exits.
    """
    try:
        yield
    finally:
        _await_workers_end()


def _await_workers_end() -> None:
    from daft.execution.udf import UdfHandle

    workers = [thing.process for thing in gc.get_objects() if type(thing) is UdfHandle]
    end = time.monotonic() + _LONGEST_TEARDOWN_S
    while time.monotonic() < end and any(worker.returncode is None for worker in workers):
        time.sleep(0.05)
    time.sleep(0.1)  # what is left to do after that


class _Lease:
    """A locked file; the kernel frees the lock at the end of the block, and if this process dies in any way."""

    def __init__(self) -> None:
        descriptor, name = tempfile.mkstemp(prefix="recot-lease-")
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        self._descriptor: int | None = descriptor
        self.path = Path(name)

    def __enter__(self) -> "_Lease":
        return self

    def give_up(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)
            self.path.unlink(missing_ok=True)  # workers do it where this process was killed

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.give_up()


@contextlib.contextmanager
def _ctrl_c_ends(lease: _Lease) -> Iterator[None]:
    """Ctrl-C gives up ``lease``, and so ends the workers and what waits for them; its exception comes after the block.

    Raised in the middle of Daft, it would leave a stream there that complains when Python drops it. A second Ctrl-C is
    raised at once.
    """
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or handler is not signal.default_int_handler:
        yield
        return
    interrupted = False

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True
        signal.signal(signal.SIGINT, handler)
        lease.give_up()

    signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if interrupted:
            raise KeyboardInterrupt
