"""What patches show, against the pixels."""

from collections import Counter

import numpy as np
import pytest

from recot.tiny_world.local_phrases import PHRASES, phrase_map
from recot.tiny_world.render import render_frame
from recot.tiny_world.scene import make_scene
from recot.tiny_world.vocabulary import BACKGROUNDS, COLOURS, OBJECTS


@pytest.mark.parametrize("grid", [4, 8])
def test_patches_that_show_an_object_have_its_colour(grid: int) -> None:
    side = 64 // grid
    of_their_colour = []
    for seed in range(12):
        scene = make_scene(seed, frames=24)
        for frame in (0, 11, 23):
            shown, pixels = phrase_map(scene, frame, grid), render_frame(scene, frame).astype(int)
            assert (shown.shape, shown.dtype) == ((grid, grid), np.int64)
            for y, x in np.argwhere(shown < len(OBJECTS)):
                colour = COLOURS[PHRASES[shown[y, x]].split()[0]]
                patch = pixels[y * side : (y + 1) * side, x * side : (x + 1) * side]
                of_their_colour.append((np.abs(patch - colour).max(axis=-1) < 24).any())
    assert len(of_their_colour) > 60
    assert np.mean(of_their_colour) > 0.9  # a box has corners that its shape leaves empty


def test_every_visible_object_is_somewhere_and_the_rest_is_one_background() -> None:
    for seed in range(12):
        scene = make_scene(seed, frames=24)
        shot = scene.shots[0]
        counts = Counter(PHRASES[i] for i in phrase_map(scene, 0, 8).flatten())
        backgrounds = {f"{kind} background" for kind in BACKGROUNDS} & counts.keys()
        assert backgrounds == {f"{shot.background.kind} background"}
        assert counts.keys() - backgrounds <= {sprite.name for sprite in shot.sprites if sprite.shown(0)}
        in_front = [sprite for sprite in shot.sprites if sprite.shown(0)][-1:]
        assert all(sprite.name in counts for sprite in in_front)
