"""Many questions about a part of a scene, worded like the planted ones, to learn reading from.

A scene has one planted question a task. Reading is learned faster from many questions on few facts, so here anything
that is true of the shots at hand is asked about. Answers may be guessed from how often they are right; whoever
measures reading asks the planted questions.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from recot.tiny_world.elements import Planted, Scene, Shot, Sprite
from recot.tiny_world.scene import span_text
from recot.tiny_world.sprites import movement
from recot.tiny_world.vocabulary import MOVEMENTS, NOT_SHOWN, OBJECTS

T = TypeVar("T")

OFFERED = 0.4  # of the questions have NOT_SHOWN among their options
RIGHT = 0.1  # of the questions have it as the right answer, as among planted ones


@dataclass(frozen=True)
class Seen:
    """One sprite of the shots that are asked about."""

    name: str
    movement: str | None
    span: tuple[float, float]  # seconds
    shot: int


class View:
    """Shots of a scene, as far as questions go.

    Args:
        scene: they are part of.
        numbers: which of its shots, ascending, from 0.
    """

    def __init__(self, scene: Scene, numbers: Sequence[int]) -> None:
        self.shots = set(numbers)
        self.seen = [
            Seen(s.name, movement(s, scene.fps), (s.start / scene.fps, s.stop / scene.fps), number)
            for number in numbers
            for s in scene.shots[number].sprites
        ]
        self.count = Counter(seen.name for seen in self.seen)
        self.once = [seen for seen in self.seen if self.count[seen.name] == 1]
        self.absent = [name for name in OBJECTS if name not in self.count]


def recast(scene: Scene, rng: np.random.Generator, cast: int) -> Scene:
    """The scene played by ``cast`` objects at most, at least 3, so that many appear again; nothing else changes."""
    names = _draw(rng, OBJECTS, max(cast, 3))

    def shot(old: Shot) -> Shot:
        played = zip(old.sprites, _draw(rng, names, len(old.sprites)), strict=True)
        return replace(old, sprites=tuple(_as(sprite, name) for sprite, name in played))

    return replace(scene, shots=tuple(shot(old) for old in scene.shots), planted=())


def ask(task: str, view: View, rng: np.random.Generator) -> Planted | None:
    """A question of a planted task about the view; None if it leaves nothing to ask."""
    found = _ASK[task](view, rng)
    if found is None:
        return None
    question, answer, wrong = found
    options = [answer, *wrong[:3]]
    if answer != NOT_SHOWN and rng.random() < (OFFERED - RIGHT) / (1 - RIGHT):
        options[-1] = NOT_SHOWN
    order = rng.permutation(4)
    return Planted(task, question, tuple(options[i] for i in order), int(np.argmin(order)), ((0.0, 0.0),))


_Found = tuple[str, str, list[str]] | None  # question, answer, 3 or more wrong options


def _needle(view: View, rng: np.random.Generator) -> _Found:
    question = "Which of these objects is shown in the video?"
    answer = NOT_SHOWN if rng.random() < RIGHT else _draw(rng, list(view.count), 1)[0]
    return question, answer, _draw(rng, view.absent, 3)


def _binding(view: View, rng: np.random.Generator) -> _Found:
    moving = [seen for seen in view.once if seen.movement]
    if not moving:
        return None
    asked = moving[int(rng.integers(len(moving)))]
    if rng.random() < RIGHT:
        return f"How does the {_draw(rng, view.absent, 1)[0]} move?", NOT_SHOWN, _draw(rng, MOVEMENTS, 3)
    assert asked.movement is not None
    others = {seen.movement: None for seen in view.seen if seen.movement} | dict.fromkeys(_draw(rng, MOVEMENTS, 4))
    wrong = [move for move in others if move and move != asked.movement]
    wrong = [*_draw(rng, wrong[:2], 2), *wrong[2:]]
    return f"How does the {asked.name} move?", asked.movement, wrong


def _counting(view: View, rng: np.random.Generator) -> _Found:
    numbers = ("1", "2", "3", "4")
    if rng.random() < RIGHT:
        asked, answer = _draw(rng, view.absent, 1)[0], NOT_SHOWN
    else:
        # Large numbers have larger chances, as fewer views have them; how many objects appear so often doesn't matter.
        times = _draw(rng, [n for n in sorted(set(view.count.values())) if n <= 4 for _ in range(n**2)], 1)
        if not times:
            return None
        asked = _draw(rng, [name for name, n in view.count.items() if n == times[0]], 1)[0]
        answer = str(times[0])
    return f"How many times does the {asked} appear?", answer, [n for n in _draw(rng, numbers, 4) if n != answer]


def _order(view: View, rng: np.random.Generator) -> _Found:
    first = rng.random() < 0.5
    question = f"Which of these objects appears {'first' if first else 'last'}?"
    if rng.random() < RIGHT:
        return question, NOT_SHOWN, _draw(rng, view.absent, 3)
    shots = _draw(rng, sorted({seen.shot for seen in view.once}), 4)
    if len(shots) < 4:
        return None
    chosen = [_draw(rng, [seen for seen in view.once if seen.shot == shot], 1)[0] for shot in shots]
    chosen.sort(key=lambda seen: seen.shot, reverse=not first)
    return question, chosen[0].name, _draw(rng, [seen.name for seen in chosen[1:]], 3)


def _grounding(view: View, rng: np.random.Generator) -> _Found:
    spans = {span_text(seen.span): seen.shot for seen in view.seen}
    nothing = rng.random() < RIGHT
    asked = None if nothing or not view.once else view.once[int(rng.integers(len(view.once)))]
    answer = NOT_SHOWN if asked is None else span_text(asked.span)
    others = _draw(rng, [text for text in spans if text != answer], len(spans))
    others.sort(key=lambda text: asked is not None and spans[text] == asked.shot)  # other shots' first, as if planted
    if len(others) < 3:
        return None
    name = _draw(rng, view.absent, 1)[0] if asked is None else asked.name
    return f"When is the {name} shown?", answer, others


def _multi_hop(view: View, rng: np.random.Generator) -> _Found:
    anchors = [seen for seen in view.once if seen.shot + 1 in view.shots]
    if not anchors:
        return None
    anchor = anchors[int(rng.integers(len(anchors)))]
    here = {seen.name for seen in view.seen if seen.shot == anchor.shot + 1}
    elsewhere = [name for name in view.count if name not in here and name != anchor.name]
    elsewhere = [*_draw(rng, elsewhere, 3), *_draw(rng, view.absent, 3)]
    right = [name for name in here if name != anchor.name]
    answer = NOT_SHOWN if rng.random() < RIGHT or not right else _draw(rng, sorted(right), 1)[0]
    return (
        f"Which of these objects is shown in the scene right after the one with the {anchor.name}?",
        answer,
        elsewhere,
    )


_ASK: dict[str, Callable[[View, np.random.Generator], _Found]] = {
    "needle": _needle,
    "binding": _binding,
    "counting": _counting,
    "order": _order,
    "grounding": _grounding,
    "multi_hop": _multi_hop,
}


def _draw(rng: np.random.Generator, values: Sequence[T], count: int) -> list[T]:
    """Up to ``count`` different places of ``values``, in random order."""
    return [values[int(i)] for i in rng.permutation(len(values))[:count]]


def _as(sprite: Sprite, name: str) -> Sprite:
    colour, shape = name.split()
    return replace(sprite, colour=colour, shape=shape)
