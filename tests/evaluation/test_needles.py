"""Needles are in the pixels, where and when they should be, and are nowhere else; the grid is whole and balanced."""

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recot.errors import ConfigError, DataError
from recot.evaluation.controls import CONTROLS, shown_frames
from recot.evaluation.haystack import make_haystacks
from recot.evaluation.items import Item, Needle
from recot.evaluation.needles import insert, without
from recot.evaluation.suites.needle import NeedleInAHaystack, needle_place
from recot.tiny_world.elements import Background, Scene, Shot, Sprite
from recot.tiny_world.motion import Static
from recot.tiny_world.render import paint_background, render_frame
from recot.tiny_world.splits import Split
from recot.tiny_world.vocabulary import OBJECTS
from recot.video_io import FrameSampling, decode, probe

NEEDLE = Needle("red triangle", length=16, place=6, frames=3, x=0.4, y=0.6, radius=0.12)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three haystacks of 80 frames, and a fourth that is shorter."""
    out = tmp_path_factory.mktemp("haystacks") / "videos"
    make_haystacks(out, Split(world=0, name="test", videos=3, frames=80))
    make_haystacks(out.parent / "short", Split(world=1, name="test", videos=1, frames=40))
    for suffix in ("mp4", "json"):
        (out.parent / "short" / f"000000.{suffix}").rename(out / f"short.{suffix}")
    return out


@pytest.fixture(scope="module")
def suite(folder: Path) -> NeedleInAHaystack:
    return NeedleInAHaystack(videos=folder, lengths=[16, 64], depths=3, needles=5, frames=1, seed=0)


@pytest.fixture(scope="module")
def items(suite: NeedleInAHaystack) -> list[Item]:
    return suite.load()


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)


@pytest.mark.parametrize("thing", OBJECTS[::7])
@pytest.mark.parametrize("side", [48, 64, 384])
def test_needle_looks_as_the_tiny_world_draws_it(thing: str, side: int) -> None:
    colour, shape = thing.split()
    behind = Background("striped", (20, 40, 60), (90, 100, 110), 0.7, side / 5, 1)
    sprite = Sprite(shape, colour, 0.12 * side, Static(0.4 * side, 0.6 * side), 0, 1)
    expected = render_frame(Scene(0, 1, side, 1.0, (Shot(0, 1, behind, (sprite,)),)), 0)
    plain = np.rint(paint_background(behind, side)).astype(np.uint8)
    painted = insert(plain[None], 0, replace(NEEDLE, thing=thing, place=0, frames=1))[0]
    assert np.abs(painted.astype(int) - expected).max() <= 2  # rounded twice
    assert (painted != plain).any(axis=-1).sum() > 0.01 * side * side


def test_only_its_frames_and_its_box_change() -> None:
    frames = noise(16, 64, 64)
    before = frames.copy()
    painted = insert(frames, 0, NEEDLE)
    assert (frames == before).all()
    changed = (painted != frames).any(axis=-1)
    assert np.flatnonzero(changed.any(axis=(1, 2))).tolist() == [6, 7, 8]
    rows, columns = (np.flatnonzero(changed.any(axis=axes)) for axes in ((0, 2), (0, 1)))
    assert (rows.min(), rows.max()) >= (0.6 * 64 - 0.12 * 64 - 1, 0.6 * 64)
    assert rows.max() <= 0.72 * 64 + 1
    assert columns.min() >= 0.28 * 64 - 1
    assert columns.max() <= 0.52 * 64 + 1


@pytest.mark.parametrize("piece", [1, 4, 5, 8])
def test_pieces_of_a_video_are_painted_as_the_whole(piece: int) -> None:
    frames = noise(16, 32, 32)
    pieces = [insert(frames[i : i + piece], i, NEEDLE) for i in range(0, 16, piece)]
    assert (np.concatenate(pieces) == insert(frames, 0, NEEDLE)).all()


@pytest.mark.parametrize("shape", [(48, 96), (96, 48)])
def test_needle_is_in_the_middle_square_of_other_frames(shape: tuple[int, int]) -> None:
    frames = noise(16, *shape)
    painted = insert(frames, 0, NEEDLE)
    top, left = (shape[0] - 48) // 2, (shape[1] - 48) // 2
    middle = frames[:, top : top + 48, left : left + 48]
    assert (painted[:, top : top + 48, left : left + 48] == insert(middle, 0, NEEDLE)).all()
    assert (painted != frames).sum() == (insert(middle, 0, NEEDLE) != middle).sum()


def test_haystacks_lack_what_they_say(folder: Path) -> None:
    scenes = Split(world=0, name="test", videos=3, frames=80)
    for number, scene in enumerate(scenes):
        absent = set(json.loads((folder / f"{number:06d}.json").read_text())["absent"])
        assert len(absent) == 8
        shown = without(scene, absent)
        assert {sprite.name for sprite in shown.sprites} == {s.name for s in scene.sprites} - absent
        assert shown.planted == ()
        assert probe(folder / f"{number:06d}.mp4").frames == 80


def test_grid_is_whole(items: list[Item]) -> None:
    assert len(items) == 2 * 3 * 4 * 5
    assert len({item.id for item in items}) == len(items)
    cells = Counter((item.groups["cell"], item.groups["phase"]) for item in items)
    assert set(cells.values()) == {5}
    assert {item.groups["depth"][0] for item in items} == {"0%", "50%", "100%"}


def test_needles_have_their_length_phase_and_depth(items: list[Item]) -> None:
    for item in items:
        needle = item.needle
        assert needle is not None
        assert needle.length == int(item.groups["length"][0])
        assert needle.place % 4 == int(item.groups["phase"][0])
        assert 0 <= needle.place < needle.length
        last = needle.length // 4 - 1  # a needle on one frame has room in the last group
        depth = int(item.groups["depth"][0].rstrip("%")) / 100
        assert abs(needle.place // 4 - depth * last) <= 0.25 * last + 0.5, "within half a step of 3 depths"
        assert needle.length <= 40 or item.video_id != "short.mp4"


def test_needles_of_a_depth_are_at_many_places(suite: NeedleInAHaystack) -> None:
    places: dict[str, list[int]] = {}
    for item in replace(suite, lengths=[64], needles=60).load():
        assert item.needle is not None
        places.setdefault(item.groups["depth"][0], []).append(item.needle.place // 4)
    assert {depth: (min(own), max(own)) for depth, own in places.items()} == {
        "0%": (0, 4),
        "50%": (4, 11),
        "100%": (11, 15),
    }
    every = Counter(place for own in places.values() for place in own)
    assert set(every) == set(range(16))


def test_options_are_absent_from_the_video_and_letters_tell_nothing(suite: NeedleInAHaystack, folder: Path) -> None:
    many = replace(suite, needles=60).load()
    for item in many:
        absent = json.loads((folder / item.video_id).with_suffix(".json").read_text())["absent"]
        assert set(item.options) <= set(absent)
        assert len(set(item.options)) == 4
        assert item.needle is not None
        assert item.right is not None
        assert item.options[item.right] == item.needle.thing
    letters = Counter(item.right for item in many)
    expected = len(many) / 4
    assert all(abs(letters[i] - expected) < 4 * np.sqrt(expected * 0.75) for i in range(4))


def test_evidence_is_the_frames_that_show_the_needle(suite: NeedleInAHaystack) -> None:
    for item in replace(suite, frames=2).load():
        assert item.needle is not None
        facts = probe(item.video)
        sampled = FrameSampling(count=item.needle.length).indices(facts.times_s, facts.duration_s)
        times_s = facts.times_s[sampled]
        frames = decode(item.video, sampled, (64, 64)).frames
        changed = (insert(frames, 0, item.needle) != frames).any(axis=(1, 2, 3))
        seen = shown_frames("evidence_only", times_s, item.evidence, seed=0, item_id=item.id)
        assert np.flatnonzero(changed).tolist() == seen.tolist()
        ((start, end),) = item.evidence
        assert ((start <= times_s) & (times_s <= end)).sum() == 2  # also where spans are taken with their end
        if item.id.endswith("/0"):
            break


@pytest.mark.parametrize("frames", [1, 2, 4, 5])
@pytest.mark.parametrize("length", [64, 128, 4096])
def test_needles_have_room_at_every_depth_and_phase(frames: int, length: int) -> None:
    for phase in range(4):
        places = [needle_place(length, depth / 10, phase, frames) for depth in range(11)]
        assert places[0] == phase
        assert places == sorted(places)
        assert length - 8 - frames < places[-1] <= length - frames
        assert all(place % 4 == phase for place in places)


def test_seed_decides(suite: NeedleInAHaystack, items: list[Item]) -> None:
    assert suite.load() == items
    other = replace(suite, seed=1).load()
    assert [item.needle for item in other] != [item.needle for item in items]
    assert [item.groups for item in other] == [item.groups for item in items]


def test_the_needle_is_not_in_the_wrong_video(items: list[Item]) -> None:
    asked = CONTROLS["wrong_video"].items(items)
    frames = noise(64, 16, 16)
    for before, after in zip(items, asked, strict=True):
        assert before.needle is not None
        assert after.needle is not None
        assert (insert(frames, 0, before.needle) != frames).any()
        assert (insert(frames, 0, after.needle) == frames).all()
        assert after.needle.length == before.needle.length, "as many frames are sampled"
        assert after.video != before.video


def test_videos_without_truth_can_have_any_needle(suite: NeedleInAHaystack, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes((folder / "000000.mp4").read_bytes())
    asked = replace(suite, videos=tmp_path, needles=40).load()
    assert {option for item in asked for option in item.options} == set(OBJECTS)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"lengths": [63]}, "lengths="),
        ({"lengths": []}, "lengths="),
        ({"lengths": [8]}, "lengths=.* from 9 up"),
        ({"lengths": 64}, r"lengths=64: give a list of multiples of 4"),
        ({"lengths": "64"}, "lengths='64': give a list"),
        ({"lengths": ["x"]}, "lengths=.*: give a list"),
        ({"lengths": [64.0]}, "lengths=.*: give a list"),
        ({"lengths": [16, 64, 16]}, "lengths=.*: give every length once"),
        ({"depths": 1}, "depths=1: give a whole number, 2 or more"),
        ({"depths": 2.5}, "depths=2.5: give a whole number"),
        ({"needles": 0}, "needles=0"),
        ({"needles": "x"}, "needles='x': give a whole number"),
        ({"frames": 0}, "frames=0"),
        ({"frames": True}, "frames=True"),
        ({"frames": None}, "frames=None"),
        ({"seed": "x"}, "seed='x': give a whole number"),
    ],
)
def test_impossible_grids_are_refused(changed: dict, message: str, suite: NeedleInAHaystack) -> None:
    with pytest.raises(ConfigError, match=rf"^evaluation\.needle\.{message}"):
        replace(suite, **changed)


def test_questions_are_checked_as_those_of_other_suites(
    suite: NeedleInAHaystack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recot.evaluation.suites.needle.QUESTION", " ")
    with pytest.raises(DataError, match="has no text"):
        suite.load()


def test_haystacks_that_are_none(suite: NeedleInAHaystack, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="python -m recot"):
        replace(suite, videos=tmp_path / "nowhere").load()
    with pytest.raises(DataError, match="has no video in it"):
        replace(suite, videos=tmp_path).load()
    with pytest.raises(DataError, match="no video has the 128 frames of the greatest length; the longest has 80"):
        replace(suite, videos=folder, lengths=[16, 100, 128]).load()
    (tmp_path / "a.mp4").write_bytes((folder / "000000.mp4").read_bytes())
    for absent in (["red circle", "purple cow"], OBJECTS[:3], [*OBJECTS[:4], OBJECTS[0]], [["red circle"]], 5):
        (tmp_path / "a.json").write_text(json.dumps({"absent": absent}))
        with pytest.raises(DataError, match=r"a\.json: absent=.* 4 or more different objects"):
            replace(suite, videos=tmp_path).load()
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.raises(DataError, match=r"a\.mp4 can't be a haystack"):
        replace(suite, videos=tmp_path).load()


def test_command_makes_haystacks(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "recot.evaluation.haystack", "--out", str(tmp_path / "h")]
    options = ["--videos", "1", "--frames", "16", "--seed", "3"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "h").iterdir()) == ["000000.json", "000000.mp4"]
    again = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert again.returncode == 2
    assert "already exists" in again.stderr
