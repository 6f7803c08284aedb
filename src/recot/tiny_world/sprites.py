"""Where sprites are, when, and how they move. All numbers are our choice."""

import math

import numpy as np

from recot.tiny_world.elements import Sprite
from recot.tiny_world.motion import Bouncing, Circular, Linear, Motion, Static
from recot.tiny_world.vocabulary import BOUNCES, CIRCLES, STAYS, STRAIGHT

RADIUS = (0.08, 0.15)  # frame sides
SPEED = (0.125, 0.5)  # frame sides a second, of what isn't asked about
CROSSING = 0.7  # longest straight path, in frame sides
ASKED_PATH = (0.25, 0.6)  # straight path of a sprite whose movement is asked about, in frame sides
_STATIC = 0.2
_PART = (0.1, 0.45)  # of a shot, before a sprite appears or after it is gone


def movement(sprite: Sprite, fps: float) -> str | None:
    """What a sprite is seen to do: ``STAYS``, ``BOUNCES``, ``CIRCLES`` or one of ``STRAIGHT``.

    A motion is named by what is visible: a sprite that would bounce but disappears before it meets an edge moves in a
    straight line. None where frames don't show it clearly: a single frame, or less than a third of a circle.
    """
    seconds = (sprite.stop - 1 - sprite.start) / fps
    motion = sprite.motion
    if seconds == 0:
        return None
    if isinstance(motion, Static):
        return STAYS
    if isinstance(motion, Circular):
        return CIRCLES if abs(motion.turn) * seconds >= 2 * math.pi / 3 else None
    if isinstance(motion, Bouncing) and motion.has_bounced(seconds):
        return BOUNCES
    return STRAIGHT[round(math.atan2(motion.vy, motion.vx) / (math.pi / 4)) % 8]


def shown_frames(rng: np.random.Generator, start: int, stop: int, *, lead: bool, inside: bool) -> tuple[int, int]:
    """When a sprite of a shot appears and is gone.

    Args:
        rng: draws the same count of numbers in every case.
        start: first frame of the shot.
        stop: its end.
        lead: shown for the whole shot, so that no frame is empty.
        inside: neither on the first nor on the last frame of the shot; it needs 3 frames.
    """
    length = stop - start
    late, early = rng.random(2) < 0.5
    before, after = (int(length * part) for part in rng.uniform(*_PART, 2))
    if lead:
        return start, stop
    if inside:
        return start + max(1, before), stop - max(1, after)
    return start + before * int(late), stop - after * int(early)


def make_sprite(
    rng: np.random.Generator,
    thing: str,
    move: str | None,
    *,
    start: int,
    stop: int,
    size: int,
    fps: float,
    lead: bool,
) -> Sprite:
    """A sprite at a random place.

    Args:
        rng: where, how large and how fast. The numbers drawn don't depend on ``thing``.
        thing: one of ``OBJECTS``.
        move: one of ``STRAIGHT``; None for any motion.
        start: first frame that may show it.
        stop: end of these frames.
        size: side of the frame in pixels.
        fps: frames a second.
        lead: it has to be shown for all that time, so that a straight path must be short enough.
    """
    colour, shape = thing.split()
    radius = float(size * rng.uniform(*RADIUS))
    seconds = (stop - 1 - start) / fps
    if move is not None:
        speed = float(rng.uniform(*ASKED_PATH)) * size / seconds
        asked = _straight(rng, STRAIGHT.index(move), speed=speed, size=size, seconds=seconds)
        return Sprite(shape, colour, radius, asked, start, stop)
    speed = float(rng.uniform(*SPEED))
    too_far = speed * seconds > CROSSING
    kind = str(rng.choice(("bouncing", "circular") if lead and too_far else ("linear", "bouncing", "circular")))
    if rng.random() < _STATIC:
        kind = "static"
    if kind == "linear" and too_far:
        stop = start + 1 + math.floor(CROSSING / speed * fps + 1e-9)
        seconds = (stop - 1 - start) / fps
    motion = _any_motion(rng, kind, radius, size=size, speed=speed * size, seconds=seconds)
    return Sprite(shape, colour, radius, motion, start, stop)


def meet(a: Sprite, b: Sprite, fps: float) -> bool:
    """Whether two sprites overlap on the first frame that shows both: one might then never be seen."""
    frame = max(a.start, b.start)
    if not (a.shown(frame) and b.shown(frame)):
        return False
    (ax, ay), (bx, by) = a.centre(frame, fps), b.centre(frame, fps)
    reach = a.radius + b.radius + 1  # edges are softened by half a pixel
    return abs(ax - bx) < reach and abs(ay - by) < reach


def _any_motion(
    rng: np.random.Generator, kind: str, radius: float, *, size: int, speed: float, seconds: float
) -> Motion:
    """A motion of ``speed`` pixels a second that keeps the centre inside the frame for ``seconds``."""
    x, y = (float(v) for v in rng.uniform(radius, size - radius, 2))
    if kind == "static":
        return Static(x, y)
    if kind == "circular":
        orbit = float(size * rng.uniform(0.1, 0.2))
        x, y = (float(v) for v in rng.uniform(radius + orbit, size - radius - orbit, 2))
        turn = speed / orbit * (1 if rng.random() < 0.5 else -1)
        return Circular(x, y, orbit, float(rng.uniform(0, 2 * math.pi)), turn)
    straight = _straight(rng, int(rng.integers(8)), speed=speed, size=size, seconds=seconds)
    return straight if kind == "linear" else Bouncing(x, y, straight.vx, straight.vy, radius, size - radius)


def _straight(rng: np.random.Generator, direction: int, *, speed: float, size: int, seconds: float) -> Linear:
    """Through the middle of the frame, near one of eight directions, so that its name is never in doubt."""
    angle = direction * math.pi / 4 + float(rng.uniform(-0.2, 0.2))
    vx, vy = speed * math.cos(angle), speed * math.sin(angle)
    middle = rng.uniform(0.4, 0.6, 2) * size
    return Linear(float(middle[0]) - vx * seconds / 2, float(middle[1]) - vy * seconds / 2, vx, vy)
