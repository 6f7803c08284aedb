"""Planted questions: the video answers them, their answers are uniform, and twins differ in nothing else."""

import re
from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recot.tiny_world.elements import Planted, Scene, Sprite
from recot.tiny_world.planting import MIN_SHOTS, TASKS, deal, make_plan
from recot.tiny_world.scene import make_scene, span_text, tasks_for
from recot.tiny_world.sprites import movement
from recot.tiny_world.truth import questions
from recot.tiny_world.vocabulary import NOT_SHOWN, OBJECTS

scenes = st.builds(
    make_scene,
    st.integers(0, 2**63 - 1),
    frames=st.sampled_from([8, 32, 40, 48, 64, 100, 400]),
    twin=st.booleans(),
)


def named(scene: Scene, thing: str) -> list[Sprite]:
    return sorted((s for s in scene.sprites if s.name == thing), key=lambda s: s.start)


def asked_about(planted: Planted) -> str:
    (thing,) = [thing for thing in OBJECTS if re.search(rf"\b{thing}\b", planted.question)]
    return thing


def solve(scene: Scene, planted: Planted) -> str:
    """Answer from what is on the frames, by the words of the question alone."""
    seconds = 1 / scene.fps
    if planted.task == "needle":
        found = [option for option in planted.options if named(scene, option)]
    elif planted.task == "binding":
        found = [str(movement(s, scene.fps)) for s in named(scene, asked_about(planted))]
    elif planted.task == "counting":
        times = len(named(scene, asked_about(planted)))
        found = [str(times)] if times else []
    elif planted.task == "order":
        at = {s.start: o for o in planted.options for s in named(scene, o)}
        found = [at[(min if "first" in planted.question else max)(at)]] if at else []
    elif planted.task == "grounding":
        found = [span_text((s.start * seconds, s.stop * seconds)) for s in named(scene, asked_about(planted))]
    else:
        anchor = asked_about(planted)
        (hop,) = [i for i, shot in enumerate(scene.shots) if any(s.name == anchor for s in shot.sprites)]
        found = [s.name for s in scene.shots[hop + 1].sprites if s.name in planted.options]
    assert len(found) <= 1
    return found[0] if found else NOT_SHOWN


@given(scenes)
def test_the_right_option_is_what_the_video_shows(scene: Scene) -> None:
    assert [planted.task for planted in scene.planted] == list(tasks_for(scene.frames))
    for planted in scene.planted:
        assert len(set(planted.options)) == 4
        assert planted.options[planted.right] == solve(scene, planted)


@given(scenes)
def test_evidence_is_where_the_objects_are_shown(scene: Scene) -> None:
    for planted in scene.planted:
        if planted.options[planted.right] == NOT_SHOWN and planted.task != "multi_hop":
            assert planted.evidence == ((0.0, scene.duration_s),)
            continue
        things = [*planted.options] if planted.task in ("needle", "order") else [asked_about(planted)]
        if planted.task == "multi_hop" and planted.options[planted.right] != NOT_SHOWN:
            things.append(planted.options[planted.right])
        spans = {(s.start / scene.fps, s.stop / scene.fps) for thing in things for s in named(scene, thing)}
        assert spans <= set(planted.evidence)


@given(scenes)
def test_distractors_are_in_the_video_too(scene: Scene) -> None:
    for planted in scene.planted:
        others = [o for i, o in enumerate(planted.options) if i != planted.right and o != NOT_SHOWN]
        if planted.task == "binding" and planted.options[planted.right] != NOT_SHOWN:
            (shot,) = [shot for shot in scene.shots if any(s.name == asked_about(planted) for s in shot.sprites)]
            swapped = {movement(s, scene.fps) for s in shot.sprites if s.name != asked_about(planted)}
            assert swapped & set(others) or NOT_SHOWN in planted.options
        if planted.task == "multi_hop":
            assert all(named(scene, other) for other in others)
        if planted.task == "order" and planted.options[planted.right] != NOT_SHOWN:
            assert all(named(scene, other) for other in others)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("twin", [False, True])
def test_letters_and_not_shown_are_dealt_exactly(task: str, twin: bool) -> None:
    deals = [deal(5, "train", task, number, twin=twin) for number in range(400)]
    assert Counter(d.right for d in deals) == dict.fromkeys(range(4), 100)
    assert sum(d.not_shown is not None for d in deals) == 160
    assert sum(d.right == d.not_shown for d in deals) == 40
    assert deals != [deal(5, "val", task, number, twin=twin) for number in range(400)]


@given(st.integers(0, 2**63 - 1), st.integers(0, 1000), st.sampled_from([8, 64, 256]))
def test_a_twin_asks_the_same_and_the_answer_is_another(seed: int, number: int, frames: int) -> None:
    pair = []
    for twin in (False, True):
        deals = {task: deal(1, "val", task, number, twin=twin) for task in tasks_for(frames)}
        pair.append(make_scene(seed, frames=frames, deals=deals, twin=twin))
    a, b = pair
    assert [(p.question, p.options) for p in a.planted] == [(p.question, p.options) for p in b.planted]
    assert all(p.right != q.right for p, q in zip(a.planted, b.planted, strict=True))
    assert [(shot.start, shot.background, len(shot.sprites)) for shot in a.shots] == [
        (shot.start, shot.background, len(shot.sprites)) for shot in b.shots
    ]
    assert not {qa.sample_id for qa in questions(a)} & {qa.sample_id for qa in questions(b)}


def test_every_set_of_tasks_has_room_where_it_is_allowed() -> None:
    for shots in range(1, 12):
        tasks = [task for task in TASKS if MIN_SHOTS[task] <= shots]
        for count in range(len(tasks) + 1):
            for chosen in combinations(tasks, count):
                for seed in range(12):
                    plan = make_plan(seed, shots, {task: deal(seed, "", task, seed) for task in chosen})
                    assert all(place.shot < shots for place in plan.roles)
                    assert [draft.task for draft in plan.drafts] == list(chosen)


def test_deals_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="room"):
        make_scene(0, frames=8, deals={"multi_hop": deal(0, "", "multi_hop", 0)})
