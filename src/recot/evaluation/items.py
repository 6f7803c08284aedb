"""What every benchmark is turned into: questions about videos, and the small interface of a suite."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from recot.evaluation.aggregation import Summary

Span = tuple[float, float]
"""Start and end in presentation seconds."""
Groups = Mapping[str, tuple[str, ...]]
"""Name of a grouping -> the groups that a question is in, e.g. ``{"task": ("count",)}``."""
Form = Literal["letter", "yes_no", "named", "span", "two_times"]
"""How a reply is read: as an option's letter, as yes or no, as an option's own name (``Caption A``), as a range of
seconds, or as two times with no other number."""


@dataclass(frozen=True)
class Subtitle:
    """A line of subtitles."""

    start: float  # seconds of the video
    end: float
    text: str


@dataclass(frozen=True)
class Needle:
    """An object that is painted over frames of a video before anything else is done with them.

    Of the video, ``length`` frames are sampled evenly; the object is on ``frames`` of them, from number ``place`` on;
    on 0, it is nowhere, and ``length`` still says how many are sampled.
    """

    thing: str  # one of the tiny world's objects, e.g. ``red circle``
    length: int
    place: int
    frames: int
    x: float  # centre and half the side of its box; 1 is the shorter side of the frame, whose middle square is meant
    y: float
    radius: float


@dataclass(frozen=True, kw_only=True)
class Item:
    """One question about one video.

    Attributes:
        id: unique within the suite.
        video_id: the same for all questions about a video, whatever folder it lies in, or about its twin; figures are
            clustered by it.
        video: where the file should be; it may be missing.
        question: without options.
        form: how the reply is read.
        options: without letters; empty for spans.
        right: index of the right option; None for spans, and where the benchmark lists no right option.
        span: the right answer of a question for when; None otherwise.
        groups: for tables and for averages over groups.
        evidence: seconds that have to be seen to answer; empty where that isn't known.
        subtitles: of the video; empty where there are none or they aren't used.
        duration_s: as annotated; None where it isn't.
        needle: what is put into the video, see ``recot.evaluation.needles.insert``; None for nothing.
        video_sha256: hex, of the file, where the suite is made from videos that anybody may choose; None elsewhere.
    """

    id: str
    video_id: str
    video: Path
    question: str
    form: Form
    options: tuple[str, ...] = ()
    right: int | None = None
    span: Span | None = None
    groups: Groups = field(default_factory=dict)
    evidence: tuple[Span, ...] = ()
    subtitles: tuple[Subtitle, ...] = ()
    duration_s: float | None = None
    needle: Needle | None = None
    video_sha256: str | None = None


@dataclass(frozen=True)
class Prompt:
    """What a model is told besides the video. The reply goes on from ``reply``, which isn't part of it."""

    user: str
    system: str = ""
    reply: str = ""
    subtitle_lines: int = 0  # how many ``user`` tells


@dataclass(frozen=True, kw_only=True)
class Result:
    """A question that was answered; one line of ``samples.jsonl``.

    Attributes:
        id: of the item.
        video_id: of the item.
        groups: of the item.
        reply: what the model said, as it said it.
        answer: what was read from that: an option's index, or a span; None if nothing could be.
        score: 0 to 1: whether the option is right, or the temporal IoU.
        saw: what the sample cost and what was seen: frames and their pixels, lines of subtitles, tokens before and
            after selection, whether frames were decoded for it or kept from the question before, seconds of each step,
            peak memory, kept spans. Plain JSON values.
    """

    id: str
    video_id: str
    groups: Groups
    reply: str
    answer: int | Span | None
    score: float
    saw: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Failure:
    """A question that couldn't be asked, nearly always as its video couldn't be used. It has no score."""

    id: str
    video_id: str
    reason: str  # a stable snake_case code
    message: str


class Suite(Protocol):
    """A benchmark. Everything else about evaluation is the same for all of them.

    Attributes:
        name: of its results folder.
        tells_subtitles: whether prompts may hold subtitles; stands in every table.
        summary: what is computed from results, without needing the benchmark's files.
    """

    name: str
    summary: "Summary"

    @property
    def tells_subtitles(self) -> bool: ...

    def load(self) -> list[Item]:
        """All questions, in the order of the files. Schema and counts are checked; videos may be missing.

        Raises:
            DataError: if the files are absent or aren't the benchmark.
        """
        ...

    def prompt(self, item: Item, times_s: Sequence[float]) -> Prompt:
        """What a model is told.

        Args:
            item: the question.
            times_s: seconds of the frames that the model sees; subtitles are those shown at one of them.
        """
        ...


def data_hash(items: Sequence[Item]) -> str:
    """Hex SHA-256 of the questions, without subtitles; doesn't depend on the folders that they and their videos lie in.

    A benchmark's videos are only named in it: they are hundreds of GB, and one that was missing may be there when a run
    goes on. Haystacks are there, and anybody's: their content is in it.
    """
    digest = hashlib.sha256()
    for item in items:
        told = [
            *(item.id, item.video_id, item.question, item.form, item.options, item.right),
            *(item.span, item.groups, item.evidence),
            None if item.needle is None else astuple(item.needle),
        ]
        if item.video_sha256 is not None:
            told.append(item.video_sha256)
        digest.update(json.dumps(told, sort_keys=True).encode() + b"\n")
    return digest.hexdigest()


def subtitles_hash(items: Sequence[Item]) -> str:
    """Hex SHA-256 of the subtitles that come with each question."""
    digest = hashlib.sha256()
    for item in items:
        digest.update(json.dumps([item.id, [astuple(line) for line in item.subtitles]]).encode() + b"\n")
    return digest.hexdigest()


def share(items: Sequence[Item], rank: int, world: int) -> list[Item]:
    """The items of one process of many, in order: all questions about a video go to the same one.

    Depends on nothing but the items and these numbers, so that processes needn't talk to each other, and a run can be
    resumed by another number of processes.
    """
    number: dict[str, int] = {}
    for item in items:
        number.setdefault(item.video_id, len(number))
    return [item for item in items if number[item.video_id] % world == rank]
