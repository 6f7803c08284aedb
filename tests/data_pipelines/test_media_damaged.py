"""The media stage on files that are cut off, damaged, empty of content, or look so and are whole."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from data_pipelines.media import score_media
from data_pipelines.supervised import Failure
from recot.tiny_world.elements import Scene
from recot.tiny_world.junk import broken
from recot.tiny_world.junk.case import Case
from recot.tiny_world.junk.damage import cut_off, damage_frames, damage_index, index_first
from recot.tiny_world.render import render
from recot.tiny_world.splits import Split
from recot.tiny_world.video import encode_mp4
from recot.video_io import VideoLimits, check_health, probe
from tests.data_pipelines.conftest import mp4
from tests.data_pipelines.media_scoring import FRAMES, SETTINGS, score, try_to_score, value
from tests.video_clips import constant_rate, make_clip, patch_box


@pytest.fixture
def put(tmp_path: Path) -> Callable[..., Path]:
    """Write bytes into a file."""

    def write(content: bytes, name: str = "video.mp4") -> Path:
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return list(Split(world=11, name="train", videos=3, frames=FRAMES))


@pytest.fixture(scope="module")
def good(scenes: list[Scene]) -> list[bytes]:
    return [encode_mp4(render(scene), size=scene.size, fps=scene.fps) for scene in scenes]


def junk(kind: str, seed: int, scenes: list[Scene]) -> bytes:
    case = Case(np.random.default_rng(seed), scene=lambda number: scenes[number], source=lambda: None, asked=1)  # type: ignore[arg-type,return-value]
    return getattr(broken, kind)(case).content


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(
    ("kind", "signal", "low", "high"),
    [
        ("static", "static", 0, 0.002),
        ("static", "motion", 0, 0.2),
        ("black", "dark", 1, 1),
        ("black", "static", 0, 0.002),
        ("blank", "blank", 1, 1),
        ("too_short", "frames", 1, 3),
    ],
)
def test_junk_shows(
    kind: str, signal: str, low: float, high: float, seed: int, scenes: list[Scene], put: Callable[..., Path]
) -> None:
    assert low <= value(score(put(junk(kind, seed, scenes))), signal) <= high


def test_a_bright_plain_video_is_not_dark(scenes: list[Scene], put: Callable[..., Path]) -> None:
    assert value(score(put(junk("blank", 0, scenes))), "dark") == 0


@pytest.mark.parametrize("part", [0.4, 0.6, 0.9])
def test_a_file_cut_off_behind_its_index_is_not_healthy(
    part: float, good: list[bytes], put: Callable[..., Path]
) -> None:
    scores = score(put(cut_off(index_first(good[0]), part)))
    health = scores.signals["health"]
    assert value(scores, "frames") / FRAMES == health.value < 0.95
    assert "early" in health.detail
    assert value(score(put(index_first(good[0]))), "health") == 1


def test_a_file_cut_off_before_its_index_fails(good: list[bytes], put: Callable[..., Path]) -> None:
    assert try_to_score(put(cut_off(good[0], 0.6))).reason == "unreadable_container"  # type: ignore[union-attr]


def test_corrupt_frames_are_missing(good: list[bytes], put: Callable[..., Path]) -> None:
    path = put(damage_frames(good[0], np.random.default_rng(0), start=0.3, part=0.4))
    scores, reference = score(path), check_health(path, probe(path))
    assert value(scores, "health") == reference.ratio < 0.95
    assert scores.media.missing_frames == reference.missing
    missing = set(reference.missing)
    shown = [int(time_s * 8) for time_s in scores.hash_times_s]
    assert shown == [number for number in range(0, FRAMES, 4) if number not in missing]
    assert scores.frames.shape == (8, 64, 64, 3)
    assert not {round(time_s * 8) for time_s in scores.frame_times_s} & missing


def test_a_corrupt_index_fails(good: list[bytes], put: Callable[..., Path]) -> None:
    assert isinstance(try_to_score(put(damage_index(good[0], np.random.default_rng(0)))), Failure)


def test_a_video_without_a_clean_frame_fails(put: Callable[..., Path]) -> None:
    path = put(damage_frames(mp4(0), np.random.default_rng(0), start=0.0, part=1.0))
    assert try_to_score(path).reason == "decode_failed"  # type: ignore[union-attr]


def test_refusals_are_those_of_the_probe(put: Callable[..., Path], tmp_path: Path) -> None:
    assert try_to_score(tmp_path / "nothing.mp4").reason == "not_found"  # type: ignore[union-attr]
    assert try_to_score(put(b"")).reason == "empty_file"  # type: ignore[union-attr]
    found = score_media(put(mp4(0)), settings=SETTINGS, limits=VideoLimits(), max_bytes=100)
    assert isinstance(found, Failure)
    assert found.reason == "too_large_file"
    assert isinstance(
        score_media(put(mp4(0)), settings=SETTINGS, limits=VideoLimits(timeout_s=0), max_bytes=2**30), Failure
    )


def test_an_edit_list_that_leaves_out_the_end_is_no_loss(put: Callable[..., Path]) -> None:
    clip = make_clip(constant_rate(60), options={"g": "12", "bf": "3"})
    path = put(patch_box(clip, b"elst", 8, 1200))  # 1.2 of 2.4 s
    scores = score(path)
    assert 28 <= scores.media.frames <= 33
    assert probe(path).header_frames == 60
    assert value(scores, "health") == 1


@pytest.mark.parametrize(
    ("name", "share"), [("d_truncated_half_moovfirst.mp4", 0.5), ("d_truncated_half_vp9_1key.webm", 0.5)]
)
def test_real_files_cut_in_half(shared_dir: Path, name: str, share: float) -> None:
    assert value(score(shared_dir / "videos" / "broken" / name), "health") == pytest.approx(share, abs=0.02)


def test_a_real_avi_cut_in_half(shared_dir: Path, put: Callable[..., Path]) -> None:
    whole = (shared_dir / "videos" / "media3_sample_birds.avi").read_bytes()
    assert 0.2 < value(score(put(cut_off(whole, 0.5), "half.avi")), "health") < 0.6


@pytest.mark.parametrize(
    "name",
    ["media3_sef_slowmo.mp4", "media3_sample_birds.avi", "mdn_stream_audioless.webm"],
)
def test_real_files_with_hidden_frames_and_empty_slots_are_whole(shared_dir: Path, name: str) -> None:
    assert value(score(shared_dir / "videos" / name), "health") == 1
