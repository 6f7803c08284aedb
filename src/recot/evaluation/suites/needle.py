"""Needle in a haystack: which object was put into a video, by its length, the needle's depth, and its place in a group.

Ours. Items are made from any videos, and from a seed.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from recot.errors import ConfigError, DataError, VideoError
from recot.evaluation.aggregation import Summary, pooled
from recot.evaluation.items import Item, Needle, Prompt
from recot.evaluation.suites.base import VIDEO_SUFFIXES, Origin, check_items, fill, require
from recot.grouping import GROUP_SIZE
from recot.randomness import keyed_rng
from recot.tiny_world.sprites import RADIUS
from recot.tiny_world.vocabulary import OBJECTS
from recot.video_io import FrameSampling, VideoProbe, probe

OPTIONS = 4
QUESTION = "Which of these objects is shown in the video?"


@dataclass(frozen=True)
class _Haystack:
    path: Path
    facts: VideoProbe
    sha256: str
    absent: tuple[str, ...]  # objects that it doesn't show


@dataclass(frozen=True, kw_only=True)
class NeedleInAHaystack:
    """Questions about needles, on a grid of lengths and depths, at every place within a group of 4 frames.

    Args:
        videos: folder of haystacks. A JSON beside a video, as ``python -m recot.evaluation.haystack`` writes it, says
            which objects may be needles; without one, all 40 may: real videos don't show them.
        lengths: frames that are sampled of a video, different multiples of 4, each at least ``frames`` + 8; taken from
            videos with as many frames or more.
        depths: steps from the beginning (0 %) to the end (100 %), 2 or more. Where exactly a needle is, within half a
            step, is drawn for each, so that a choice of every Nth group doesn't keep all or none of a depth.
        needles: questions for each length, depth and place in a group.
        frames: sampled frames that a needle is on.
        seed: of all that is drawn.

    Raises:
        ConfigError: if a value is impossible, naming its key.
    """

    videos: str | Path
    lengths: Sequence[int]
    depths: int
    needles: int
    frames: int
    seed: int

    name: ClassVar[str] = "needle"
    origin: ClassVar[Origin] = Origin(
        source="`python -m recot.evaluation.haystack --out DIR --videos N --frames F --seed S`, or any videos",
        licence="yours; CC0-1.0 for those of the command",
        layout="videos: a folder of video files, of which some have as many frames as the greatest length",
    )
    summary: ClassVar[Summary] = Summary({"accuracy": pooled}, ("length", "depth", "phase", "cell"))

    def __post_init__(self) -> None:
        for name, smallest in (("depths", 2), ("needles", 1), ("frames", 1)):
            value = getattr(self, name)
            if not _whole(value) or value < smallest:
                raise ConfigError(f"evaluation.needle.{name}={value!r}: give a whole number, {smallest} or more")
        if not _whole(self.seed):
            raise ConfigError(f"evaluation.needle.seed={self.seed!r}: give a whole number")
        self._check_lengths()

    def _check_lengths(self) -> None:
        least = self.frames + 2 * GROUP_SIZE
        listed = isinstance(self.lengths, list | tuple) and len(self.lengths) > 0
        if not listed or not all(_whole(n) and n >= least and n % GROUP_SIZE == 0 for n in self.lengths):
            raise ConfigError(
                f"evaluation.needle.lengths={self.lengths!r}: give a list of multiples of {GROUP_SIZE} from {least} up"
            )
        if len(set(self.lengths)) < len(self.lengths):
            raise ConfigError(f"evaluation.needle.lengths={self.lengths!r}: give every length once")

    @property
    def tells_subtitles(self) -> bool:
        """Never."""
        return False

    def load(self) -> list[Item]:
        """The questions by length, depth and phase; see ``recot.evaluation.items.Suite``."""
        haystacks = list(_haystacks(Path(self.videos), self.origin))
        longest = max(haystack.facts.frames for haystack in haystacks)
        if longest < max(self.lengths):
            raise DataError(
                f"{self.videos}: no video has the {max(self.lengths)} frames of the greatest length; the longest has "
                f"{longest}. Add longer ones, or set evaluation.needle.lengths. {self.origin.source}"
            )
        items = []
        for length in self.lengths:
            long_enough = [haystack for haystack in haystacks if haystack.facts.frames >= length]
            for depth in range(self.depths):
                for phase in range(GROUP_SIZE):
                    for number in range(self.needles):
                        haystack = long_enough[(number + phase * self.needles) % len(long_enough)]
                        items.append(self._item(haystack, length, depth, phase, number))
        check_items(self.videos, items, self.origin)
        return items

    def prompt(self, item: Item, times_s: Sequence[float]) -> Prompt:
        """What a model is told; see ``recot.evaluation.items.Suite``."""
        return fill(self.name, item)

    def _item(self, haystack: _Haystack, length: int, depth: int, phase: int, number: int) -> Item:
        name = f"{length}/{depth}/{phase}/{number}"
        rng = keyed_rng("needle", self.seed, name)
        options = tuple(haystack.absent[i] for i in rng.permutation(len(haystack.absent))[:OPTIONS])
        right = int(rng.integers(OPTIONS))
        radius = float(rng.uniform(*RADIUS))
        x, y = (float(value) for value in rng.uniform(radius, 1 - radius, 2))
        near = [(depth + side) / (self.depths - 1) for side in (-0.5, 0.5)]
        place = needle_place(length, float(rng.uniform(max(0, near[0]), min(1, near[1]))), phase, self.frames)
        needle = Needle(options[right], length, place, self.frames, x, y, radius)
        share = f"{depth / (self.depths - 1):.0%}"
        return Item(
            id=name,
            video_id=haystack.path.name,
            video=haystack.path,
            question=QUESTION,
            form="letter",
            options=options,
            right=right,
            groups={
                "length": (str(length),),
                "depth": (share,),
                "phase": (str(phase),),
                "cell": (f"{length}, {share}",),
            },
            evidence=(_seconds(haystack.facts, needle),),
            duration_s=haystack.facts.duration_s,
            needle=needle,
            video_sha256=haystack.sha256,
        )


def needle_place(length: int, depth: float, phase: int, frames: int) -> int:
    """The number of the first sampled frame that shows a needle.

    Args:
        length: sampled frames.
        depth: 0 for the first group, 1 for the last one in which the needle has room at every phase.
        phase: place within its group of 4.
        frames: that it is on.
    """
    last = (length - frames - (GROUP_SIZE - 1)) // GROUP_SIZE
    return round(depth * last) * GROUP_SIZE + phase


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _seconds(facts: VideoProbe, needle: Needle) -> tuple[float, float]:
    """When the needle is seen: from its first sampled frame until halfway between its last and the next one.

    So the next frame is outside, whether spans are taken with their end or without.
    """
    sampled = facts.times_s[FrameSampling(count=needle.length).indices(facts.times_s, facts.duration_s)]
    after = needle.place + needle.frames
    following = sampled[after] if after < len(sampled) else facts.times_s[0] + facts.duration_s
    return float(sampled[needle.place]), float((sampled[after - 1] + following) / 2)


def _haystacks(folder: Path, origin: Origin) -> Iterator[_Haystack]:
    require(folder, origin)
    paths = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in VIDEO_SUFFIXES]
    if not paths:
        raise DataError(f"{folder} has no video in it. Get some: {origin.source}. Wanted: {origin.layout}")
    for path in paths:
        try:
            facts = probe(path)
        except VideoError as error:
            raise DataError(f"{path} can't be a haystack: {error.message}. Take it out of the folder.") from error
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        yield _Haystack(path, facts, sha256, _absent(path.with_suffix(".json")))


def _absent(path: Path) -> tuple[str, ...]:
    """Objects that may be needles in a video."""
    if not path.is_file():
        return OBJECTS
    try:
        absent = json.loads(path.read_text())["absent"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} should say which objects are 'absent': {error!r}") from error
    known = isinstance(absent, list) and all(thing in OBJECTS for thing in absent)
    if not known or not OPTIONS <= len(set(absent)) == len(absent):
        raise DataError(f"{path}: absent={absent!r} must be {OPTIONS} or more different objects of the tiny world")
    return tuple(absent)
