"""Scenes: pure functions of their seed, with every invariant that the ground truth relies on."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recot.errors import ConfigError
from recot.tiny_world.motion import Bouncing, Static
from recot.tiny_world.scene import MAX_SPRITES, SPEED, Scene, make_scene
from recot.tiny_world.truth import events, questions

scenes = st.builds(
    make_scene,
    st.integers(0, 2**63 - 1),
    frames=st.integers(1, 80),
    size=st.integers(16, 100).map(lambda half: 2 * half),
    fps=st.sampled_from([0.5, 1.0, 8.0, 24000 / 1001, 30.0]),
)


@given(scenes)
def test_shots_tile_the_video_and_sprites_stay_inside(scene: Scene) -> None:
    assert [shot.start for shot in scene.shots] == [0, *(shot.stop for shot in scene.shots[:-1])]
    assert scene.shots[-1].stop == scene.frames
    assert len({sprite.colour for sprite in scene.sprites}) == len(scene.sprites)
    for shot in scene.shots:
        assert 1 <= len(shot.sprites) <= MAX_SPRITES
        for sprite in shot.sprites:
            assert shot.start <= sprite.start < sprite.stop <= shot.stop
            for frame in range(sprite.start, sprite.stop):
                assert all(0 <= v <= scene.size for v in sprite.centre(frame, scene.fps))
        lead = shot.sprites[0]  # no frame is empty
        assert (lead.start, lead.stop) == (shot.start, shot.stop)


@given(scenes)
def test_ground_truth_is_consistent(scene: Scene) -> None:
    for event in events(scene):
        assert 0 <= event["t0"] <= event["t1"] <= scene.duration_s + 1e-9
        if event["kind"] == "sprite":
            for left, top, right, bottom in (event["box"], event["box_end"]):
                assert 0 <= left < right <= scene.size
                assert 0 <= top < bottom <= scene.size
    asked = questions(scene)
    assert len({qa.sample_id for qa in asked}) == len(asked) >= 2
    for qa in asked:
        assert qa.question
        assert qa.answer
        assert not qa.options or qa.options.count(qa.answer) == 1
        assert qa.t_start is not None
        assert qa.t_end is not None
        assert -1e-9 <= qa.t_start < qa.t_end <= scene.duration_s + 1e-9


def test_the_same_arguments_give_the_same_scene_and_others_another() -> None:
    scene = make_scene(7, frames=32, size=64, fps=8)
    assert make_scene(7, frames=32, size=64, fps=8.0) == scene
    assert make_scene(8, frames=32, size=64, fps=8) != scene


def test_most_videos_move_by_pixels_a_frame_and_some_do_not() -> None:
    many = [make_scene(seed, frames=32) for seed in range(300)]
    still = sum(all(isinstance(sprite.motion, Static) for sprite in scene.sprites) for scene in many)
    assert 10 <= still <= 60
    assert 40 <= sum(len(scene.shots) == 2 for scene in many) <= 110
    kinds = Counter(type(sprite.motion).__name__ for scene in many for sprite in scene.sprites)
    assert min(kinds[kind] for kind in ("Static", "Linear", "Bouncing", "Circular")) > 50
    for scene in many:
        for sprite in scene.sprites:
            if isinstance(sprite.motion, Static | Bouncing) or sprite.stop - sprite.start < 2:
                continue  # a bounce shortens the step it is in
            path = np.array([sprite.centre(f, scene.fps) for f in range(sprite.start, sprite.stop)])
            steps = np.linalg.norm(np.diff(path, axis=0), axis=1)
            assert steps.min() >= 0.9
            assert steps.max() <= 64 * SPEED[1] / 8 + 1e-9


@settings(max_examples=50)
@given(st.floats(10, 20), st.floats(-50, 50), st.floats(0, 20))
def test_bouncing_reverses_at_the_edges_like_small_steps_do(start: float, velocity: float, seconds: float) -> None:
    motion = Bouncing(x=start, y=15.0, vx=velocity, vy=0.0, low=10.0, high=20.0)
    position, steps = start, 4000
    for _ in range(steps):
        position += velocity * seconds / steps
        if not 10 <= position <= 20:
            position = 2 * (10 if position < 10 else 20) - position
            velocity = -velocity
    assert motion.at(seconds)[0] == pytest.approx(position, abs=1e-6)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"frames": 0}, "frames=0"),
        ({"frames": -3}, "frames=-3"),
        ({"size": 63}, "size=63"),
        ({"size": 0}, "size=0"),
        ({"size": 16384}, "size=16384"),
        ({"fps": 0.0}, "fps=0.0"),
        ({"fps": -8.0}, "fps=-8.0"),
        ({"fps": float("nan")}, "fps=nan"),
    ],
)
def test_an_impossible_format_is_refused_by_name(wrong: dict[str, float], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        make_scene(0, **{"frames": 8, "size": 64, "fps": 8.0, **wrong})  # type: ignore[arg-type]
