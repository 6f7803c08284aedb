"""What a child process does in a test of what happens when one fails."""

import os
import signal
import time

from recot.evaluation.processes import Place


def fail_on(rank: int, kind: type[Exception], place: Place) -> None:
    """One fails; the others would take for ever."""
    if place.rank == rank:
        raise kind("full")
    time.sleep(600)


def kill_self(place: Place) -> None:
    """As the kernel does it where memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)
