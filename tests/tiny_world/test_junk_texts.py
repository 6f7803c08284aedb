"""What is said of junk videos is true or false as their labels say."""

import re
from collections import Counter
from itertools import pairwise

import numpy as np

from recot.tiny_world.junk.scenes import mirrored, one_shot, trimmed
from recot.tiny_world.junk.texts import may_hold
from recot.tiny_world.scene import make_scene
from recot.tiny_world.sprites import movement
from recot.tiny_world.vocabulary import BACKGROUNDS, COLOURS
from tests.tiny_world.junk_corpus import (
    FPS,
    FRAMES,
    SAME_VIEW,
    Made,
    Shown,
    asked_rows,
    caption_of,
    cuts,
    decode,
    difference,
    is_true,
    said,
    sprites,
    swap,
)


def test_answers_of_good_videos_are_true_and_no_two_show_the_same(made: Made) -> None:
    for truth in [*(made.truth[video] for video in made.clean), *made.evaluated.values()]:
        for row in asked_rows(truth["rows"]):
            assert is_true(row, sprites(truth), cuts(truth)), said(row)
    films = [decode(made.content(video)) for video in made.clean]
    films += [decode(made.content(video, "evaluation")) for video in made.evaluated]
    for i, film in enumerate(films):
        assert all(difference(film, other) > 10 for other in films[:i])


def test_what_is_said_of_copies_is_true(made: Made) -> None:
    for label in made.of_kind(*SAME_VIEW):
        truth = made.truth[label["of"]]
        assert caption_of(made.rows(label["video"])) == truth["caption"]
        assert all(is_true(row, sprites(truth), cuts(truth)) for row in asked_rows(made.rows(label["video"])))
    for label in made.of_kind("mirror"):
        truth, rows = made.truth[label["of"]], made.rows(label["video"])
        assert caption_of(rows) == swap(truth["caption"]) != truth["caption"]
        seen = [Shown(s.name, s.movement and swap(s.movement), s.t0, s.t1) for s in sprites(truth)]
        assert all(is_true(row, seen, cuts(truth)) for row in asked_rows(rows))
    for label in made.of_kind("trimmed"):
        truth, rows = made.truth[label["of"]], made.rows(label["video"])
        start, stop = label["parameters"]["start"] / FPS, label["parameters"]["stop"] / FPS
        seen = [
            Shown(s.name, s.movement, max(s.t0 - start, 0.0), min(s.t1, stop) - start)
            for s in sprites(truth)
            if s.t0 < stop and s.t1 > start
        ]
        kept = [cut - start for cut in cuts(truth) if start < cut < stop]
        assert all(is_true(row, seen, kept) for row in asked_rows(rows))
        assert re.findall(r"At ([\d.]+) s the scene cuts", caption_of(rows)) == [f"{cut:.2f}" for cut in kept]
        assert all(0 <= t0 < t1 <= stop - start for row in rows for t0, t1 in row["evidence"])


def test_text_of_another_video_is_false(made: Made) -> None:
    for label in made.of_kind("wrong_text"):
        truth, rows = made.truth[label["video"]], made.rows(label["video"])
        assert caption_of(rows) == made.truth[label["of"]]["caption"] != truth["caption"]
        assert not any(is_true(row, sprites(truth), cuts(truth)) for row in asked_rows(rows))
        assert all(
            is_true(row, sprites(made.truth[label["of"]]), cuts(made.truth[label["of"]])) for row in asked_rows(rows)
        )


def test_blind_questions_hold_their_answer(made: Made) -> None:
    sides = {"circle": "0", "triangle": "3", "square": "4", "diamond": "4", "cross": "12"}
    for label in made.of_kind("blind"):
        rows = made.rows(label["video"])
        assert caption_of(rows) == made.truth[label["video"]]["caption"]
        for row in asked_rows(rows):
            assert row["id"] in label["sample_ids"]
            question, answer = said(row)
            assert answer in question.split() + question[:-1].split() + [sides.get(w, "") for w in question.split()]


def test_any_frame_answers_single_frame_questions(made: Made) -> None:
    for label in made.of_kind("single_frame"):
        truth, rows = made.truth[label["video"]], made.rows(label["video"])
        assert caption_of(rows) == truth["caption"]
        frames = decode(made.content(label["video"]))
        assert not cuts(truth)
        seen = sprites(truth)
        assert all((s.t0, s.t1) == (0, FRAMES / FPS) for s in seen)
        shown = {s.name.split()[0] for s in seen}
        assert len(shown) == len(seen) == len({s.name.split()[1] for s in seen})
        for frame in frames:
            for colour, rgb in COLOURS.items():
                pixels = (np.abs(frame - rgb).max(axis=2) < 45).sum()
                assert (pixels > 15) == (colour in shown), (colour, pixels)
        background = re.match(r"In front of an? (\w+) background", truth["caption"])
        assert background
        for row in asked_rows(rows):
            assert row["id"] in label["sample_ids"]
            question, answer = said(row)
            assert answer in (row["options"] or [answer])
            if "background" in question:
                assert answer == background[1] in BACKGROUNDS
            elif question.startswith("How many"):
                assert int(answer) == len(seen)
            else:
                thing = re.search(r"the (\w+)(?: object)? in the video", question)
                matching = [s.name for s in seen if "these" in question or (thing and thing[1] in s.name.split())]
                assert any(answer in (name, *name.split()) for name in matching)
                assert [option in (" ".join(matching)) for option in row["options"]].count(True) == bool(row["options"])


def test_mirrored_and_trimmed_scenes_move_as_their_copies_do() -> None:
    compared = Counter[str]()
    for seed in range(40):
        scene = make_scene(seed, frames=64)
        flipped = mirrored(scene)
        rng = np.random.default_rng(seed)
        start = int(rng.integers(20))
        stop = int(rng.integers(start + 40, 65))
        part = trimmed(scene, start, stop)
        assert part.shots[0].start == 0
        assert part.shots[-1].stop == part.frames == stop - start
        for a, b in zip(scene.sprites, flipped.sprites, strict=True):
            for frame in range(a.start, a.stop):
                (ax, ay), (bx, by) = a.centre(frame, FPS), b.centre(frame, FPS)
                assert np.allclose((64 - ax, ay), (bx, by))
            assert movement(b, FPS) == (swap(m) if (m := movement(a, FPS)) else None)
        for frame in range(start, stop):
            before = sorted((s.name, *s.centre(frame, FPS)) for s in scene.sprites if s.shown(frame))
            after = sorted((s.name, *s.centre(frame - start, FPS)) for s in part.sprites if s.shown(frame - start))
            assert [name for name, *_ in before] == [name for name, *_ in after]
            assert np.allclose([c for _, *c in before], [c for _, *c in after])
            compared.update(type(s.motion).__name__ for s in part.sprites)
    assert set(compared) == {"Static", "Linear", "Bouncing", "Circular"}


def test_no_sprite_of_a_scene_of_one_shot_ever_hides_another() -> None:
    for seed in range(30):
        scene = one_shot(make_scene(seed, frames=64), np.random.default_rng(seed))
        for frame in range(64):
            tall = sorted((s.centre(frame, FPS)[1], s.radius) for s in scene.sprites)
            assert all(y1 + r1 + 1 < y2 - r2 for (y1, r1), (y2, r2) in pairwise(tall))


def test_what_is_true_of_a_scene_may_hold() -> None:
    false = 0
    for seed in range(30):
        scene, other = make_scene(seed, frames=64), make_scene(seed + 1000, frames=64)
        assert all(may_hold(planted, scene) for planted in scene.planted)
        false += sum(not may_hold(planted, other) for planted in scene.planted)
    assert false > 60
