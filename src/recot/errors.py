"""What a user's input can get wrong. Every message names the file or config key, what was expected, what to do.

The entry points print these as one paragraph, without a traceback, and exit with status 2.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


class RecotError(ValueError):
    """Something the user gave can't be used."""


class ConfigError(RecotError):
    """A config value is impossible, alone or together with others; the message names the key."""


class DataError(RecotError):
    """A shard folder, tar, index, annotation file or checkpoint can't be used; the message names the file."""


class VideoError(RecotError):
    """One video can't be used.

    Attributes:
        source: path of the video, or a description such as ``<12345 bytes>``.
        reason: a stable snake_case code for audit files and counts, e.g. ``no_video_stream`` or ``timeout``.
    """

    def __init__(self, source: str, reason: str, message: str) -> None:
        super().__init__(source, reason, message)
        self.source = source
        self.reason = reason
        self.message = message

    def __str__(self) -> str:
        return f"{self.source}: {self.message} [{self.reason}]"


@contextmanager
def report_errors() -> Iterator[None]:
    """For entry points: a ``RecotError`` ends the program with one paragraph on stderr and status 2.

    Libraries wrap what a constructor raises, so causes are searched too. Ctrl-C ends it with status 130. Any other
    exception passes through.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        sys.stderr.write("\ninterrupted\n")
        raise SystemExit(130) from error
    except Exception as error:
        found: BaseException | None = error
        while found is not None and not isinstance(found, RecotError):
            found = found.__cause__
        if found is None:
            raise
        sys.stderr.write(f"error: {' '.join(str(found).split())}\n")
        raise SystemExit(2) from error
