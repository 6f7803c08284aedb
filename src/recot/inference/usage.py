"""What answering takes: seconds by step and peak memory."""

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

_MIB = 2**20


class Usage:
    """Measures steps on a device.

    Attributes:
        seconds: wall-clock time of each step so far, by name, in order.
    """

    def __init__(self, device: torch.device) -> None:
        self.seconds: dict[str, float] = {}
        self._device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time the block, with all work that it gives to a GPU."""
        start = time.perf_counter()
        yield
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self.seconds[name] = time.perf_counter() - start

    def peak_memory_mib(self) -> dict[str, float]:
        """In MiB: of this process and of the GPU, where one is used.

        ``process_so_far`` is the largest resident size since the process began, as systems count it, so that it is of
        all that was done before too. ``gpu`` is the most memory of tensors since this was made.
        """
        peak = {"process_so_far": _peak_resident_mib()}
        if self._device.type == "cuda":
            peak["gpu"] = torch.cuda.max_memory_allocated(self._device) / _MIB
        return peak


_told_is_own = False


def _peak_resident_mib() -> float:
    """getrusage tells the peak of the program that started this one, until this one's is larger.

    Linux tells its own as well, but each time that costs as much as some samples' scoring.
    """
    global _told_is_own
    told = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (_MIB if sys.platform == "darwin" else 1024)
    if _told_is_own:
        return told
    own = told
    with suppress(FileNotFoundError):
        status = Path("/proc/self/status").read_bytes()
        own = int(status.partition(b"VmHWM:")[2].split(maxsplit=1)[0]) / 1024
    _told_is_own = own > 0.99 * told
    return own
