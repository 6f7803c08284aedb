"""Controls change what they say and nothing else; all of it is a function of the seed."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recot.errors import ConfigError
from recot.evaluation.aggregation import Summary, pooled
from recot.evaluation.answers import judge
from recot.evaluation.controls import (
    CONTROLS,
    Control,
    rotations,
    selector_seed,
    shown_frames,
    shuffled_options,
    wrong_videos,
)
from recot.evaluation.items import Item, Subtitle
from recot.models.selection import evidence_groups
from recot.tiny_world.splits import Split
from recot.tiny_world.truth import questions

TIMES = np.arange(64) / 8


def item(number: int, *, options: int = 4, video: int | None = None) -> Item:
    return Item(
        id=f"q{number}",
        video_id=f"v{number if video is None else video}",
        video=Path(f"v{number if video is None else video}.mp4"),
        question="?",
        form="letter",
        options=tuple("abcdef"[:options]),
        right=number % options,
        evidence=((1.0, 2.0),),
        groups={"task": ("t",)},
    )


ITEMS = [item(i, video=i // 3) for i in range(30)]


def right_text(asked: Item) -> str:
    assert asked.right is not None
    return asked.options[asked.right]


@pytest.mark.parametrize("videos", [2, 3, 10])
def test_wrong_videos_are_a_rotation_of_all_videos(videos: int) -> None:
    items = [item(i, video=i % videos) for i in range(20)]
    asked = wrong_videos(items, 0)
    for before, after in zip(items, asked, strict=True):
        assert after.video != before.video
        assert after.evidence == ()
        assert replace(after, video=before.video, evidence=before.evidence) == before
    shown = {after.video_id: after.video for after in asked}
    assert len(set(shown.values())) == videos
    assert wrong_videos(list(reversed(items)), 0) == list(reversed(asked))


def test_what_is_told_of_a_wrong_video_is_its_own() -> None:
    items = [
        replace(item(i), subtitles=(Subtitle(0.0, 1.0, f"said in v{i}.mp4"),), duration_s=float(i)) for i in range(3)
    ]
    of = {own.video: (own.subtitles, own.duration_s) for own in items}
    for after in wrong_videos(items, 0):
        assert (after.subtitles, after.duration_s) == of[after.video]


def test_one_video_has_no_other() -> None:
    with pytest.raises(ConfigError, match="only v0"):
        wrong_videos([item(0)], 0)


def test_seeds_decide() -> None:
    assert wrong_videos(ITEMS, 1) == wrong_videos(ITEMS, 1) != wrong_videos(ITEMS, 2)
    shuffled = [[shuffled_options(i, seed).options for i in ITEMS] for seed in (1, 1, 2)]
    assert shuffled[0] == shuffled[1] != shuffled[2]
    assert selector_seed(1, "q0") == selector_seed(1, "q0") != selector_seed(1, "q1")


@given(st.integers(0, 99), st.integers(2, 6))
def test_shuffled_options_keep_the_right_one(number: int, options: int) -> None:
    before = item(number, options=options)
    after = shuffled_options(before, 0)
    assert sorted(after.options) == sorted(before.options)
    assert right_text(after) == right_text(before)
    assert replace(after, options=before.options, right=before.right) == before


def test_shuffled_options_put_the_right_one_anywhere() -> None:
    places = Counter(shuffled_options(replace(item(0), id=f"q{i}"), 0).right for i in range(2000))
    assert all(400 < places[place] < 600 for place in range(4))


def test_rotations_put_the_right_option_at_each_letter_once() -> None:
    turned = rotations(item(2))
    assert [right_text(t) for t in turned] == ["c"] * 4
    assert sorted(t.right for t in turned if t.right is not None) == [0, 1, 2, 3]
    assert len({t.options for t in turned}) == len({t.id for t in turned}) == 4
    assert {(t.groups["circular"], t.groups["turns"]) for t in turned} == {(("q2",), ("4",))}


def test_a_model_that_says_one_letter_fails_the_circular_control() -> None:
    asked = [turned for question in ITEMS for turned in rotations(question)]
    knows = [judge(i, "ABCDEF"[i.right or 0], {}) for i in asked]
    letter = [judge(i, "B", {}) for i in asked]
    summary = CONTROLS["circular_options"].summary(Summary({"accuracy": pooled}))
    assert {n: f.value for n, f in summary.figures(knows).items()} == {
        "accuracy": 1,
        "circular_options": 1,
        "unparsed": 0,
    }
    assert summary.figures(letter)["accuracy"].value == 0.25
    assert summary.figures(letter)["circular_options"].value == 0
    failed = [own for own in knows if own.id != asked[0].id]
    assert summary.figures(failed)["circular_options"].units == len(ITEMS) - 1, "a turn of one question failed"
    assert CONTROLS["none"].summary(summary) == summary


def test_questions_count_alike_in_rotations_however_many_options_they_have() -> None:
    two, five = item(0, options=2), item(1, options=5)
    asked = [turned for own in (two, five) for turned in rotations(own)]
    results = [judge(own, "AB"[own.right or 0] if own.groups["turns"] == ("2",) else "?", {}) for own in asked]
    figures = CONTROLS["circular_options"].summary(Summary({"accuracy": pooled})).figures(results)
    assert (figures["accuracy"].value, figures["accuracy"].units) == (0.5, 2)
    assert figures["circular_options"].value == 0.5
    lacking = CONTROLS["circular_options"].summary(Summary({"accuracy": pooled})).figures(results[1:])
    assert (lacking["accuracy"].value, lacking["accuracy"].units) == (0, 1), "of the first, a turn has failed"


def test_questions_that_are_circular_already_are_refused() -> None:
    with pytest.raises(ConfigError, match="several orders already"):
        CONTROLS["circular_options"].items([replace(item(0), groups={"question": ("x",)})])


@pytest.mark.parametrize("name", ["shuffled_options", "circular_options"])
def test_controls_of_options_ask_only_questions_with_letters(name: str) -> None:
    yes_no = replace(item(40), form="yes_no", options=("yes", "no"), right=1)
    assert CONTROLS[name].items([yes_no, *ITEMS]) == CONTROLS[name].items(ITEMS)
    with pytest.raises(ConfigError, match=rf"control.options={CONTROLS[name].options}: none of the questions has"):
        CONTROLS[name].items([yes_no])


def test_options_without_a_right_one_can_be_shuffled() -> None:
    assert shuffled_options(replace(item(0), right=None), 0).right is None


def shown(frames: str, name: str = "q0", evidence: tuple = ((1.0, 2.0), (4.0, 4.5))) -> np.ndarray:
    return shown_frames(frames, TIMES, evidence, seed=0, item_id=name)  # type: ignore[arg-type]


def test_shown_frames() -> None:
    assert shown("all").tolist() == list(range(64))
    groups = shown("shuffled_groups").reshape(-1, 4)
    assert (groups == groups[:, :1] + np.arange(4)).all()
    assert sorted(groups[:, 0].tolist()) == list(range(0, 64, 4)) != groups[:, 0].tolist()
    shuffled = shown("shuffled")
    assert sorted(shuffled.tolist()) == list(range(64))
    assert (np.diff(shuffled) == 1).sum() < 8
    assert shuffled.tolist() == shown("shuffled").tolist() != shown("shuffled", "q1").tolist()
    assert shown("evidence_only").tolist() == [*range(8, 16), *range(32, 36)]  # shown at start <= t < end
    assert sorted([*shown("evidence_only"), *shown("evidence_removed")]) == list(range(64))
    assert shown("evidence_only", evidence=((9.0, 10.0),)).tolist() == []
    moments = ((1.0, 1.0), (2.1, 2.1), (9.0, 9.0), (-1.0, -1.0))
    assert shown("evidence_only", evidence=moments).tolist() == [8, 16]  # what is shown then
    assert sorted([*shown("evidence_removed", evidence=moments), 8, 16]) == list(range(64))
    assert shown_frames("single", TIMES[:0], (), seed=0, item_id="q").tolist() == []


def test_single_frames_are_from_anywhere() -> None:
    drawn = np.concatenate([shown("single", f"q{i}") for i in range(2000)])
    assert len(drawn) == 2000
    assert set(drawn.tolist()) == set(range(64))


def test_controls_are_applied_to_items() -> None:
    for name, control in CONTROLS.items():
        asked = control.items(ITEMS)
        if name in ("wrong_video", "shuffled_options", "circular_options"):
            assert asked != ITEMS
        else:
            assert asked == ITEMS
    assert len(CONTROLS["circular_options"].items(ITEMS)) == 4 * len(ITEMS)
    assert len(set(CONTROLS.values())) == len(CONTROLS)


def test_controls_that_need_evidence_ask_only_where_it_is_known() -> None:
    unknown = [replace(i, evidence=()) for i in ITEMS[:5]]
    for name in ("evidence_only", "evidence_removed", "oracle_selector"):
        assert CONTROLS[name].items([*unknown, *ITEMS[5:]]) == ITEMS[5:]
        with pytest.raises(ConfigError, match="none of the questions"):
            CONTROLS[name].items(unknown)


def test_evidence_that_is_all_of_a_video_isn_t_removed() -> None:
    part, whole = (
        replace(ITEMS[0], duration_s=8.0),
        replace(ITEMS[1], duration_s=8.0, evidence=((2.0, 8.0), (0.0, 3.0))),
    )
    gap, unknown = replace(whole, id="gap", evidence=((0.0, 2.0), (3.0, 8.0))), replace(whole, id="x", duration_s=None)
    asked = [part, whole, gap, unknown]
    assert CONTROLS["evidence_removed"].items(asked) == [part, gap, unknown]
    assert CONTROLS["evidence_only"].items(asked) == asked
    with pytest.raises(ConfigError, match="or it is all of the video"):
        CONTROLS["evidence_removed"].items([whole])


@pytest.mark.parametrize("wrong", [{"video": "black"}, {"frames": "two"}, {"options": "none"}, {"selector": "best"}])
def test_unknown_values_are_refused(wrong: dict) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Control(**wrong)


def test_frames_of_no_video_are_refused() -> None:
    with pytest.raises(ConfigError, match="shows no frame"):
        Control(video="none", frames="shuffled")


def test_evidence_s_groups_are_those_of_its_frames() -> None:
    """What is measured, and given to the oracle, are the groups that ``evidence_only`` shows a frame of."""
    checked = 0
    for scene in Split(world=0, name="test", videos=6, frames=256):
        times = np.arange(scene.frames) / scene.fps
        times_s = torch.from_numpy(times.reshape(1, -1, 4))
        for qa in questions(scene):
            places = shown_frames("evidence_only", times, qa.evidence, seed=0, item_id="")
            found = evidence_groups(times_s, [qa.evidence], torch.ones(times_s.shape[:2], dtype=torch.bool))
            assert found[0].nonzero()[:, 0].tolist() == sorted({int(place) // 4 for place in places})
            checked += any(end * scene.fps % 4 == 0 for _, end in qa.evidence)
    assert checked, "some evidence ends where a group begins"


def test_a_moment_is_in_the_group_that_shows_it() -> None:
    times_s = torch.arange(12, dtype=torch.float64).view(1, 3, 4)
    valid = torch.ones(1, 3, dtype=torch.bool)
    for span, groups in {
        (4.0, 4.0): [1],
        (5.5, 5.5): [1],
        (3.0, 4.0): [0],
        (3.5, 3.5): [0],
        (11.5, 11.5): [],
        (-1.0, -1.0): [],
        (3.2, 3.9): [],
        (5.2, 5.9): [],
        (2.0, 9.0): [0, 1, 2],
    }.items():
        assert evidence_groups(times_s, [[span]], valid)[0].nonzero()[:, 0].tolist() == groups


@settings(deadline=None)
@given(
    frames=st.integers(4, 80),
    spans=st.lists(st.tuples(st.floats(0, 3600), st.just(0.0) | st.floats(0.1, 900)), min_size=1, max_size=3),
)
def test_evidence_of_an_hour_is_where_a_sampled_frame_shows_it(frames: int, spans: list[tuple[float, float]]) -> None:
    """Minutes lie between the frames of a group here; what lies between them is shown by none."""
    times = np.linspace(0, 3600, frames)
    evidence = [(start, start + length) for start, length in spans]
    places = shown_frames("evidence_only", times, evidence, seed=0, item_id="")
    padded = np.concatenate([times, np.repeat(times[-1:], -frames % 4)]).reshape(1, -1, 4)
    valid = torch.ones(1, padded.shape[1], dtype=torch.bool)
    found = evidence_groups(torch.from_numpy(padded), [evidence], valid)
    assert found[0].nonzero()[:, 0].tolist() == sorted({int(place) // 4 for place in places})
