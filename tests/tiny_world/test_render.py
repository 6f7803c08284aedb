"""Pixels and ground truth agree: colours, boxes, times and the words for motion, measured in frames."""

from dataclasses import replace

import numpy as np
import pytest

from recot.tiny_world.elements import Scene, Shot, Sprite
from recot.tiny_world.motion import Static
from recot.tiny_world.render import paint_background, render, sprite_box
from recot.tiny_world.scene import make_scene
from recot.tiny_world.sprites import movement
from recot.tiny_world.vocabulary import BACKGROUNDS, BOUNCES, CIRCLES, COLOURS, SHAPES, STAYS, STRAIGHT

SCENES = [make_scene(seed, frames=24, size=64, fps=8.0) for seed in range(40)]


def alone(scene: Scene, shot: Shot, sprite: Sprite) -> tuple[Scene, np.ndarray]:
    """The scene with one sprite only, and where frames differ from the background: (F, size, size) bool."""
    only = replace(scene, shots=(Shot(0, scene.frames, shot.background, (sprite,)),))
    behind = np.rint(paint_background(shot.background, scene.size)).astype(np.uint8)
    return only, np.stack([(frame != behind).any(axis=2) for frame in render(only)])


def each_sprite() -> list[tuple[Scene, Shot, Sprite]]:
    return [(scene, shot, sprite) for scene in SCENES for shot in scene.shots for sprite in shot.sprites]


def test_the_same_seed_gives_the_same_bytes() -> None:
    for scene in SCENES[:5]:
        first = np.stack(list(render(scene)))
        again = np.stack(list(render(make_scene(scene.seed, frames=24, size=64, fps=8.0))))
        assert first.shape == (24, 64, 64, 3)
        assert first.dtype == np.uint8
        assert first.tobytes() == again.tobytes()


def test_a_sprites_centre_has_its_colour_while_it_is_shown_and_nothing_has_it_else() -> None:
    """Where no other sprite of the shot has the same colour."""
    checked = 0
    for scene in SCENES:
        frames = np.stack(list(render(scene)))
        for shot in scene.shots:
            for place, sprite in enumerate(shot.sprites):
                of_colour = (frames == COLOURS[sprite.colour]).all(axis=3)
                shown = np.arange(sprite.start, sprite.stop)
                if sum(other.colour == sprite.colour for other in shot.sprites) == 1:
                    hidden = np.setdiff1d(np.arange(shot.start, shot.stop), shown)
                    assert not of_colour[hidden].any()
                for frame in shown:
                    x, y = (min(int(v), scene.size - 1) for v in sprite.centre(frame, scene.fps))
                    above = [other for other in shot.sprites[place + 1 :] if other.shown(frame)]
                    boxes = [sprite_box(other, frame, scene) for other in above]
                    if not any(left <= x < right and top <= y < bottom for left, top, right, bottom in boxes):
                        assert of_colour[frame, y, x]
                        checked += 1
    assert checked > 500


def test_boxes_enclose_exactly_the_pixels_of_a_sprite() -> None:
    for scene, shot, sprite in each_sprite():
        _, differs = alone(scene, shot, sprite)
        for frame in (sprite.start, sprite.stop - 1):
            rows, columns = np.nonzero(differs[frame])
            pixels = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            left, top, right, bottom = sprite_box(sprite, frame, scene)
            assert left <= pixels[0] <= left + 3
            assert top <= pixels[1] <= top + 3
            assert right - 3 <= pixels[2] <= right
            assert bottom - 3 <= pixels[3] <= bottom


def test_every_sprite_is_seen_whole_when_it_first_appears_with_another() -> None:
    for scene in SCENES:
        frames = np.stack(list(render(scene)))
        for sprite in scene.sprites:
            assert (frames[sprite.start] == COLOURS[sprite.colour]).all(axis=2).any()


def test_the_named_direction_is_where_the_pixels_go() -> None:
    seen = set()
    for scene, shot, sprite in each_sprite():
        moves = movement(sprite, scene.fps)
        _, differs = alone(scene, shot, sprite)
        if sprite.stop - sprite.start < 2:
            assert moves is None
        elif moves == STAYS:
            assert (differs[sprite.start : sprite.stop] == differs[sprite.start]).all()
        elif moves in STRAIGHT:
            first, last = (np.mean(np.nonzero(differs[f]), axis=1) for f in (sprite.start, sprite.stop - 1))
            dy, dx = last - first
            words = moves.removeprefix("moves ").split(" and ")
            expected = (("right" in words) - ("left" in words), ("down" in words) - ("up" in words))
            angle = np.angle((dx + 1j * dy) * np.conj(complex(*expected)))
            assert abs(angle) < np.pi / 8, (moves, dx, dy)
        else:
            assert moves in (BOUNCES, CIRCLES, None)
        seen.add(moves)
    assert {STAYS, BOUNCES, CIRCLES} < seen
    assert len(seen & set(STRAIGHT)) >= 4


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_have_the_area_of_their_geometry(shape: str) -> None:
    r = 100.0
    area = {"circle": np.pi, "square": 4.0, "diamond": 2.0, "triangle": 2.0, "cross": 2 * 1.6 - 0.64}[shape] * r * r
    scene = SCENES[0]
    shot = replace(scene.shots[0], background=replace(scene.shots[0].background, kind="plain"))
    big = replace(scene, size=256, frames=1)
    _, differs = alone(big, shot, Sprite(shape, "white", r, Static(128.0, 128.0), 0, 1))
    assert differs.sum() == pytest.approx(area, rel=0.03)


@pytest.mark.parametrize("kind", BACKGROUNDS)
def test_backgrounds_lie_between_their_two_colours(kind: str) -> None:
    for scene in SCENES[:8]:
        background = replace(scene.shots[0].background, kind=kind)
        painted = paint_background(background, 64)
        low, high = (
            np.minimum(background.first, background.second),
            np.maximum(background.first, background.second),
        )
        assert (painted >= low - 1e-9).all()
        assert (painted <= high + 1e-9).all()
        assert (painted.std(axis=(0, 1)).max() > 1) == (kind != "plain")
