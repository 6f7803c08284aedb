"""Needles: objects of the tiny world painted over frames of any video, so that they go through every part of a model.

Needles that are put in as embeddings, as is common, never meet the compressor.

Legend: n frames, H W frame size.
"""

from dataclasses import replace

import numpy as np

from recot.evaluation.items import Needle
from recot.tiny_world.elements import Background, Scene, Shot, Sprite
from recot.tiny_world.motion import Static
from recot.tiny_world.render import render_frame
from recot.tiny_world.vocabulary import COLOURS

_BLACK = Background("plain", (0, 0, 0), (0, 0, 0), 0.0, 1.0, 0)
_BRIGHT = "white"


def insert(frames: np.ndarray, first: int, needle: Needle) -> np.ndarray:
    """The frames with the needle on those that it belongs on.

    Args:
        frames: (n, H, W, 3) uint8 RGB, some of the video's ``needle.length`` sampled frames, in order.
        first: the number of the first of them.
        needle: what to paint.

    Returns:
        (n, H, W, 3) uint8; the same array where nothing is to be painted.
    """
    start, stop = max(0, needle.place - first), min(len(frames), needle.place + needle.frames - first)
    if start >= stop:
        return frames
    height, width = frames.shape[1:3]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    cover = _cover(needle, side)[..., None]
    colour = np.array(COLOURS[needle.thing.split()[0]], dtype=np.float64)
    painted = frames.copy()
    square = painted[start:stop, top : top + side, left : left + side]
    square[:] = np.rint(square + cover * (colour - square)).astype(np.uint8)
    return painted


def without(scene: Scene, things: set[str]) -> Scene:
    """A scene of the tiny world in which some objects are not shown. Its questions may be wrong now: it has none."""
    shots = tuple(
        replace(shot, sprites=tuple(sprite for sprite in shot.sprites if sprite.name not in things))
        for shot in scene.shots
    )
    return replace(scene, shots=shots, planted=())


def _cover(needle: Needle, side: int) -> np.ndarray:
    """(side, side) float64, 0 to 1: how much of each pixel the object covers, as the tiny world draws it."""
    _, shape = needle.thing.split()
    sprite = Sprite(shape, _BRIGHT, needle.radius * side, Static(needle.x * side, needle.y * side), 0, 1)
    scene = Scene(0, 1, side, 1.0, (Shot(0, 1, _BLACK, (sprite,)),))
    return render_frame(scene, 0)[..., 0] / COLOURS[_BRIGHT][0]
