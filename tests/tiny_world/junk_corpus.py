"""A corpus with junk on the disk, and what its ground truth says is true."""

import io
import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import av
import numpy as np

from recot.tiny_world.vocabulary import NOT_SHOWN, OBJECTS

VIDEOS, FRAMES, FPS, JUNK = 54, 64, 8.0, 0.9
ROWS = 7
SAME_VIEW = ("exact_duplicate", "reencoded", "crop", "brightness")


@dataclass(frozen=True)
class Made:
    """A corpus on the disk; its truth and labels by the paths that annotations use."""

    folder: Path

    @cached_property
    def truth(self) -> dict[str, dict[str, Any]]:
        return {f"videos/{t['video']}": t for t in map(read, (self.folder / "truth" / "corpus").iterdir())}

    @cached_property
    def evaluated(self) -> dict[str, dict[str, Any]]:
        return {f"videos/{t['video']}": t for t in map(read, (self.folder / "truth" / "evaluation").iterdir())}

    @cached_property
    def labels(self) -> dict[str, dict[str, Any]]:
        return {label["video"]: label for label in read(self.folder / "truth" / "labels.json")}

    @cached_property
    def annotations(self) -> list[dict[str, Any]]:
        return read(self.folder / "corpus" / "annotations.json")

    @property
    def clean(self) -> list[str]:
        return sorted(set(self.truth) - set(self.labels))

    def of_kind(self, *kinds: str) -> list[dict[str, Any]]:
        found = [label for label in self.labels.values() if label["kind"] in kinds]
        assert len(found) >= 3 * len(kinds)
        return found

    def content(self, video: str, part: str = "corpus") -> bytes:
        return (self.folder / part / video).read_bytes()

    def rows(self, video: str) -> list[dict[str, Any]]:
        return [row for row in self.annotations if row["video"] == video]


def arguments(folder: Path, **changes: object) -> list[str]:
    wanted = {"out": folder, "videos": 20, "frames": 32, "seed": 5, "junk": 0.8, **changes}
    return [f"--{name}={value}" for name, value in wanted.items() if value is not None]


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def decode(content: bytes, size: int | None = None) -> np.ndarray:
    with av.open(io.BytesIO(content)) as container:
        shown = container.decode(video=0)
        return np.stack([f.to_ndarray(format="rgb24", width=size, height=size) for f in shown]).astype(int)


def difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).mean())


def said(row: dict[str, Any]) -> tuple[str, str]:
    """Question and answer."""
    human, gpt = row["conversations"]
    return human["value"].removeprefix("<image>\n"), gpt["value"]


# What is true of a video, from the events of its ground truth alone.


@dataclass(frozen=True)
class Shown:
    name: str
    movement: str | None
    t0: float
    t1: float


def sprites(truth: dict[str, Any]) -> list[Shown]:
    events = [event for event in truth["events"] if event["kind"] == "sprite"]
    return [
        Shown(f"{a['colour']} {a['shape']}", a["movement"], event["t0"], event["t1"])
        for event in events
        for a in [event["attributes"]]
    ]


def cuts(truth: dict[str, Any]) -> list[float]:
    return [event["t0"] for event in truth["events"] if event["kind"] == "cut"]


def is_true(row: dict[str, Any], seen: list[Shown], cut: list[float]) -> bool:
    """Whether the answer of a row is right; ``seen`` and ``cut`` are the sprites and the cuts of the video."""
    question, answer = said(row)
    names = [s.name for s in seen]
    listed = row["options"] or [thing for thing in OBJECTS if thing in question]
    found = re.search(r"(?:the|the one with the) (\w+ \w+)(?: move| appear| shown|\?|:)", question)
    listed = [option for option in listed if option != NOT_SHOWN and not (found and option == found[1])]
    asked = [s for s in seen if found and s.name == found[1]]
    answers: set[str]
    if question.startswith("Which of these objects is shown in the video"):
        answers = set(listed) & set(names)
    elif question.startswith("How does"):
        answers = {str(s.movement) for s in asked}
    elif question.startswith("How many times"):
        answers = {str(len(asked))} - {"0"}
    elif question.startswith("When is"):
        answers = {f"from {s.t0:.2f} to {s.t1:.2f} s" for s in asked}
    elif question.startswith("Which of these objects appears"):
        there = sorted((s for s in seen if s.name in listed), key=lambda s: s.t0, reverse=" last" in question)
        answers = {s.name for s in there[:1]}
    else:
        assert "in the scene right after" in question
        bounds = [0.0, *cut, float("inf")]
        hops = [sum(s.t0 >= start for start in bounds) for s in asked]
        answers = {s.name for s in seen if sum(s.t0 >= start for start in bounds) - 1 in hops} & set(listed)
    return answer in (answers or {NOT_SHOWN})


def swap(text: str) -> str:
    return re.sub(r"\b(left|right)\b", lambda m: {"left": "right", "right": "left"}[m[1]], text)


def asked_rows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    assert len(rows) == ROWS
    asked = [row for row in rows if said(row)[0] != "Describe the video."]
    assert len(asked) == ROWS - 1
    return asked


def caption_of(rows: list[dict[str, Any]]) -> str:
    (row,) = (row for row in rows if said(row)[0] == "Describe the video.")
    return said(row)[1]
