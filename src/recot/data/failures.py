"""A lasting note of every sample that couldn't be read while a run went on with another one in its place."""

import json
import warnings
from pathlib import Path


class FailureLog:
    """Appends to a JSON Lines file and warns once a sample.

    Args:
        path: the file; made at the first failure.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._counts: dict[str, int] = {}

    def record(self, failures: tuple[tuple[str, str], ...], **where: int | str) -> None:
        """Note (key, reason) pairs with the place in the run where they happened."""
        for key, reason in failures:
            if key not in self._counts:
                warnings.warn(f"Another sample stands in for {reason}. Noted in {self.path}.", stacklevel=2)
            self._counts[key] = self._counts.get(key, 0) + 1
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a") as file:  # one short line at once: ranks may append to the same file
                file.write(json.dumps({"key": key, "reason": reason, **where}) + "\n")

    def warn_summary(self) -> None:
        """Say once more how many samples failed, if any did."""
        if self._counts:
            warnings.warn(
                f"{len(self._counts)} samples could not be read ({sum(self._counts.values())} draws); others stood in "
                f"for them. Each is named with its reason in {self.path}.",
                stacklevel=2,
            )
