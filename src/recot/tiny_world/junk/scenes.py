"""Scenes as a changed copy shows them, so that what is said of the copy is true; and scenes of one shot."""

from dataclasses import replace

import numpy as np

from recot.tiny_world.elements import Planted, Scene, Shot, Sprite
from recot.tiny_world.motion import Bouncing, Circular, Linear, Motion, Static
from recot.tiny_world.scene import span_text
from recot.tiny_world.sprites import RADIUS
from recot.tiny_world.vocabulary import COLOURS, NOT_SHOWN, SHAPES, STRAIGHT

_BANDS = 3  # sprites of a scene of one shot: each has a band of its own, so that none ever hides another
_SPEED = (0.25, 0.5)  # frame sides a second; faster where that is less than one side in the whole video


def mirrored(scene: Scene) -> Scene:
    """The scene with left and right swapped, in its answers too. Backgrounds stay as they are."""
    shots = tuple(
        replace(shot, sprites=tuple(replace(s, motion=_mirror(s.motion, scene.size)) for s in shot.sprites))
        for shot in scene.shots
    )
    planted = tuple(replace(p, options=tuple(_swap_sides(option) for option in p.options)) for p in scene.planted)
    return replace(scene, shots=shots, planted=planted)


def trimmed(scene: Scene, start: int, stop: int) -> Scene:
    """The scene of the frames ``start <= frame < stop``, counted from 0 again.

    Questions stay whose evidence does, as a whole; so a count counts what it counted before. Where the right answer is
    ``NOT_SHOWN``, that stays true.
    """
    shots = tuple(
        Shot(
            max(shot.start, start) - start,
            min(shot.stop, stop) - start,
            shot.background,
            tuple(_trim(s, start, stop, scene.fps) for s in shot.sprites if s.start < stop and s.stop > start),
        )
        for shot in scene.shots
        if shot.start < stop and shot.stop > start
    )
    planted = tuple(kept for p in scene.planted if (kept := _trim_question(p, scene, start, stop)))
    return replace(scene, frames=stop - start, shots=shots, planted=planted)


def one_shot(like: Scene, rng: np.random.Generator) -> Scene:
    """One to three objects, no two of a colour or shape, in full view on every frame of a single shot.

    A third one stays where it is, the others move.

    Args:
        like: gives seed, length, size, frame rate and the background.
        rng: draws the objects.
    """
    colours = [list(COLOURS)[i] for i in rng.permutation(len(COLOURS))]
    shapes = [SHAPES[i] for i in rng.permutation(len(SHAPES))]
    bands = rng.permutation(_BANDS)[: int(rng.integers(1, _BANDS + 1))]
    sprites = []
    for i, band in enumerate(bands):
        radius = float(like.size * rng.uniform(*RADIUS))
        x, y = float(rng.uniform(radius, like.size - radius)), (int(band) + 0.5) * like.size / _BANDS
        sides = max(float(rng.uniform(*_SPEED)), 1 / like.duration_s) * float(rng.choice((-1, 1)))
        motion: Motion = Bouncing(x, y, sides * like.size, 0.0, radius, like.size - radius)
        if i == 2:
            motion = Static(x, y)
        sprites.append(Sprite(shapes[band], colours[band], radius, motion, 0, like.frames))
    shot = Shot(0, like.frames, like.shots[0].background, tuple(sprites))
    return replace(like, shots=(shot,), planted=())


def _mirror(motion: Motion, size: int) -> Motion:
    match motion:
        case Static(x=x):
            return replace(motion, x=size - x)
        case Linear(x=x, vx=vx):
            return replace(motion, x=size - x, vx=-vx)
        case Bouncing(x=x, vx=vx, low=low, high=high):
            assert np.isclose(low + high, size), "edges are as far from the left as from the right"
            return replace(motion, x=size - x, vx=-vx)
        case Circular(x=x, phase=phase, turn=turn):
            return replace(motion, x=size - x, phase=np.pi - phase, turn=-turn)


def _swap_sides(option: str) -> str:
    """Only in what names a movement: the "right after" of a question has nothing to do with sides."""
    other = {"left": "right", "right": "left"}
    return " ".join(other.get(word, word) for word in option.split()) if option in STRAIGHT else option


def _trim(sprite: Sprite, start: int, stop: int, fps: float) -> Sprite:
    """The part of a sprite's life within the frames, its clock set back."""
    first = max(sprite.start, start)
    motion = _later(sprite.motion, (first - sprite.start) / fps)
    return replace(sprite, motion=motion, start=first - start, stop=min(sprite.stop, stop) - start)


def _later(motion: Motion, seconds: float) -> Motion:
    """The motion as it goes on from a moment."""
    match motion:
        case Static():
            return motion
        case Linear():
            x, y = motion.at(seconds)
            return replace(motion, x=x, y=y)
        case Circular(phase=phase, turn=turn):
            return replace(motion, phase=phase + turn * seconds)
        case Bouncing(vx=vx, vy=vy):
            x, y = motion.at(seconds)
            flips = [_flipped(motion, place + v * seconds) for place, v in ((motion.x, vx), (motion.y, vy))]
            return replace(motion, x=x, y=y, vx=-vx if flips[0] else vx, vy=-vy if flips[1] else vy)


def _flipped(motion: Bouncing, straight: float) -> bool:
    """Whether what would be at ``straight`` without edges goes backwards now."""
    span = motion.high - motion.low
    return (straight - motion.low) % (2 * span) > span


def _trim_question(planted: Planted, scene: Scene, start: int, stop: int) -> Planted | None:
    """The question with its seconds set back, None if evidence or an option's seconds are cut off."""
    begin, end = start / scene.fps, stop / scene.fps
    evidence: tuple[tuple[float, float], ...] = tuple((t0 - begin, t1 - begin) for t0, t1 in planted.evidence)
    if planted.options[planted.right] == NOT_SHOWN and planted.evidence == ((0.0, scene.duration_s),):
        evidence = ((0.0, end - begin),)
    elif not all(begin <= t0 and t1 <= end for t0, t1 in planted.evidence):
        return None
    spans = {_said(sprite, scene.fps, 0): sprite for sprite in scene.sprites}
    named = [spans[option] for option in planted.options if option in spans]
    if not all(start <= sprite.start and sprite.stop <= stop for sprite in named):
        return None
    options = tuple(_said(spans[o], scene.fps, start) if o in spans else o for o in planted.options)
    return replace(planted, options=options, evidence=evidence)


def _said(sprite: Sprite, fps: float, start: int) -> str:
    """When a sprite is shown, in seconds after frame ``start``."""
    return span_text(((sprite.start - start) / fps, (sprite.stop - start) / fps))
