"""Work shared by processes: those of torchrun, or children of this one."""

import atexit
import multiprocessing
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection, wait

import torch

from recot.errors import ConfigError, DataError, RecotError

_PATIENCE = timedelta(days=7)
"""Of a process that has finished its share, for the others."""


@dataclass(frozen=True)
class Place:
    """Which of how many processes this one is."""

    rank: int
    world: int
    local_rank: int  # on this machine

    def device(self) -> str:
        """The GPU of this process, or the CPU where there is none."""
        if not torch.cuda.is_available():
            return "cpu"
        return f"cuda:{self.local_rank % torch.cuda.device_count()}"


Work = Callable[[Place], None]
"""What a process does; for children, it must be picklable."""


def torchrun_place() -> Place | None:
    """Where torchrun put this process; None if it didn't start it.

    Raises:
        ConfigError: if something else set a part of its variables.
    """
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        return None
    if "LOCAL_RANK" not in os.environ:
        raise ConfigError(
            "RANK and WORLD_SIZE are set, but LOCAL_RANK, the process' number on its machine, isn't: start with "
            "torchrun, which sets all three, or unset them for one process"
        )
    return Place(*(int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")))


def run(work: Work, processes: int) -> bool:
    """Do work in several processes and wait until all are done.

    Args:
        work: called once for each place.
        processes: how many children; 1 works in this process. Under torchrun, there are as many as that says.

    Returns:
        Whether this process is the one that sums up.

    Raises:
        ConfigError: for an impossible number.
        RecotError: what ``work`` raised in a child, or that a child was killed.
        RuntimeError: if a child ended otherwise.
    """
    if isinstance(processes, bool) or not isinstance(processes, int) or processes < 1:
        raise ConfigError(f"processes={processes}: give a whole number, 1 or more")
    place = torchrun_place()
    if place is not None:
        if processes != 1:
            raise ConfigError(f"processes={processes} under torchrun: leave it at 1, torchrun says how many there are")
        work(place)
        _meet(place)
        return place.rank == 0
    if processes == 1:
        work(Place(0, 1, 0))
    else:
        _children(work, processes)
    return True


def parent_is_gone() -> bool:
    """Whether this is a child whose parent was killed: nobody waits for its work any more."""
    parent = multiprocessing.parent_process()
    return parent is not None and not parent.is_alive()


def _meet(place: Place) -> None:
    """Wait for all processes of torchrun.

    One group for all meetings of a sweep: the addresses of one that was destroyed stay in torchrun's store, and the
    next one would find these.
    """
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo", rank=place.rank, world_size=place.world, timeout=_PATIENCE)
        atexit.register(torch.distributed.destroy_process_group)
    torch.distributed.barrier()


def _children(work: Work, processes: int) -> None:
    context = multiprocessing.get_context("spawn")
    children, pipes = [], {}
    try:
        for rank in range(processes):
            receive, send = context.Pipe(duplex=False)
            child = context.Process(target=_child, args=(work, Place(rank, processes, rank), send), daemon=True)
            child.start()
            send.close()
            children.append(child)
            pipes[receive] = child
        while pipes:
            for told in wait(list(pipes)):
                assert isinstance(told, Connection)
                child = pipes.pop(told)
                try:
                    error = told.recv()
                except EOFError:
                    child.join()
                    raise _died(child.exitcode) from None
                if error is not None:
                    raise error
    finally:
        for child in children:
            child.join(timeout=0 if pipes else None)
            if child.is_alive():
                child.terminate()
                child.join()


def _died(exit_code: int | None) -> Exception:
    if exit_code is not None and exit_code < 0:
        return DataError(
            f"a process of the evaluation was killed by signal {-exit_code}"
            + (", as happens where memory runs out: set processes lower" if -exit_code == signal.SIGKILL else "")
            + ". Give the same command again: what is finished stays."
        )
    return RuntimeError(f"a process of the evaluation died (exit code {exit_code})")


def _child(work: Work, place: Place, send: Connection) -> None:
    """Tells None when done, or the user's mistake; dies of anything else, with its traceback."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends its children
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, torch.get_num_threads() // place.world))
    try:
        work(place)
    except RecotError as error:
        send.send(error)
    else:
        send.send(None)
