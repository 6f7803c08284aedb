"""What the benchmarks have in common: where their files lie, and how annotation files are read and checked."""

import json
import math
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow.parquet as pq

from recot.errors import ConfigError, DataError
from recot.evaluation.aggregation import Summary
from recot.evaluation.answers import LETTERS, lettered, letters
from recot.evaluation.items import Failure, Item, Prompt, Span
from recot.evaluation.prompts import TEMPLATES
from recot.evaluation.subtitles import shown_at

VIDEO_SUFFIXES = (".mp4", ".mkv", ".webm", ".mov", ".avi", ".ts")
Counts = Mapping[str, Sequence[int]]
"""What is counted -> the numbers that are right, several where published copies differ."""


@dataclass(frozen=True)
class Origin:
    """Where a benchmark comes from; we ship none."""

    source: str
    licence: str
    layout: str


@dataclass(frozen=True, kw_only=True)
class Fields:
    """The fields of a row, by kind. All but ``optional`` must be there, and not null."""

    texts: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()

    def check(self, where: str, row: Any, ignored: Sequence[str]) -> None:
        """Refuse a row with a missing, unknown or wrong field.

        Raises:
            DataError: naming the fields.
        """
        required = (*self.texts, *self.numbers, *self.lists, *self.others)
        if not isinstance(row, dict):
            raise DataError(f"{where}: expected an object with the fields {', '.join(required)}, got {row!r:.100}")
        missing = [name for name in required if row.get(name) is None]
        extra = sorted({*row} - {*required, *self.optional, *ignored})
        if missing or extra:
            raise DataError(
                f"{where}: fields {missing or 'none'} are missing and {extra or 'none'} are unknown. Expected: "
                f"{', '.join(required)}. New fields that don't matter can be named in ignore_fields."
            )
        for names, kind in ((self.texts, str), (self.numbers, int | float), (self.lists, list)):
            for name in names:
                if not isinstance(row[name], kind) or isinstance(row[name], bool):
                    raise DataError(f"{where}: {name}={row[name]!r:.100} should be of the type {kind}")


@dataclass(frozen=True, kw_only=True)
class Benchmark(ABC):
    """A suite that reads a benchmark's own files.

    Args:
        annotations: file or folder, see ``origin.layout``.
        videos: folder.
        counts: what must be counted in the annotations, e.g. ``{"items": [2700], "videos": [900]}``: the official
            numbers in ``conf/evaluation``. null doesn't check, for a subset.
        ignore_fields: fields of the annotations that may be there besides the known ones, and aren't read.

    Raises:
        ConfigError: for a value of another type, naming its key.
    """

    annotations: str | Path
    videos: str | Path
    counts: Counts | None
    ignore_fields: Sequence[str] = ()

    name: ClassVar[str]
    origin: ClassVar[Origin]
    summary: ClassVar[Summary]

    def __post_init__(self) -> None:
        for name in ("annotations", "videos"):
            if not isinstance(getattr(self, name), str | Path):
                raise ConfigError(f"evaluation.{self.name}.{name}={getattr(self, name)!r}: give a path")
        listed = isinstance(self.ignore_fields, list | tuple)
        if not listed or not all(isinstance(name, str) for name in self.ignore_fields):
            raise ConfigError(
                f"evaluation.{self.name}.ignore_fields={self.ignore_fields!r}: give a list of fields, [] for none"
            )

    @property
    def tells_subtitles(self) -> bool:
        """Whether prompts may hold subtitles."""
        return False

    @property
    def uncounted(self) -> tuple[str, ...]:
        """Names in ``counts`` that the files at hand can't tell, and that aren't checked."""
        return ()

    @abstractmethod
    def read(self) -> Iterator[Item]:
        """The questions in the order of the files."""

    def load(self) -> list[Item]:
        """All questions; see ``recot.evaluation.items.Suite``."""
        items = list(self.read())
        check_items(self.annotations, items, self.origin)
        if self.counts is not None:
            check_counts(self.annotations, self.count(items), self.counts, self.uncounted)
        return items

    def count(self, items: Sequence[Item]) -> dict[str, int]:
        """What ``counts`` can hold: ``items``, ``videos``, ``unanswerable``, ``subtitled``, and each group."""
        found = Counter({"items": len(items), "videos": len({item.video_id for item in items})})
        found["unanswerable"] = sum(item.right is None and item.span is None for item in items)
        found["subtitled"] = len({item.video_id for item in items if item.subtitles})
        for item in items:
            found.update({f"{grouping}={group}" for grouping, groups in item.groups.items() for group in groups})
        return dict(found)

    def template(self, item: Item) -> str:
        """Which entry of ``TEMPLATES`` an item is put with."""
        return self.name

    def prompt(self, item: Item, times_s: Sequence[float]) -> Prompt:
        """What a model is told; see ``recot.evaluation.items.Suite``."""
        lines = shown_at(item.subtitles, times_s) if self.tells_subtitles else ()
        return fill(self.template(item) + ("_subtitles" if lines else ""), item, lines)

    def rows(self, path: Path, fields: Fields) -> list[dict[str, Any]]:
        """The rows of a file, each with these fields and no others.

        Raises:
            DataError: naming file, row and fields; where the file is absent, what to get from where.
        """
        rows = read_rows(path, self.origin)
        for number, row in enumerate(rows, 1):
            fields.check(f"{path}, row {number}", row, self.ignore_fields)
        return rows


@dataclass(frozen=True, kw_only=True)
class SubtitledBenchmark(Benchmark):
    """A benchmark with subtitles that can be told or not.

    Args:
        subtitles: tell the lines that are shown at the frames that the model sees. Where there are none, nothing is
            said of subtitles.
        subtitle_folder: see ``origin.layout``; read only where ``subtitles`` is set.
    """

    subtitles: bool
    subtitle_folder: str | Path

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.subtitles, bool):  # "no" would be true
            raise ConfigError(f"evaluation.{self.name}.subtitles={self.subtitles!r}: give true or false")

    @property
    def tells_subtitles(self) -> bool:
        """As configured."""
        return self.subtitles


def fill(template: str, item: Item, subtitle_lines: Sequence[str] = ()) -> Prompt:
    """A prompt from an entry of ``TEMPLATES``."""
    chosen = TEMPLATES[template]
    named = letters(len(item.options)) if item.options else ""
    text = chosen.user.format(
        question=item.question,
        options=lettered(item.options, chosen.option) if item.options else "",
        letters=", ".join([*named[:-1], f"or {named[-1]}"]) if named else "",
        subtitles="\n".join(subtitle_lines),
        duration="" if item.duration_s is None else round(item.duration_s, 2),
    )
    return Prompt(user=text, system=chosen.system, reply=chosen.reply, subtitle_lines=len(subtitle_lines))


def read_rows(path: Path, origin: Origin) -> list[dict[str, Any]]:
    """A list of objects from a ``.json``, ``.jsonl`` or ``.parquet`` file.

    Raises:
        DataError: if it is absent, damaged, empty, or no list of objects.
    """
    require(path, origin)
    try:
        if path.suffix == ".parquet":
            rows = pq.read_table(path).to_pylist()
        elif path.suffix == ".jsonl":
            # splitlines would also split at characters that JSON allows within a text, such as U+2028.
            rows = [json.loads(line) for line in path.read_text(encoding="utf-8-sig").split("\n") if line.strip()]
        else:
            rows = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is damaged: {error}. Get it again: {origin.source}") from error
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{path}: expected a list of objects, one a question. Get it again: {origin.source}")
    return rows


def video_file(folder: str | Path, name: str) -> Path:
    """The video of this name in a folder: ``<name>.mp4``, or, where there is none, one with another ending."""
    usual = Path(folder) / f"{name}.mp4"
    others = (Path(folder) / (name + end) for suffix in VIDEO_SUFFIXES for end in (suffix, suffix.upper()))
    return usual if usual.is_file() else next((path for path in others if path.is_file()), usual)


def require(path: Path, origin: Origin) -> None:
    """Raise a DataError that says what to get from where, unless there is such a file or folder."""
    if not path.exists():
        raise DataError(
            f"{path} isn't there. Get it from {origin.source} (licence: {origin.licence}). Wanted: {origin.layout}"
        )


def check_items(path: str | Path, items: Sequence[Item], origin: Origin) -> None:
    """Refuse no questions, ids that occur twice, questions without text, and options that no letter is left for."""
    if not items:
        raise DataError(f"{path}: there are no questions that can be asked. Wanted: {origin.layout}")
    twice = [name for name, times in Counter(item.id for item in items).items() if times > 1]
    if twice:
        raise DataError(f"{path}: {len(twice)} ids occur twice, {twice[0]} for example. Get the annotations again.")
    for item in items:
        if not item.question.strip():
            raise DataError(f"{path}: question {item.id} has no text")
        if item.options and not 2 <= len(item.options) <= len(LETTERS):
            raise DataError(f"{path}: question {item.id} has {len(item.options)} options; there must be 2 to 26")


def check_counts(path: str | Path, found: Mapping[str, int], wanted: Counts, uncounted: Sequence[str] = ()) -> None:
    """Refuse annotations that aren't whole.

    Args:
        path: of the annotations, for messages.
        found: what is counted; what isn't in it is 0.
        wanted: see ``Benchmark``.
        uncounted: names that aren't checked.

    Raises:
        ConfigError: if the wanted counts aren't lists of numbers by name.
        DataError: if something else is counted.
    """
    if not isinstance(wanted, Mapping) or not all(isinstance(numbers, list | tuple) for numbers in wanted.values()):
        raise ConfigError(f"counts={wanted!r}: give lists of numbers by name, such as {{items: [2700]}}, or null")
    for name, numbers in wanted.items():
        if name not in uncounted and found.get(name, 0) not in numbers:
            raise DataError(
                f"{path}: {found.get(name, 0)} {name}, but the benchmark has {' or '.join(map(str, numbers))}. Get the "
                "annotations again; or, for a subset, set counts to its numbers or to null."
            )


def option_by_letter(where: str, options: Sequence[str], answer: Any) -> int:
    """The index of the option that an answer names by its letter alone, whatever the options' texts are.

    Raises:
        DataError: if it is no letter of an option.
    """
    named = LETTERS[: len(options)]
    if str(answer).strip() not in [*named]:
        raise DataError(f"{where}: the answer {answer!r} is none of the letters {named} of the options {list(options)}")
    return named.index(str(answer).strip())


def option_by_text(where: str, options: Sequence[str], answer: Any) -> int:
    """The index of the option that an answer names by its text.

    Raises:
        DataError: if no option reads so, or several do.
    """
    same = equal_options(options, answer)
    if not same:
        raise DataError(f"{where}: the answer {answer!r} is none of the options {list(options)}")
    if len(same) > 1:
        raise DataError(f"{where}: the answer {answer!r} is {len(same)} of the options {list(options)}; expected one")
    return same[0]


def equal_options(options: Sequence[str], answer: Any) -> list[int]:
    """The indices of all options with the text of an answer; outer spaces don't count."""
    return [i for i, option in enumerate(options) if option.strip() == str(answer).strip()]


def texts(where: str, options: Any) -> tuple[str, ...]:
    """A list of texts or numbers as texts.

    Raises:
        DataError: if it is something else.
    """
    if not isinstance(options, list) or not all(isinstance(o, str | int | float) for o in options) or not options:
        raise DataError(f"{where}: options must be a list of texts, got {options!r}")
    return tuple(str(option) for option in options)


def without_letters(where: str, options: Sequence[str]) -> tuple[str, ...]:
    """Options that stand in a file with the letters A, B, ..., without these; see ``without_letter``."""
    return tuple(without_letter(where, chr(ord("A") + i), option) for i, option in enumerate(options))


def without_letter(where: str, letter: str, option: str) -> str:
    """An option that stands in a file with its letter (``A. Apples.``, ``(A) Apples.``), without it.

    Raises:
        DataError: if it begins otherwise.
    """
    found = re.match(rf"\(?{re.escape(letter)}[.):]\s*", option)
    if found is None:
        raise DataError(f"{where}: the option {option!r} should begin with '{letter}. ' or '({letter}) '")
    return option[found.end() :]


def annotated_span(where: str, value: Any) -> Span:
    """Start and end in seconds, from the list that an annotation file has for them.

    Raises:
        DataError: if it is something else, or they are negative, no finite numbers, or in the wrong order.
    """
    numbers = isinstance(value, list) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in value)
    if not numbers or len(value) != 2 or not 0 <= value[0] <= value[1] < math.inf:
        raise DataError(f"{where}: expected [start, end] in seconds, with 0 <= start <= end, got {value!r:.100}")
    return float(value[0]), float(value[1])


def missing_videos(items: Sequence[Item], origin: Origin) -> list[Failure]:
    """Questions whose video isn't there: they are listed, and never asked.

    Raises:
        DataError: if no video is there.
    """
    absent = {item.video for item in {item.video: item for item in items}.values() if not item.video.is_file()}
    if items and all(item.video in absent for item in items):
        raise DataError(
            f"none of the {len(absent)} videos is there, {items[0].video} for example. Get them from {origin.source} "
            f"(licence: {origin.licence}). Wanted: {origin.layout}"
        )
    return [
        Failure(item.id, item.video_id, "missing", f"{item.video}: no such file")
        for item in items
        if item.video in absent
    ]
