"""Seeded scenes of moving shapes: everything that is true of a video, before a pixel is drawn.

Lengths are pixels (x to the right, y downwards), frames count from 0, and frame k is shown at k / fps seconds.
All numbers here are our choice: shapes cross 1/8 to 1/2 of the frame a second, which is 1-4 pixels a frame
at 64x64 and 8 fps.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from recot.errors import ConfigError
from recot.randomness import keyed_rng
from recot.tiny_world.motion import Bouncing, Circular, Linear, Motion, Static

COLOURS = {
    "red": (230, 50, 45),
    "green": (60, 200, 80),
    "blue": (60, 100, 245),
    "yellow": (245, 225, 60),
    "magenta": (225, 70, 225),
    "cyan": (70, 220, 230),
    "orange": (250, 145, 40),
    "white": (250, 250, 250),
}
SHAPES = ("circle", "square", "triangle", "diamond", "cross")
BACKGROUNDS = ("plain", "gradient", "striped", "checkered", "cloudy")
DIRECTIONS = ("right", "down and right", "down", "down and left", "left", "up and left", "up", "up and right")
DEFAULT_SIZE = 64
DEFAULT_FPS = 8.0
MIN_SIZE, MAX_SIZE = 32, 2048
MAX_SPRITES = 4  # a shot; two shots never run out of colours
SPEED = (0.125, 0.5)  # frame sides a second
CROSSING = 0.7  # longest straight path, in frame sides
STATIC_VIDEOS = 0.1
CUT_VIDEOS = 0.25
MIN_FRAMES_TO_CUT = 8


@dataclass(frozen=True)
class Sprite:
    """One shape, shown on frames ``start <= frame < stop``; ``radius`` is half the side of its box."""

    shape: str
    colour: str
    radius: float
    motion: Motion
    start: int
    stop: int

    def shown(self, frame: int) -> bool:
        """Whether the sprite is on this frame."""
        return self.start <= frame < self.stop

    def centre(self, frame: int, fps: float) -> tuple[float, float]:
        """Where its centre is on a frame; always inside the frame while the sprite is shown."""
        return self.motion.at((frame - self.start) / fps)


@dataclass(frozen=True)
class Background:
    """What is behind the sprites; it never moves. ``angle`` in radians, ``period`` in pixels."""

    kind: str
    first: tuple[int, int, int]
    second: tuple[int, int, int]
    angle: float
    period: float
    seed: int


@dataclass(frozen=True)
class Shot:
    """Frames ``start <= frame < stop`` between two cuts. Later sprites are drawn over earlier ones."""

    start: int
    stop: int
    background: Background
    sprites: tuple[Sprite, ...]


@dataclass(frozen=True)
class Scene:
    """A whole video: ``frames`` frames of ``size`` x ``size`` pixels."""

    seed: int
    frames: int
    size: int
    fps: float
    shots: tuple[Shot, ...]

    @property
    def duration_s(self) -> float:
        """Seconds from the first frame to the end of the last."""
        return self.frames / self.fps

    @property
    def sprites(self) -> tuple[Sprite, ...]:
        """The sprites of all shots, shot by shot; no two have the same colour."""
        return tuple(sprite for shot in self.shots for sprite in shot.sprites)


def check_format(*, frames: int, size: int, fps: float) -> None:
    """Refuse a video that can't be made.

    Raises:
        ConfigError: naming the value, what is possible, and what to do.
    """
    if frames < 1:
        raise ConfigError(f"tiny world: frames={frames}, but a video needs at least 1. Set frames to 4 or more.")
    if size % 2 or not MIN_SIZE <= size <= MAX_SIZE:
        raise ConfigError(
            f"tiny world: size={size}, but H.264 video is made with an even side of {MIN_SIZE} to {MAX_SIZE} "
            f"pixels. Set size to {DEFAULT_SIZE}, for example."
        )
    if not 0.1 <= fps <= 240:
        raise ConfigError(
            f"tiny world: fps={fps}, but 0.1 to 240 frames a second can be made. Set fps={DEFAULT_FPS:g}."
        )


def make_scene(seed: int, *, frames: int, size: int = DEFAULT_SIZE, fps: float = DEFAULT_FPS) -> Scene:
    """The scene of a seed: a pure function of its arguments.

    Raises:
        ConfigError: on a format that can't be made, see ``check_format``.
    """
    check_format(frames=frames, size=size, fps=fps)
    rng = keyed_rng("tiny_world", seed, frames, size, str(float(fps)))
    still = rng.random() < STATIC_VIDEOS
    bounds = [0, frames]
    if frames >= MIN_FRAMES_TO_CUT and rng.random() < CUT_VIDEOS:
        bounds.insert(1, round(frames * rng.uniform(0.35, 0.65)))
    colours = [str(name) for name in rng.permutation(list(COLOURS))]
    shots = []
    for start, stop in pairwise(bounds):
        own = [colours.pop() for _ in range(int(rng.integers(1, MAX_SPRITES + 1)))]
        sprites = _make_sprites(rng, own, start=start, stop=stop, size=size, fps=fps, still=still)
        shots.append(Shot(start, stop, _make_background(rng, size), sprites))
    return Scene(seed, frames, size, fps, tuple(shots))


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


def _make_sprites(
    rng: np.random.Generator, colours: list[str], *, start: int, stop: int, size: int, fps: float, still: bool
) -> tuple[Sprite, ...]:
    """One sprite a colour, except those for which no free place was found in a few tries."""
    sprites: list[Sprite] = []
    for colour in colours:
        for _ in range(20):
            lead = not sprites
            sprite = _make_sprite(rng, colour, start=start, stop=stop, size=size, fps=fps, still=still, lead=lead)
            if not any(_meet_on_appearing(sprite, other, fps) for other in sprites):
                sprites.append(sprite)
                break
    return tuple(sprites)


def _make_sprite(
    rng: np.random.Generator,
    colour: str,
    *,
    start: int,
    stop: int,
    size: int,
    fps: float,
    still: bool,
    lead: bool,
) -> Sprite:
    """A random sprite within a shot. The ``lead`` stays for the whole shot, so that no frame is empty."""
    shape = str(rng.choice(SHAPES))
    radius = float(size * rng.uniform(0.08, 0.16))
    if not lead:
        start, stop = _part_of(rng, start, stop)
    seconds = (stop - 1 - start) / fps
    speed = float(rng.uniform(*SPEED))
    if still or (not lead and rng.random() < 0.2):
        kind = "static"
    elif lead and speed * seconds > CROSSING:
        kind = str(rng.choice(("bouncing", "circular")))
    else:
        kind = str(rng.choice(("linear", "bouncing", "circular")))
    if kind == "linear":
        stop = min(stop, start + 1 + math.floor(CROSSING / speed * fps + 1e-9))
        seconds = (stop - 1 - start) / fps
    motion = _make_motion(rng, kind, radius, size=size, speed=speed * size, seconds=seconds)
    return Sprite(shape, colour, radius, motion, start, stop)


def _part_of(rng: np.random.Generator, start: int, stop: int) -> tuple[int, int]:
    """When a sprite appears and disappears: at the cuts in half of the cases each, else in between."""
    length = stop - start
    first = start + (int(length * rng.uniform(0.1, 0.45)) if rng.random() < 0.5 else 0)
    last = stop - (int(length * rng.uniform(0.1, 0.45)) if rng.random() < 0.5 else 0)
    return first, max(last, first + 1)


def _make_motion(
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
    # Near one of eight directions, so that the name of the direction is never in doubt.
    angle = float(rng.integers(8)) * math.pi / 4 + float(rng.uniform(-0.2, 0.2))
    vx, vy = speed * math.cos(angle), speed * math.sin(angle)
    if kind == "bouncing":
        return Bouncing(x, y, vx, vy, radius, size - radius)
    middle = rng.uniform(0.4, 0.6, 2) * size
    return Linear(float(middle[0]) - vx * seconds / 2, float(middle[1]) - vy * seconds / 2, vx, vy)


def _meet_on_appearing(a: Sprite, b: Sprite, fps: float) -> bool:
    """Whether the two overlap on the first frame that shows both: one might then never be seen."""
    frame = max(a.start, b.start)
    if not (a.shown(frame) and b.shown(frame)):
        return False
    (ax, ay), (bx, by) = a.centre(frame, fps), b.centre(frame, fps)
    reach = a.radius + b.radius + 1  # edges are softened by half a pixel
    return abs(ax - bx) < reach and abs(ay - by) < reach
