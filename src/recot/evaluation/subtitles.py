"""Subtitles, and which of their lines are on screen at the frames that a model sees."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recot.errors import DataError
from recot.evaluation.items import Subtitle

_CLOCK = r"(\d+):([0-5]\d):([0-5]\d)[,.](\d+)"
_TIMES = re.compile(rf"{_CLOCK}\s*-->\s*{_CLOCK}")
_LIKE_TIMES = re.compile(r"[\d:,.\s]+-->")
_TAG = re.compile(r"<[^>]*>")
_SHORTEST = 1.0
"""Seconds that a line counts as shown at least: LongVideoBench's own rule."""


def shown_at(subtitles: Sequence[Subtitle], times_s: Sequence[float]) -> tuple[str, ...]:
    """The lines shown at one of the times or more, by time; a line that comes twice in a row is told once."""
    lines: list[str] = []
    for line in sorted(subtitles, key=lambda line: line.start):
        seen = any(line.start <= time < line.end for time in times_s)
        if seen and line.text and lines[-1:] != [line.text]:
            lines.append(line.text)
    return tuple(lines)


def read_srt(path: Path) -> tuple[Subtitle, ...]:
    """A SubRip file; markup is left out.

    A line of times begins a cue, and a number on the line before it is the cue's. Empty lines mean nothing: real files
    have some within a cue, lack them between cues, or have one after every line.

    Raises:
        DataError: if it can't be read, has text before the first times, or times that can't be.
    """
    try:
        content = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is no subtitle file: {error}") from error
    lines = [line.strip() for line in content.splitlines() if line.strip()]
    begins = [place for place, line in enumerate(lines) if _LIKE_TIMES.match(line)]
    numbered = [place > 0 and lines[place - 1].isdecimal() for place in begins]
    ends = [place - number for place, number in zip(begins, numbered, strict=True)] + [len(lines)]
    if ends[0] > 0:
        raise DataError(f"{path} is no SubRip file: {lines[0][:60]!r} has no times")
    return tuple(
        Subtitle(*_times(path, lines[begin]), _TAG.sub("", " ".join(lines[begin + 1 : end])).strip())
        for begin, end in zip(begins, ends[1:], strict=True)
    )


def read_longvideobench(path: Path, offset_s: float, duration_s: float) -> tuple[Subtitle, ...]:
    """LongVideoBench's JSON: ``{timestamp: [start, end], text}`` or ``{start, end, line}`` each.

    Args:
        path: the file.
        offset_s: second of the subtitles' clock at which the video begins.
        duration_s: of the video; stands for an end that isn't given.

    Raises:
        DataError: if it can't be read.
    """
    try:
        return tuple(_line(entry, offset_s, duration_s) for entry in json.loads(path.read_text()))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{path} is no subtitle file of LongVideoBench: {error!r}") from error


def _line(entry: dict[str, Any], offset_s: float, duration_s: float) -> Subtitle:
    if "timestamp" in entry:
        first, last = entry["timestamp"]
        start = float(first) - offset_s
        end = (duration_s if last is None else float(last)) - (0.0 if last is None else offset_s)
        text = entry["text"]
    else:
        start, end = (_clock(entry[name]) - offset_s for name in ("start", "end"))
        text = entry["line"]
    if end - start < _SHORTEST:
        middle = (start + end) / 2
        start, end = middle - _SHORTEST / 2, middle + _SHORTEST / 2
    return Subtitle(start, end, text.strip())


def _clock(text: str) -> float:
    """``00:01:02.500`` in seconds."""
    hours, minutes, seconds = text.replace(",", ".").split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def _times(path: Path, line: str) -> tuple[float, float]:
    """Start and end of a SubRip cue in seconds."""
    parts = _TIMES.match(line)
    start, end = (0.0, -1.0) if parts is None else (_seconds(parts.groups()[:4]), _seconds(parts.groups()[4:]))
    if end < start:
        raise DataError(f"{path}: expected `00:00:01,000 --> 00:00:02,500`, start before end, got {line[:60]!r}")
    return start, end


def _seconds(parts: Sequence[str]) -> float:
    hours, minutes, seconds, fraction = parts
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds) + float(f"0.{fraction}")
