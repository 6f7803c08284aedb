"""What a kind of junk is made from, and what it makes."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from recot.data.schema import QA
from recot.tiny_world.elements import Scene
from recot.tiny_world.truth import questions


@dataclass(frozen=True)
class Source:
    """A good video to copy from.

    Attributes:
        video: its path as its annotations name it.
        scene: what it shows.
        content: the file.
        rows: its annotations.
    """

    video: str
    scene: Scene
    content: bytes
    rows: list[QA]


@dataclass(frozen=True)
class Case:
    """One junk video to be made.

    Attributes:
        rng: of this video alone.
        scene: number of a try -> a scene that no other video shows.
        source: gives a good video of the corpus, or of the evaluation set for leaks.
        asked: planted questions a video, each in its two forms.
    """

    rng: np.random.Generator
    scene: Callable[[int], Scene]
    source: Callable[[], Source]
    asked: int


@dataclass(frozen=True)
class Made:
    """One junk video.

    Attributes:
        content: the file.
        rows: its annotations.
        parameters: how it was made, for the label.
        shows: the scene that the file shows, up to the codec; None where it shows no whole scene.
        of: path of the video that it copies, or whose text it has.
        sound: so many of the first rows are good, although the others are junk.
    """

    content: bytes
    rows: list[QA]
    parameters: dict[str, Any] = field(default_factory=dict)
    shows: Scene | None = None
    of: str | None = None
    sound: int = 0


def ask(scene: Scene, rng: np.random.Generator, count: int) -> list[QA]:
    """The caption and ``count`` of the scene's planted questions, drawn at random, each in its two forms.

    Every video of a corpus has as many, so that the number of its questions tells nothing.
    """
    drawn = sorted(rng.permutation(len(scene.planted))[:count])
    return questions(replace(scene, planted=tuple(scene.planted[i] for i in drawn)))
