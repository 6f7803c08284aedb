"""Documents to learn reading from: what they tell, or show in words, of a scene, and what they ask."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from recot.data.schema import QA
from recot.tiny_world.common_knowledge import common_questions
from recot.tiny_world.elements import Planted, Scene
from recot.tiny_world.text_batch import Document
from recot.tiny_world.text_questions import View, ask, recast
from recot.tiny_world.truth import facts, questions
from recot.tiny_world.word_pictures import written

RECAST = 0.5  # of the training documents
DESCRIBED = 24  # frames of the longest pictured video that is always described
ELSE_DESCRIBED = 0.25  # of the longer ones
LONGEST_DESCRIBED = 96  # frames; a longer description would outweigh all questions
LEAST_SHOTS = 3  # of a pictured video that has some only
IN_A_ROW = 0.5  # of the training documents tell of successive shots, others of any


@dataclass(frozen=True, kw_only=True)
class Level:
    """What training documents are like up to a step.

    Args:
        until: first step of the next level; null for the last one.
        tasks: drawn from uniformly, of ``TASKS``; one that is named twice is drawn twice as often.
        shots: least and most shots that a document tells of.
        seconds: share of documents whose facts say when.
        documents: with facts, a batch; there is one more without.
        questions: a document.
        choice: share of questions that come with options.
        pictured: documents a batch that show a video in words instead of telling facts.
        pictured_frames: drawn from uniformly for these.
        pictured_whole: share of these that have all words, see ``recot.tiny_world.word_pictures.written``.
        pictured_kept: least and most of the words for background in others.
        pictured_parts: share of these that show some of their shots only.
    """

    until: int | None
    tasks: Sequence[str]
    shots: tuple[int, int]
    seconds: float
    documents: int
    questions: int
    choice: float
    pictured: int = 0
    pictured_frames: Sequence[int] = ()
    pictured_whole: float = 0.5
    pictured_kept: tuple[float, float] = (0.2, 1.0)
    pictured_parts: float = 0.0


def training_document(scene: Scene, level: Level, rng: np.random.Generator) -> Document:
    """Questions on some shots of a scene, drawn with ``rng``."""
    if rng.random() < RECAST:
        scene = recast(scene, rng, cast=int(rng.integers(4, 13)))
    most = min(level.shots[1], len(scene.shots))
    count = int(rng.integers(min(level.shots[0], most), most + 1))
    first = int(rng.integers(len(scene.shots) - count + 1))
    any_shots = sorted(int(i) for i in rng.permutation(len(scene.shots))[:count])
    numbers = list(range(first, first + count)) if rng.random() < IN_A_ROW else any_shots
    told = facts(scene)
    lines = [told[i] for i in numbers]
    tasks = level.tasks
    if rng.random() >= level.seconds:
        lines = [without_seconds(line) for line in lines]
        tasks = [task for task in tasks if task != "grounding"]
    view = View(scene, numbers)
    asked = [either(common_questions(rng), level, rng)]
    for i in rng.integers(len(tasks), size=level.questions - 1):
        if planted := ask(tasks[i], view, rng):
            asked.append(either(both_forms(scene, planted), level, rng))
    return Document(lines, asked)


def pictured_document(scene: Scene, level: Level, rng: np.random.Generator) -> Document:
    """A whole scene as a picture in words, with questions and perhaps its description."""
    if rng.random() < RECAST:
        scene = recast(scene, rng, cast=int(rng.integers(4, 13)))
    shots = list(range(len(scene.shots)))
    part = level.pictured_parts > 0 and rng.random() < level.pictured_parts
    if part:
        count = int(rng.integers(min(LEAST_SHOTS, len(shots)), len(shots) + 1))
        shots = sorted(int(i) for i in rng.permutation(len(shots))[:count])
    view = View(scene, shots)
    may = not part and scene.frames <= LONGEST_DESCRIBED
    described = may and (scene.frames <= DESCRIBED or rng.random() < ELSE_DESCRIBED)
    asked = [questions(scene)[0]] if described else []
    for i in rng.integers(len(level.tasks), size=level.questions):
        if planted := ask(level.tasks[i], view, rng):
            asked.append(either(both_forms(scene, planted), level, rng))
    picture = written(scene, rng, shots=set(shots), whole=level.pictured_whole, kept=level.pictured_kept)
    return Document([], asked, picture)


def planted_on_pictures(scene: Scene, rng: np.random.Generator) -> Document:
    """All planted questions in both forms, on a scene as a picture in words, with all or a part of the background."""
    asked = [qa for planted in scene.planted for qa in both_forms(scene, planted)]
    named = [replace(qa, task_type=f"pictured_{scene.frames}_{qa.task_type}") for qa in asked]
    return Document([], named, written(scene, rng))


def planted_document(scene: Scene, planted: Planted, shots: int, rng: np.random.Generator) -> Document:
    """A planted question in both forms, with the shots that hold its evidence and others, ``shots`` in all."""
    # Evidence for something that isn't shown is the whole video: then any shots do.
    whole = planted.evidence == ((0.0, scene.duration_s),)
    holds = [
        not whole and any(shot.start / scene.fps <= t0 < shot.stop / scene.fps for t0, _ in planted.evidence)
        for shot in scene.shots
    ]
    ranked = sorted(
        zip(rng.permutation(len(holds)), range(len(holds)), strict=True), key=lambda r: (not holds[r[1]], r[0])
    )
    told = facts(scene)
    return Document([told[i] for i in sorted(i for _, i in ranked[:shots])], both_forms(scene, planted))


def both_forms(scene: Scene, planted: Planted) -> tuple[QA, QA]:
    """The question with options and without."""
    _, choice, free = questions(replace(scene, planted=(planted,)))
    return choice, free


def without_seconds(fact: str) -> str:
    """``red circle moves left from 1.00 to 1.50 s`` -> ``red circle moves left``, for each line."""
    return re.sub(r" from [\d.]+ to [\d.]+ s", "", fact)


def either(forms: tuple[QA, QA], level: Level, rng: np.random.Generator) -> QA:
    """One of a question's two forms."""
    return forms[int(rng.random() >= level.choice)]
