"""Captions of single frames: what they say is there, and truth of any caption on any frame."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recot.randomness import keyed_rng
from recot.tiny_world.elements import Background, Scene, Shot, Sprite
from recot.tiny_world.frame_captions import PLACES, draw_caption, draw_pair, facts, full_caption, place, visible
from recot.tiny_world.motion import Static
from recot.tiny_world.scene import make_scene
from recot.tiny_world.vocabulary import BACKGROUNDS, COLOURS, SHAPES

BEHIND = Background("striped", (10, 10, 10), (90, 90, 90), 0.3, 9.0, 0)
RED = Sprite("circle", "red", 6.0, Static(10, 10), 0, 8)
BLUE = Sprite("square", "blue", 6.0, Static(55, 30), 4, 8)


def scene_of(*sprites: Sprite) -> Scene:
    return Scene(0, 8, 64, 8.0, (Shot(0, 8, BEHIND, sprites),))


def test_full_caption_word_for_word() -> None:
    scene = scene_of(RED, BLUE)
    assert full_caption(scene, 0).text == "a red circle at the top left in front of a striped background"
    assert full_caption(scene, 4).text == (
        "a red circle at the top left and a blue square at the right in front of a striped background"
    )
    orange = Sprite("cross", "orange", 6.0, Static(32, 60), 0, 8)
    assert full_caption(scene_of(orange), 0).text == "an orange cross at the bottom in front of a striped background"
    assert full_caption(scene_of(BLUE), 0).text == "a striped background"


def test_truth_of_claims() -> None:
    scene = scene_of(RED, BLUE)
    early, late = full_caption(scene, 0).claims, full_caption(scene, 4).claims
    assert early <= facts(scene, 0)
    assert early <= facts(scene, 4), "other things may be there too"
    assert not late <= facts(scene, 0), "the blue square isn't there yet"
    moved = scene_of(Sprite("circle", "red", 6.0, Static(54, 54), 0, 8), BLUE)
    assert not late <= facts(moved, 4), "the circle is elsewhere"
    swapped = scene_of(
        Sprite("square", "red", 6.0, Static(10, 10), 0, 8), Sprite("circle", "blue", 6.0, Static(55, 30), 0, 8)
    )
    assert not late <= facts(swapped, 4), "shapes and colours belong together"


@pytest.mark.parametrize(("x", "y"), [(10, 10), (32, 10), (54, 32), (32, 32), (10, 63.9), (63.9, 63.9)])
def test_places_are_thirds(x: float, y: float) -> None:
    sprite = Sprite("circle", "red", 6.0, Static(x, y), 0, 8)
    assert place(sprite, scene_of(sprite), 0) == PLACES[int(y * 3 // 64)][int(x * 3 // 64)]


def test_a_covered_sprite_is_not_mentioned() -> None:
    cover = Sprite("square", "white", 8.0, Static(12, 11), 0, 8)
    assert [sprite.colour for sprite in visible(scene_of(RED, cover), 0)] == ["white"]
    beside = Sprite("square", "white", 8.0, Static(21, 11), 0, 8)
    assert [sprite.colour for sprite in visible(scene_of(RED, beside), 0)] == ["red", "white"]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**40), where=st.floats(0, 1, exclude_max=True), style=st.integers(0, 2**40))
def test_a_drawn_caption_is_true_and_says_what_it_claims(seed: int, where: float, style: int) -> None:
    scene = make_scene(seed, frames=24)
    frame = int(where * 24)
    drawn = draw_caption(scene, frame, np.random.default_rng(style))
    assert drawn == draw_caption(scene, frame, np.random.default_rng(style))
    assert drawn.claims
    assert drawn.claims <= facts(scene, frame)
    words = set(re.findall(r"[a-z]+", drawn.text.lower().replace("in a circle", "")))
    said = {word for claim in drawn.claims for word in claim[:3] if word is not None}
    assert words & {*COLOURS, *SHAPES, *BACKGROUNDS} == said
    assert all(claim[3] is None or claim[3] in drawn.text.lower() for claim in drawn.claims)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**40), where=st.floats(0, 1, exclude_max=True), style=st.integers(0, 2**40))
def test_a_pair_of_mentions_differs_in_one_word(seed: int, where: float, style: int) -> None:
    scene = make_scene(seed, frames=24)
    frame = int(where * 24)
    true, other = draw_pair(scene, frame, np.random.default_rng(style))
    assert true.claims <= facts(scene, frame)
    (claim,), (changed,) = true.claims, other.claims
    differing = [
        kind for kind, a, b in zip(("background", "colour", "shape", "place"), claim, changed, strict=True) if a != b
    ]
    assert differing in (["colour"], ["shape"])
    for text, (_, colour, shape, place_said) in ((true.text, claim), (other.text, changed)):
        article = "an" if colour == "orange" else "a"
        assert text == " ".join(word for word in (article, colour, shape, place_said) if word)


def test_a_pair_that_is_true_of_both_says_so() -> None:
    scene = scene_of(RED, Sprite("square", "red", 6.0, Static(55, 30), 0, 8))
    pairs = [draw_pair(scene, 0, np.random.default_rng(seed)) for seed in range(100)]
    assert any(other.claims <= facts(scene, 0) for _, other in pairs)
    assert any(not other.claims <= facts(scene, 0) for _, other in pairs)
    empty = draw_pair(scene_of(BLUE), 0, np.random.default_rng(0))
    assert empty[0].text == "a striped background"
    assert empty[1].text != empty[0].text
    assert not empty[1].claims <= facts(scene_of(BLUE), 0)


def test_styles_that_are_drawn() -> None:
    scene = scene_of(RED, BLUE)
    texts = {draw_caption(scene, 4, keyed_rng("style", i)).text for i in range(2000)}
    for expected in (
        "the red circle",
        "the blue object",
        "What shape is the blue object?",
        "Where is the red circle?",
        "a red circle at the top left and a blue square at the right in front of a striped background",
        "In front of a striped background, a red circle stays still and a blue square stays still.",
        "a blue square stays still from 0.50 s",
        "the blue square and the red circle",
        "a red circle",
    ):
        assert expected in texts
