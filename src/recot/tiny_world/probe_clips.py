"""Labelled clips of one group (4 frames): what a linear probe should read off tokens, one attribute a task.

In every task the labels are exactly uniform, and all that is not the label is random and independent of it. All
numbers are our choice. Lengths are pixels, as in ``recot.tiny_world.elements``.
"""

import math
from dataclasses import dataclass

import numpy as np
from einops import rearrange

from recot.errors import ConfigError
from recot.grouping import GROUP_SIZE
from recot.randomness import derive_seed, keyed_rng
from recot.tiny_world.elements import Scene, Shot, Sprite
from recot.tiny_world.motion import Linear, Motion, Static
from recot.tiny_world.render import render
from recot.tiny_world.scene import DEFAULT_FPS, DEFAULT_SIZE, make_scene
from recot.tiny_world.sprites import RADIUS, SPEED
from recot.tiny_world.video import encode_mp4
from recot.tiny_world.vocabulary import COLOURS, DIRECTIONS, SHAPES
from recot.video_io import decode

PLACES = tuple(f"{row} {column}" for row in ("top", "middle", "bottom") for column in ("left", "centre", "right"))
TASKS: dict[str, tuple[str, ...]] = {
    "shape": SHAPES,
    "colour": tuple(COLOURS),
    "position": PLACES,
    "motion": DIRECTIONS,
    "order": ("left first", "right first"),
}
"""The classes of each attribute."""
SPREAD = 1 / 16  # frame sides around the middle, for the sprite that shape, colour or motion is asked of
JITTER = 0.2  # radians either side of a direction
MIDDLE_S = (GROUP_SIZE - 1) / 2 / DEFAULT_FPS  # from the first frame to the middle of a clip
REACH = SPEED[1] * MIDDLE_S  # frame sides between the middle of a path and its ends, at most
BLOCK = 256  # clips a video file


@dataclass(frozen=True, eq=False)
class ProbeClips:
    """Clips of one task.

    Attributes:
        frames: (N, 4, S, S, 3) uint8 RGB.
        labels: (N,) int64, indices into ``TASKS[attribute]``.
    """

    frames: np.ndarray
    labels: np.ndarray


def make_clips(
    attribute: str, count: int, *, split: str, seed: int = 0, size: int = DEFAULT_SIZE, through_h264: bool = True
) -> ProbeClips:
    """Render the clips of a task: a pure function of its arguments, up to the video encoder's rounding.

    With ``through_h264`` the frames are encoded as the tiny world's videos are and decoded as any video is, many clips
    to a file with a cut between any two. The file shows each order clip in an order drawn by a coin, and those that
    came out with the other label are turned round afterwards: so nothing that compression leaves in a clip's frames
    tells which of them came first.

    Args:
        attribute: a key of ``TASKS``.
        count: N, a multiple of the number of classes.
        split: names the clips' seeds; another split shares none of them.
        seed: another seed gives other clips.
        size: side of a frame in pixels, even.
        through_h264: False leaves the frames as they were rendered.

    Raises:
        ConfigError: for an attribute that isn't there, or a count that gives no uniform labels.
    """
    if attribute not in TASKS:
        raise ConfigError(f"probe clips: attribute={attribute!r} is none of {', '.join(TASKS)}. Use one of these.")
    classes = len(TASKS[attribute])
    if count < classes or count % classes:
        raise ConfigError(
            f"probe clips: count={count}, but labels of {attribute} are uniform in multiples of {classes} only. "
            f"Use {max(1, count // classes) * classes}, for example."
        )
    rng = keyed_rng("probe_labels", attribute, split, seed)
    labels = rng.permutation(np.arange(count) % classes)
    shown = rng.integers(classes, size=count) if attribute == "order" else labels
    scenes = [probe_scene(attribute, int(label), split, seed, i, size=size) for i, label in enumerate(shown)]
    frames = np.concatenate([_frames(scenes[i : i + BLOCK], through_h264) for i in range(0, count, BLOCK)])
    turned = shown != labels
    frames[turned] = frames[turned, ::-1]
    return ProbeClips(frames, labels)


def probe_scene(attribute: str, label: int, *key: int | str, size: int = DEFAULT_SIZE) -> Scene:
    """The scene of one clip; for one key, the scenes of different labels differ in nothing but the label.

    Shape, colour and position are asked of a single sprite, static or moving, motion of the one that moves. But for
    position, its path leads past the middle of the frame, within half a token: a linear probe has to learn each place
    anew, so that with more places it would need many more clips. Order is asked of two sprites that flash, one in
    the left and one in the right half. Half of the motion and order clips have a bystander: a static sprite anywhere,
    behind the others.

    Args:
        attribute: a key of ``TASKS``.
        label: index of the class.
        key: decides everything but the label.
        size: side of a frame in pixels.
    """
    rng = keyed_rng("probe_clip", attribute, *key)
    colours = [str(name) for name in rng.permutation(list(COLOURS))]
    place = rng.uniform(RADIUS[1], 1 - RADIUS[1], 2) * size
    bystander = _sprite(rng, colours[0], Static(float(place[0]), float(place[1])), size)
    behind = (bystander,) if attribute in ("motion", "order") and rng.random() < 0.5 else ()
    asked: tuple[Sprite, ...]
    if attribute == "order":
        asked = _flashes(rng, label, colours[1:3], size)
    else:
        asked = (_lead(rng, attribute, label, colours[1], size),)
    # A background as the videos have it.
    background = make_scene(derive_seed("probe_background", attribute, *key), frames=8, size=size).shots[0].background
    shot = Shot(0, GROUP_SIZE, background, (*behind, *asked))
    return Scene(0, GROUP_SIZE, size, DEFAULT_FPS, (shot,))


def _lead(rng: np.random.Generator, attribute: str, label: int, colour: str, size: int) -> Sprite:
    """The sprite that shape, colour, position or motion is asked of."""
    shape = str(rng.choice(SHAPES))
    x, y = (float(v) for v in (0.5 + rng.uniform(-SPREAD, SPREAD, 2)) * size)
    # From a cell's centre; the whole path stays in the cell.
    off = rng.uniform(-1, 1, 2) * (1 / 6 - REACH)
    direction, moves = int(rng.integers(len(DIRECTIONS))), bool(rng.random() < 0.5)
    match attribute:
        case "shape":
            shape = SHAPES[label]
        case "colour":
            colour = list(COLOURS)[label]
        case "position":
            row, column = divmod(label, 3)
            x, y = float((column + 0.5) / 3 + off[0]) * size, float((row + 0.5) / 3 + off[1]) * size
        case "motion":
            direction, moves = label, True
    path = _path(rng, x, y, direction, size)
    return _sprite(rng, colour, path if moves else Static(x, y), size, shape=shape)


def _path(rng: np.random.Generator, x: float, y: float, direction: int, size: int) -> Linear:
    """Straight through ``(x, y)`` in the middle of the clip."""
    angle = direction * math.pi / 4 + float(rng.uniform(-JITTER, JITTER))
    speed = float(rng.uniform(*SPEED)) * size
    vx, vy = speed * math.cos(angle), speed * math.sin(angle)
    return Linear(x - vx * MIDDLE_S, y - vy * MIDDLE_S, vx, vy)


def _flashes(rng: np.random.Generator, label: int, colours: list[str], size: int) -> tuple[Sprite, Sprite]:
    """A sprite in the left and one in the right half, one on the first two frames and the other on the last two."""
    edge, half = RADIUS[1] * size, GROUP_SIZE // 2
    (left_x, right_x), (left_y, right_y) = rng.uniform(edge, size / 2 - edge, 2), rng.uniform(edge, size - edge, 2)
    left_start, right_start = (0, half) if label == 0 else (half, 0)
    left = _sprite(rng, colours[0], Static(float(left_x), float(left_y)), size, start=left_start, frames=half)
    right_motion = Static(float(right_x) + size / 2, float(right_y))
    return left, _sprite(rng, colours[1], right_motion, size, start=right_start, frames=half)


def _sprite(
    rng: np.random.Generator,
    colour: str,
    motion: Motion,
    size: int,
    *,
    shape: str | None = None,
    start: int = 0,
    frames: int = GROUP_SIZE,
) -> Sprite:
    """A sprite of random size, and of random shape unless one is given."""
    drawn, radius = str(rng.choice(SHAPES)), float(rng.uniform(*RADIUS)) * size
    return Sprite(shape or drawn, colour, radius, motion, start, start + frames)


def _frames(scenes: list[Scene], through_h264: bool) -> np.ndarray:
    """(N, 4, S, S, 3) uint8."""
    size, fps = scenes[0].size, scenes[0].fps
    frames = np.stack([frame for scene in scenes for frame in render(scene)])
    if through_h264:
        frames = decode(encode_mp4(frames, size=size, fps=fps), np.arange(len(frames)), (size, size)).frames
    return rearrange(frames, "(n t) h w c -> n t h w c", t=GROUP_SIZE)
