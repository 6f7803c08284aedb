"""A bar with an estimate of the time left, from the lines that processes add to their results."""

import sys
from collections.abc import Sequence
from pathlib import Path
from threading import Event, Thread
from types import TracebackType

from tqdm import tqdm

_EVERY_S = 1.0
_QUIET_S = 60.0
"""Between two lines in a log, where there is no terminal."""


class Progress:
    """Watches files while a block runs.

    Args:
        paths: files of lines, one a sample.
        total: lines that will be added.
        shown: False keeps quiet.
    """

    def __init__(self, paths: Sequence[Path], *, total: int, shown: bool) -> None:
        self._read = {path: path.stat().st_size for path in paths}
        quiet = not sys.stderr.isatty()
        self._bar = tqdm(
            total=total,
            unit="sample",
            mininterval=_QUIET_S if quiet else 0.1,
            maxinterval=_QUIET_S,
            disable=not shown,
        )
        self._ended = Event()
        self._thread = Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Progress":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._count()
        self._bar.close()

    def _watch(self) -> None:
        while not self._ended.wait(_EVERY_S):
            self._count()

    def _count(self) -> None:
        for path, start in self._read.items():
            with path.open("rb") as file:
                file.seek(start)
                added = file.read()
            whole = added.rfind(b"\n") + 1
            self._read[path] += whole
            self._bar.update(added[:whole].count(b"\n"))
