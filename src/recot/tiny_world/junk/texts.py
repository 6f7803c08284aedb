"""Good videos with questions that teach nothing about them."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from recot.data.schema import QA
from recot.tiny_world.common_knowledge import common_questions
from recot.tiny_world.elements import Planted, Scene
from recot.tiny_world.junk.case import Case, Made, ask
from recot.tiny_world.junk.scenes import one_shot
from recot.tiny_world.planting import OPTIONS
from recot.tiny_world.render import render
from recot.tiny_world.sprites import movement
from recot.tiny_world.truth import caption
from recot.tiny_world.video import encode_mp4
from recot.tiny_world.vocabulary import BACKGROUNDS, COLOURS, NOT_SHOWN, OBJECTS, SHAPES

_Question = tuple[str, str, tuple[str, ...]]
"""Question, answer, and the values that options are drawn from."""

TRIES = 64
"""Scenes that ``wrong_text`` may look at."""


def wrong_text(case: Case) -> Made:
    """Caption and questions of another video; the scene is one of which none of the answers is true."""
    source = case.source()
    told = source.scene
    for number in range(TRIES):
        scene = case.scene(number)
        false = tuple(planted for planted in told.planted if not may_hold(planted, scene))
        if len(false) >= case.asked:
            break
    rows = ask(replace(told, planted=false), case.rng, case.asked)
    return Made(_encode(scene), rows, shows=scene, of=source.video)


def blind(case: Case) -> Made:
    """Questions that need no video. The caption stays, and is good."""
    scene = case.scene(0)
    asked: dict[str, tuple[QA, QA]] = {}
    while len(asked) < case.asked:
        choice, free = common_questions(case.rng)
        asked[choice.question] = (choice, free)
    rows = _put_in_place(ask(scene, case.rng, case.asked), [qa for pair in asked.values() for qa in pair])
    return Made(_encode(scene), rows, shows=scene, sound=1)


def single_frame(case: Case) -> Made:
    """A scene of one shot, and questions that each of its frames answers. The caption is good."""
    usual = case.scene(0)
    scene = one_shot(usual, case.rng)
    about = [_FRAME_QUESTIONS[i] for i in case.rng.permutation(len(_FRAME_QUESTIONS))[: case.asked]]
    asked = [qa for question in about for qa in _both_forms(question(scene, case.rng), case.rng)]
    rows = _put_in_place(ask(usual, case.rng, case.asked), asked)
    rows[0] = replace(rows[0], answer=caption(scene))
    return Made(_encode(scene), rows, shows=scene, sound=1)


def may_hold(planted: Planted, scene: Scene) -> bool:
    """Whether the right answer to a question about another video is right for this scene too, or might be called so."""
    answer = planted.options[planted.right]
    asked = next((thing for thing in OBJECTS if thing in planted.question), None)
    options = set(planted.options)
    seen = [sprite for sprite in scene.sprites if sprite.name == asked]
    match planted.task:
        case "needle":
            found = {sprite.name for sprite in scene.sprites} & options
        case "order":
            named = [sprite for sprite in scene.sprites if sprite.name in options]
            last = "last" in planted.question
            found = {sprite.name for sprite in sorted(named, key=lambda s: s.start, reverse=last)[:1]}
        case "binding":
            found = {movement(sprite, scene.fps) or answer for sprite in seen}
        case "counting":
            found = {str(len(seen))} if seen else set()
        case "grounding":
            ((t0, t1),) = planted.evidence
            at_that_time = any(s.start / scene.fps < t1 and s.stop / scene.fps > t0 for s in seen)
            found = {answer if at_that_time and answer != NOT_SHOWN else "another time"} if seen else set()
        case "multi_hop":
            shots = zip(scene.shots[:-1], scene.shots[1:], strict=True)
            after = [following for shot, following in shots if any(s.name == asked for s in shot.sprites)]
            found = {sprite.name for shot in after for sprite in shot.sprites} & options
    return answer in (found or {NOT_SHOWN})


def _background(scene: Scene, rng: np.random.Generator) -> _Question:
    return "What kind of background does the video have?", scene.shots[0].background.kind, BACKGROUNDS


def _shape(scene: Scene, rng: np.random.Generator) -> _Question:
    sprite = scene.sprites[int(rng.integers(len(scene.sprites)))]
    return f"What shape is the {sprite.colour} object in the video?", sprite.shape, SHAPES


def _colour(scene: Scene, rng: np.random.Generator) -> _Question:
    sprite = scene.sprites[int(rng.integers(len(scene.sprites)))]
    return f"What colour is the {sprite.shape} in the video?", sprite.colour, tuple(COLOURS)


def _object(scene: Scene, rng: np.random.Generator) -> _Question:
    shown = [sprite.name for sprite in scene.sprites]
    answer = shown[int(rng.integers(len(shown)))]
    wrong = tuple(thing for thing in OBJECTS if thing not in shown)
    return "Which of these objects is in the video?", answer, (answer, *wrong)


def _number(scene: Scene, rng: np.random.Generator) -> _Question:
    return "How many objects are in the video?", str(len(scene.sprites)), ("1", "2", "3", "4")


_FRAME_QUESTIONS: tuple[Callable[[Scene, np.random.Generator], _Question], ...] = (
    _background,
    _shape,
    _colour,
    _object,
    _number,
)


def _both_forms(asked: _Question, rng: np.random.Generator) -> tuple[QA, QA]:
    """With ``OPTIONS`` options, and free-form."""
    question, answer, values = asked
    wrong = [value for value in values if value != answer]
    options = [answer, *(wrong[i] for i in rng.permutation(len(wrong))[: OPTIONS - 1])]
    shuffled = [options[i] for i in rng.permutation(OPTIONS)]
    named = f"{question[:-1]}: {', '.join(shuffled[:-1])} or {shuffled[-1]}?" if "these" in question else question
    return QA("", question, answer, options=shuffled), QA("", named, answer)


def _put_in_place(rows: list[QA], others: list[QA]) -> list[QA]:
    """The caption, then the words of others in the rows' places: task type and seconds stay and tell nothing."""
    told = zip(rows[1:], others, strict=True)
    return [
        rows[0],
        *(replace(row, question=qa.question, answer=qa.answer, options=qa.options) for row, qa in told),
    ]


def _encode(scene: Scene) -> bytes:
    return encode_mp4(render(scene), size=scene.size, fps=scene.fps)
