"""Seeded scenes of moving shapes: everything that is true of a video, before a pixel is drawn."""

import math
from collections.abc import Mapping
from itertools import pairwise

import numpy as np

from recot.errors import ConfigError
from recot.randomness import keyed_rng
from recot.tiny_world.elements import Background, Planted, Scene, Shot, Sprite
from recot.tiny_world.planting import MIN_SHOTS, TASKS, Deal, Draft, Place, Plan, Role, deal, make_plan
from recot.tiny_world.sprites import make_sprite, meet, shown_frames
from recot.tiny_world.timeline import count_shots, cut
from recot.tiny_world.vocabulary import BACKGROUNDS, OBJECTS

DEFAULT_SIZE = 64
DEFAULT_FPS = 8.0
MIN_SIZE, MAX_SIZE = 32, 2048
MAX_FRAMES = 2**20
MIN_FRAMES_TO_ASK = 8
_TRIES = 200  # to place a sprite clear of the others


def check_format(*, frames: int, size: int, fps: float) -> None:
    """Refuse a video that can't be made.

    Raises:
        ConfigError: naming the value, what is possible, and what to do.
    """
    if not 1 <= frames <= MAX_FRAMES:
        raise ConfigError(
            f"tiny world: frames={frames}, but videos of 1 to {MAX_FRAMES} frames can be made; from "
            f"{MIN_FRAMES_TO_ASK} on, there are questions about them. Set frames=64, for example."
        )
    if size % 2 or not MIN_SIZE <= size <= MAX_SIZE:
        raise ConfigError(
            f"tiny world: size={size}, but H.264 video is made with an even side of {MIN_SIZE} to {MAX_SIZE} "
            f"pixels. Set size to {DEFAULT_SIZE}, for example."
        )
    if not 0.1 <= fps <= 240:
        raise ConfigError(
            f"tiny world: fps={fps}, but 0.1 to 240 frames a second can be made. Set fps={DEFAULT_FPS:g}."
        )


def tasks_for(frames: int) -> tuple[str, ...]:
    """The tasks that a video of so many frames has questions of."""
    shots = count_shots(frames)
    return tuple(task for task in TASKS if frames >= MIN_FRAMES_TO_ASK and shots >= MIN_SHOTS[task])


def make_scene(
    seed: int,
    *,
    frames: int,
    size: int = DEFAULT_SIZE,
    fps: float = DEFAULT_FPS,
    deals: Mapping[str, Deal] | None = None,
    twin: bool = False,
) -> Scene:
    """The scene of a seed: a pure function of its arguments.

    Args:
        seed: of everything but the right answers.
        frames: length of the video.
        size: side of a frame in pixels, even.
        fps: frames a second.
        deals: task -> where its right answer stands, for tasks of ``tasks_for(frames)``; None deals all these tasks by
            the seed, right answers being uniform over many seeds. A data set deals them exactly uniformly.
        twin: mark the scene as the twin of the one with the other deals.

    Raises:
        ConfigError: on a format that can't be made, see ``check_format``.
        ValueError: for deals of tasks that such a video has no room for.
    """
    check_format(frames=frames, size=size, fps=fps)
    possible = tasks_for(frames)
    if deals is None:
        deals = {task: deal(seed, "", task, 0, twin=twin) for task in possible}
    if not set(deals) <= set(possible):
        raise ValueError(f"{frames} frames have room for {possible}, not for all of {tuple(deals)}")
    plan = make_plan(seed, count_shots(frames), deals)
    bounds = cut(keyed_rng("tiny_world", seed, "cuts"), frames)
    shots: list[Shot] = []
    placed: dict[Place, Sprite] = {}
    for number, (start, stop) in enumerate(pairwise(bounds)):
        sprites = _fill(seed, number, plan, start=start, stop=stop, size=size, fps=fps)
        placed |= {Place(number, i): sprite for i, sprite in enumerate(sprites)}
        shots.append(
            Shot(start, stop, _make_background(keyed_rng("tiny_world", seed, "behind", number), size), sprites)
        )
    planted = tuple(_resolve(draft, placed, frames / fps, fps) for draft in plan.drafts)
    return Scene(seed, frames, size, fps, tuple(shots), planted, twin)


def span_text(span: tuple[float, float]) -> str:
    """``from 1.00 to 1.50 s``."""
    return f"from {span[0]:.2f} to {span[1]:.2f} s"


def _resolve(draft: Draft, placed: Mapping[Place, Sprite], duration_s: float, fps: float) -> Planted:
    """The question with its seconds, now that they are known."""

    def span(place: Place) -> tuple[float, float]:
        return placed[place].start / fps, placed[place].stop / fps

    options = tuple(span_text(span(o)) if isinstance(o, Place) else o for o in draft.options)
    evidence = tuple(sorted(span(place) for place in draft.evidence)) or ((0.0, duration_s),)
    return Planted(draft.task, draft.question, options, draft.right, evidence)


def _make_background(rng: np.random.Generator, size: int) -> Background:
    """Dim, so that every sprite's colour stands out against it."""
    dark = tuple(int(v) for v in rng.integers(5, 60, 3))
    light = tuple(int(v) for v in rng.integers(50, 130, 3))
    return Background(
        kind=str(rng.choice(BACKGROUNDS)),
        first=(dark[0], dark[1], dark[2]),
        second=(light[0], light[1], light[2]),
        angle=float(rng.uniform(0, 2 * math.pi)),
        period=float(size * rng.uniform(0.1, 0.3)),
        seed=int(rng.integers(2**62)),
    )


def _fill(seed: int, shot: int, plan: Plan, *, start: int, stop: int, size: int, fps: float) -> tuple[Sprite, ...]:
    """The planned sprites of a shot and perhaps others that no question names, up to 3 in all."""
    rng = keyed_rng("tiny_world", seed, "crowd", shot)
    last = max((place.index for place in plan.roles if place.shot == shot), default=0)
    count = max(last + 1, int(rng.integers(1, 4)))
    roles = [plan.roles.get(Place(shot, i), Role(None)) for i in range(count)]
    free = [thing for thing in rng.permutation(OBJECTS) if thing not in plan.reserved]
    sprites: list[Sprite] = []
    for i, role in enumerate(roles):
        thing = role.thing or str(free[i])
        # The frames are drawn before the sprite, by themselves: options name them, and must not depend on the answer.
        own = keyed_rng("tiny_world", seed, "sprite", shot, i)
        shown = shown_frames(own, start, stop, lead=i == 0 or role.movement is not None, inside=role.inside)
        sprites.append(_place(own, thing, role, sprites, shown=shown, size=size, fps=fps, lead=i == 0))
    return tuple(sprites)


def _place(
    rng: np.random.Generator,
    thing: str,
    role: Role,
    others: list[Sprite],
    *,
    shown: tuple[int, int],
    size: int,
    fps: float,
    lead: bool,
) -> Sprite:
    """A sprite that doesn't start on top of another one; should there be no room in many tries, the last try."""
    for _ in range(_TRIES):
        sprite = make_sprite(
            rng, thing, role.movement, start=shown[0], stop=shown[1], size=size, fps=fps, lead=lead or role.inside
        )
        if not any(meet(sprite, other, fps) for other in others):
            break
    return sprite
