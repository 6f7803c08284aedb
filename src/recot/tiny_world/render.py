"""From a scene to frames: a small NumPy rasteriser. The same scene gives the same bytes."""

import math
from collections.abc import Iterator

import numpy as np

from recot.tiny_world.elements import Background, Scene, Shot, Sprite
from recot.tiny_world.vocabulary import COLOURS

Box = tuple[int, int, int, int]


def render(scene: Scene) -> Iterator[np.ndarray]:
    """Every frame of a scene in order, each ``(size, size, 3)`` uint8 RGB."""
    for shot in scene.shots:
        behind = paint_background(shot.background, scene.size)
        for frame in range(shot.start, shot.stop):
            yield _paint(behind, shot, frame, scene.fps)


def render_frame(scene: Scene, frame: int) -> np.ndarray:
    """One frame of a scene, ``(size, size, 3)`` uint8 RGB; the same as ``render`` gives for it."""
    shot = next(shot for shot in scene.shots if shot.start <= frame < shot.stop)
    return _paint(paint_background(shot.background, scene.size), shot, frame, scene.fps)


def _paint(behind: np.ndarray, shot: Shot, frame: int, fps: float) -> np.ndarray:
    canvas = behind.copy()
    for sprite in shot.sprites:
        if sprite.shown(frame):
            _draw(canvas, sprite, *sprite.centre(frame, fps))
    return np.rint(canvas).astype(np.uint8)


def sprite_box(sprite: Sprite, frame: int, scene: Scene) -> Box:
    """``(left, top, right, bottom)`` pixels around a sprite on a frame, cut at the frame's edges."""
    x, y = sprite.centre(frame, scene.fps)
    return _box(x, y, sprite.radius, scene.size)


def paint_background(background: Background, size: int) -> np.ndarray:
    """``(size, size, 3)`` float64 in 0..255: a mix of the background's two colours."""
    first, second = np.array(background.first, float), np.array(background.second, float)
    return first + _texture(background, size)[..., None] * (second - first)


def _texture(background: Background, size: int) -> np.ndarray:
    """``(size, size)`` in 0..1: how much of the second colour is at each pixel."""
    rows, columns = np.mgrid[:size, :size] + 0.5
    cos, sin = math.cos(background.angle), math.sin(background.angle)
    along, across = columns * cos + rows * sin, rows * cos - columns * sin
    match background.kind:
        case "plain":
            return np.full((size, size), 0.5)
        case "gradient":
            return (along - along.min()) / (along.max() - along.min())
        case "striped":
            return np.floor(along / background.period) % 2
        case "checkered":
            return (np.floor(along / background.period) + np.floor(across / background.period)) % 2
        case "cloudy":
            return _clouds(background, size)
    raise ValueError(f"no such background: {background.kind!r}")


def _clouds(background: Background, size: int) -> np.ndarray:
    """Random values a period apart with linear interpolation between, plus a fine grain."""
    rng = np.random.default_rng(background.seed)
    place = np.arange(size) / background.period
    cell, weight = place.astype(int), place % 1
    knots = rng.random((cell[-1] + 2, cell[-1] + 2))
    rows = knots[cell] * (1 - weight)[:, None] + knots[cell + 1] * weight[:, None]
    smooth = rows[:, cell] * (1 - weight) + rows[:, cell + 1] * weight
    return 0.85 * smooth + 0.15 * rng.random((size, size))


def _draw(canvas: np.ndarray, sprite: Sprite, x: float, y: float) -> None:
    """Draw a sprite with its centre at ``(x, y)`` over ``canvas``, edges softened by half a pixel."""
    left, top, right, bottom = _box(x, y, sprite.radius, len(canvas))
    dx = np.arange(left, right) + 0.5 - x
    dy = np.arange(top, bottom)[:, None] + 0.5 - y
    cover = np.clip(0.5 - _distance(sprite.shape, dx, dy, sprite.radius), 0, 1)[..., None]
    patch = canvas[top:bottom, left:right]
    patch += cover * (np.array(COLOURS[sprite.colour], float) - patch)


def _box(x: float, y: float, radius: float, size: int) -> Box:
    reach = radius + 0.5
    left, top = max(0, math.floor(x - reach)), max(0, math.floor(y - reach))
    return left, top, min(size, math.ceil(x + reach)), min(size, math.ceil(y + reach))


def _distance(shape: str, x: np.ndarray, y: np.ndarray, r: float) -> np.ndarray:
    """Signed distance in pixels to a shape's outline, negative inside (at corners: to an edge's line)."""
    match shape:
        case "circle":
            return np.sqrt(x * x + y * y) - r
        case "square":
            return np.maximum(abs(x), abs(y)) - r
        case "diamond":
            return (abs(x) + abs(y) - r) / math.sqrt(2)
        case "triangle":
            return np.maximum(y - r, (2 * abs(x) - y - r) / math.sqrt(5))
        case "cross":
            upright = np.maximum(abs(x) - 0.4 * r, abs(y) - r)
            return np.minimum(upright, np.maximum(abs(x) - r, abs(y) - 0.4 * r))
    raise ValueError(f"no such shape: {shape!r}")
