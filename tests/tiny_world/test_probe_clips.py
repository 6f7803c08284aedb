"""Probe clips: uniform labels, labels that are true of the scene, and nothing else that gives them away."""

import numpy as np
import pytest

from recot.errors import ConfigError
from recot.tiny_world import probe_clips
from recot.tiny_world.motion import Linear
from recot.tiny_world.probe_clips import PLACES, TASKS, make_clips, probe_scene
from recot.tiny_world.render import render
from recot.tiny_world.video import encode_mp4
from recot.tiny_world.vocabulary import COLOURS, DIRECTIONS, SHAPES


@pytest.mark.parametrize("attribute", TASKS)
def test_labels_are_exactly_uniform_and_splits_differ(attribute: str) -> None:
    classes = len(TASKS[attribute])
    train, test = (make_clips(attribute, 2 * classes, split=split) for split in ("train", "test"))
    assert train.frames.shape == (2 * classes, 4, 64, 64, 3)
    assert train.frames.dtype == np.uint8
    assert np.bincount(train.labels).tolist() == [2] * classes
    assert not any(np.array_equal(a, b) for a in train.frames for b in test.frames)


def test_no_uniform_count_and_no_such_attribute() -> None:
    with pytest.raises(ConfigError, match=r"count=10.*multiples of 9.*Use 9"):
        make_clips("position", 10, split="train")
    with pytest.raises(ConfigError, match="'size' is none of shape, colour"):
        make_clips("size", 10, split="train")


@pytest.mark.parametrize("key", range(20))
def test_labels_are_true_of_the_scenes(key: int) -> None:
    for label, shape in enumerate(SHAPES):
        assert [sprite.shape for sprite in probe_scene("shape", label, key).sprites] == [shape]
    for label, colour in enumerate(COLOURS):
        assert [sprite.colour for sprite in probe_scene("colour", label, key).sprites] == [colour]
    for label in range(len(PLACES)):
        scene = probe_scene("position", label, key)
        cells = {tuple(int(v // (64 / 3)) for v in scene.sprites[0].centre(frame, scene.fps)) for frame in range(4)}
        assert cells == {(label % 3, label // 3)}
    for label in range(len(DIRECTIONS)):
        *behind, sprite = probe_scene("motion", label, key).sprites
        assert isinstance(sprite.motion, Linear)
        vx, vy = sprite.motion.vx / 8, sprite.motion.vy / 8
        assert 1 <= np.hypot(vx, vy) <= 4
        assert np.abs(np.array(sprite.motion.at(1.5 / 8)) - 32).max() <= 4
        assert round(np.arctan2(vy, vx) / (np.pi / 4)) % 8 == label
        assert not any(isinstance(other.motion, Linear) or other.colour == sprite.colour for other in behind)
    for label in (0, 1):
        scene = probe_scene("order", label, key)
        places = [
            [s.centre(f, 8.0)[0] > 32 for s in scene.sprites if s.shown(f) and s.stop - s.start == 2] for f in range(4)
        ]
        assert places == [[label == 1]] * 2 + [[label == 0]] * 2


def test_only_the_label_differs_between_scenes_of_a_key() -> None:
    for key in range(10):
        a, b = (probe_scene("colour", label, key) for label in (0, 1))
        assert (a.sprites[0].motion, a.sprites[0].shape, a.shots[0].background) == (
            b.sprites[0].motion,
            b.sprites[0].shape,
            b.shots[0].background,
        )


def test_an_order_clip_turned_round_is_the_clip_of_the_other_label() -> None:
    for key in range(10):
        left, right = (np.stack(list(render(probe_scene("order", label, key)))) for label in (0, 1))
        assert not np.array_equal(left, right)
        np.testing.assert_array_equal(left[::-1], right)


def test_order_clips_show_their_labels_and_nothing_of_the_file_they_came_from(monkeypatch: pytest.MonkeyPatch) -> None:
    files = []

    def encode(frames: np.ndarray, *, size: int, fps: float) -> bytes:
        files.append(frames)
        return encode_mp4(frames, size=size, fps=fps)

    monkeypatch.setattr(probe_clips, "encode_mp4", encode)
    clips = make_clips("order", 60, split="train")
    (file,) = files
    in_file = []
    for i, (clip, label) in enumerate(zip(clips.frames, clips.labels, strict=True)):
        rendered = [np.stack(list(render(probe_scene("order", which, "train", 0, i)))) for which in (0, 1)]
        distance = [np.abs(clip.astype(int) - r).mean() for r in rendered]
        assert int(np.argmin(distance)) == label
        in_file.append(next(which for which in (0, 1) if np.array_equal(file[4 * i : 4 * i + 4], rendered[which])))
    # Compression treats earlier frames in a file otherwise than later ones, but not otherwise for either label.
    assert 0.25 < np.mean(in_file == clips.labels) < 0.75


def test_h264_keeps_the_clips_apart_and_close_to_what_was_rendered() -> None:
    rendered, decoded = (make_clips("motion", 296, split="train", through_h264=h) for h in (False, True))
    np.testing.assert_array_equal(rendered.labels, decoded.labels)
    difference = np.abs(rendered.frames.astype(int) - decoded.frames).mean(axis=(1, 2, 3, 4))
    assert 0 < difference.max() < 8
