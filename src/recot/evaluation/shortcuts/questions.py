"""What a classifier gets to see of a folder of videos: the words, and what a file manager would show."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recot.errors import DataError, VideoError
from recot.tiny_world.planting import OPTIONS, TASKS
from recot.video_io import probe

MAKE = "Make such a folder with `python -m recot.tiny_world --out DIR --videos N --frames F --seed S --split test`."


@dataclass(frozen=True)
class Metadata:
    """Of an mp4 file, none of whose frames was decoded."""

    bytes: int
    duration_s: float
    bits_a_second: float
    bytes_a_frame: float


@dataclass(frozen=True)
class Choice:
    """A multiple-choice question; ``right`` is the index of the true option. Twins share their ``scene``."""

    scene: int
    task: str
    question: str
    options: tuple[str, ...]
    right: int
    metadata: Metadata


@dataclass(frozen=True)
class Open:
    """A free-form question."""

    scene: int
    task: str
    question: str
    answer: str


@dataclass(frozen=True)
class Folder:
    """All that ``python -m recot.tiny_world`` asks about the videos of a folder."""

    choices: tuple[Choice, ...]
    opens: tuple[Open, ...]

    @property
    def scenes(self) -> set[int]:
        """Seeds; twins share one."""
        return {choice.scene for choice in self.choices}


def read_folder(folder: Path) -> Folder:
    """Read the questions and probe the videos.

    Args:
        folder: made by ``python -m recot.tiny_world``.

    Raises:
        DataError: if it is none, or a file in it is damaged.
    """
    truths = sorted((folder / "videos").glob("*.json"))
    if not truths:
        raise DataError(f"{folder} has no videos/*.json with the ground truth of videos. {MAKE}")
    choices: list[Choice] = []
    opens: list[Open] = []
    for path in truths:
        try:
            truth = json.loads(path.read_text())
            metadata = _probe(path.parent / truth["video"])
            choices.extend(choices_of(truth, metadata))
            opens.extend(_opens_of(truth))
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else error
            raise DataError(f"{path} is not the ground truth of a video of the tiny world: {reason}. {MAKE}") from error
    if not choices:
        raise DataError(f"{folder}: its videos are too short for questions. Make them with --frames=64, for example.")
    return Folder(tuple(choices), tuple(opens))


def choices_of(truth: dict[str, Any], metadata: Metadata) -> Iterator[Choice]:
    """The multiple-choice questions of a video's ground truth, as ``recot.tiny_world.rendering`` writes it.

    Raises:
        KeyError, TypeError, ValueError: where the ground truth is none.
    """
    for qa in truth["qa"]:
        if qa["options"]:
            options = tuple(map(str, qa["options"]))
            if len(options) != OPTIONS or options.count(qa["answer"]) != 1 or qa["task_type"] not in TASKS:
                raise ValueError(f"{qa['sample_id']} is not a question with {OPTIONS} options, one of them right")
            right = options.index(qa["answer"])
            yield Choice(int(truth["seed"]), qa["task_type"], str(qa["question"]), options, right, metadata)


def _opens_of(truth: dict[str, Any]) -> Iterator[Open]:
    for qa in truth["qa"]:
        if not qa["options"] and qa["task_type"] in TASKS:
            yield Open(int(truth["seed"]), qa["task_type"], str(qa["question"]), str(qa["answer"]))


def _probe(video: Path) -> Metadata:
    try:
        facts = probe(video)
    except VideoError as error:
        raise ValueError(f"its video can't be read ({error})") from error
    size = video.stat().st_size
    return Metadata(size, facts.duration_s, 8 * size / facts.duration_s, size / facts.frames)
