"""Scenes: pure functions of their seed, with every invariant that the ground truth relies on."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recot.errors import ConfigError
from recot.tiny_world.elements import Scene
from recot.tiny_world.motion import Bouncing
from recot.tiny_world.scene import make_scene
from recot.tiny_world.sprites import SPEED, movement
from recot.tiny_world.truth import events, facts, questions
from recot.tiny_world.vocabulary import CIRCLES

scenes = st.builds(
    make_scene,
    st.integers(0, 2**63 - 1),
    frames=st.integers(1, 300),
    size=st.integers(16, 100).map(lambda half: 2 * half),
    fps=st.sampled_from([0.5, 1.0, 8.0, 24000 / 1001, 30.0]),
)


@given(scenes)
def test_shots_tile_the_video_and_sprites_stay_inside(scene: Scene) -> None:
    assert [shot.start for shot in scene.shots] == [0, *(shot.stop for shot in scene.shots[:-1])]
    assert scene.shots[-1].stop == scene.frames
    for shot in scene.shots:
        assert len({sprite.name for sprite in shot.sprites}) == len(shot.sprites)
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
    assert len({qa.sample_id for qa in asked}) == len(asked)
    for qa in asked:
        assert qa.question
        assert qa.answer
        assert not qa.options or (len(set(qa.options)) == 4 and qa.answer in qa.options)
        assert qa.evidence == sorted(qa.evidence)
        assert [qa.t_start, qa.t_end] == [qa.evidence[0][0], max(t1 for _, t1 in qa.evidence)]
        assert all(0 <= t0 < t1 <= scene.duration_s + 1e-9 for t0, t1 in qa.evidence)
    assert len(facts(scene)) == len(scene.shots)


def test_the_same_arguments_give_the_same_scene_and_others_another() -> None:
    scene = make_scene(7, frames=32, size=64, fps=8)
    assert make_scene(7, frames=32, size=64, fps=8.0) == scene
    assert make_scene(8, frames=32, size=64, fps=8) != scene


@pytest.mark.parametrize(
    ("wrong", "value"),
    [("frames", 0), ("frames", -4), ("frames", 2**20 + 1), ("size", 31), ("size", 65), ("size", 4096), ("fps", 0.0)],
)
def test_impossible_formats_name_the_value_and_what_to_do(wrong: str, value: float) -> None:
    arguments = {"frames": 16, "size": 64, "fps": 8.0, wrong: value}
    with pytest.raises(ConfigError, match=rf"{wrong}={value}.*[Ss]et") as raised:
        make_scene(0, **arguments)  # type: ignore[arg-type]
    assert "tiny world" in str(raised.value)


@pytest.mark.parametrize("size", [32, 64, 200])
def test_speeds_are_relative_to_the_frame(size: int) -> None:
    speeds = []
    for seed in range(60):
        for sprite in make_scene(seed, frames=32, size=size, fps=8, deals={}).sprites:
            if isinstance(sprite.motion, Bouncing):
                speeds.append((sprite.motion.vx**2 + sprite.motion.vy**2) ** 0.5 / size)
    assert SPEED[0] <= min(speeds) < max(speeds) <= SPEED[1]


def test_motions_are_named_by_what_the_frames_show() -> None:
    """Most of a bouncing sprite's frames before it meets an edge show a straight line."""
    bounced = [s for seed in range(40) for s in make_scene(seed, frames=64, deals={}).sprites]
    bounced = [s for s in bounced if isinstance(s.motion, Bouncing) and movement(s, 8.0) == "bounces off the edges"]
    assert bounced
    for sprite in bounced:
        name = movement(replace(sprite, stop=sprite.start + 2), 8.0)
        assert name == "bounces off the edges" or (name is not None and name.startswith("moves "))
        assert movement(replace(sprite, stop=sprite.start + 1), 8.0) is None


def test_circles_are_named_only_when_seen() -> None:
    names = {movement(s, 8.0) for seed in range(40) for s in make_scene(seed, frames=8).sprites}
    assert CIRCLES in names
    assert None in names
