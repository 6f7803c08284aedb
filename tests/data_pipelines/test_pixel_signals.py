"""Scorers of pixels and packets against references written out here."""

from fractions import Fraction
from itertools import pairwise

import cv2
import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st
from scenedetect.common import FrameTimecode, Timecode
from scenedetect.detectors import ContentDetector
from scenedetect.stats_manager import StatsManager

from data_pipelines.signals.blankness import blankness
from data_pipelines.signals.blur import blur
from data_pipelines.signals.cuts import content_score, cuts_per_minute, find_cuts, to_hsv
from data_pipelines.signals.darkness import darkness
from data_pipelines.signals.health import health
from data_pipelines.signals.motion import motion
from data_pipelines.signals.packets import packet_activity
from data_pipelines.signals.staticness import staticness

NO_FRAME = np.empty((0, 36, 64), dtype=np.uint8)


def noise(n: int, seed: int = 0, height: int = 36, width: int = 64) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, height, width), dtype=np.uint8)


def plain(*levels: int) -> np.ndarray:
    return np.repeat(np.array(levels, dtype=np.uint8), 36 * 64).reshape(-1, 36, 64)


def test_health_counts_lost_frames_as_expected() -> None:
    assert health(decoded=60, shown=62, lost=59).value == 60 / 121
    assert health(decoded=10, shown=10, lost=0).value == 1
    assert "59 frames early" in health(decoded=60, shown=62, lost=59).detail


def test_packet_activity_is_in_bits_a_pixel_and_second() -> None:
    assert packet_activity(change_bytes=1000, pixels=2000, duration_s=4.0).value == 1.0
    assert packet_activity(change_bytes=0, pixels=2000, duration_s=4.0).status == "na"
    assert packet_activity(change_bytes=10, pixels=2000, duration_s=0.0).status == "na"


def test_darkness_is_the_share_of_black_frames() -> None:
    assert darkness(plain(0, 8, 25, 26)).value == 0.75
    lights = plain(0, 0)
    lights[0].flat[: int(0.03 * 36 * 64)] = 255  # 3 % of the pixels shine: a night sky
    lights[1].flat[: int(0.01 * 36 * 64)] = 255
    assert darkness(lights).value == 0.5
    assert darkness(NO_FRAME).status == "na"


def test_blankness_is_the_share_of_plain_frames_that_stay() -> None:
    assert blankness(plain(90, 90, 91, 92)).value == 1
    assert blankness(plain(0, 20, 40, 60)).value == 0, "a fade"
    assert blankness(plain(200)).value == 1
    assert blankness(np.concatenate([plain(90, 90), noise(2)])).value == 0.5
    assert blankness(NO_FRAME).status == "na"


def test_blur_counts_frames_with_a_low_variance_of_the_laplacian() -> None:
    rng = np.random.default_rng(0)
    frames = np.stack([np.clip(rng.normal(128, sigma, (40, 60)), 0, 255) for sigma in (0.5, 1, 2, 2.2, 2.3, 3, 20)])
    frames = frames.astype(np.uint8)
    variances = [scipy.ndimage.laplace(frame.astype(float), mode="mirror").var() for frame in frames]
    expected = np.mean(np.array(variances) < 100)
    assert 0 < expected < 1
    assert blur(frames).value == expected
    assert all(blur(frame[None]).value == (variance < 100) for frame, variance in zip(frames, variances, strict=True))
    assert blur(NO_FRAME).status == "na"


@pytest.mark.parametrize("n", [2, 3, 257, 258, 600])
def test_staticness_is_the_mean_difference_over_255(n: int) -> None:
    frames = noise(n, seed=n)
    expected = np.abs(frames[1:].astype(float) - frames[:-1]).mean() / 255
    assert staticness(frames).value == pytest.approx(expected, rel=1e-12)
    assert staticness(frames[::-1]).value == staticness(frames).value


def test_staticness_of_a_still_and_of_one_frame() -> None:
    assert staticness(np.repeat(noise(1), 5, axis=0)).value == 0
    assert staticness(plain(0, 255)).value == 1
    assert staticness(noise(1)).status == "na"


def cloud(width: int, shift: float) -> np.ndarray:
    """A smooth random picture, moved to the right by ``shift`` pixels."""
    texture = scipy.ndimage.gaussian_filter(noise(1, height=300, width=500)[0].astype(float), 6)
    texture = 255 * (texture - texture.min()) / np.ptp(texture)
    moved = scipy.ndimage.shift(texture, (0, shift * 224 / width), order=1, mode="nearest")[80:206, 100:324]
    picture = cv2.resize(moved, (width, round(126 * width / 224)), interpolation=cv2.INTER_AREA)
    return np.rint(picture).astype(np.uint8)


def pair(width: int, shift: float) -> np.ndarray:
    return np.stack([cloud(width, 0), cloud(width, shift)])[None]


def test_motion_is_the_shift_in_pixels_of_a_frame_224_wide() -> None:
    measured = [motion(pair(224, shift)).value for shift in (0, 1, 2, 4, 8)]
    assert measured[0] < 0.01
    assert measured[1:] == pytest.approx([1, 2, 4, 8], rel=0.15)


def test_motion_does_not_depend_on_the_width() -> None:
    wide, narrow = motion(pair(224, 6)).value, motion(pair(112, 3)).value
    assert narrow == pytest.approx(wide, rel=0.1)
    assert narrow == pytest.approx(6, rel=0.15)


def test_motion_is_the_mean_over_pairs() -> None:
    pairs = np.concatenate([pair(112, 0), pair(112, 2)])
    assert motion(pairs).value == pytest.approx((motion(pairs[:1]).value + motion(pairs[1:]).value) / 2)
    assert motion(pairs[:0]).status == "na"
    assert motion(np.array([], dtype=np.uint8)).status == "na"


def colours(n: int, seed: int) -> np.ndarray:
    """(n, 36, 64, 3): frames that change little, but for a few cuts."""
    rng = np.random.default_rng(seed)
    scenes = rng.integers(0, 256, (4, 36, 64, 3))
    frames = scenes[np.sort(rng.integers(0, 4, n))] + rng.integers(-9, 10, (n, 36, 64, 3))
    return np.clip(frames, 0, 255).astype(np.uint8)


def detector_cuts(frames: np.ndarray, times_s: np.ndarray) -> tuple[list[float], list[float]]:
    """Scores and cuts of PySceneDetect."""
    detector, stats = ContentDetector(threshold=27.0, min_scene_len=0.5), StatsManager()
    detector.stats_manager = stats
    codes = [FrameTimecode(Timecode(round(t * 1000), Fraction(1, 1000)), 30.0) for t in times_s.tolist()]
    cuts = [c.seconds for code, frame in zip(codes, frames, strict=True) for c in detector.process_frame(code, frame)]
    return [stats.get_metrics(code, ["content_val"])[0] for code in codes[1:]], cuts


@pytest.mark.parametrize("seed", range(4))
def test_scores_and_cuts_are_those_of_pyscenedetect(seed: int) -> None:
    frames, times_s = colours(120, seed), np.arange(120) / 25
    scores, cuts = detector_cuts(frames, times_s)
    ours = np.array([content_score(before, after) for before, after in pairwise(map(to_hsv, frames))])
    np.testing.assert_allclose(ours, scores, rtol=1e-12)
    assert find_cuts(ours, times_s).tolist() == pytest.approx(cuts)
    assert len(cuts) >= 2


def test_only_the_first_of_quick_changes_is_a_cut() -> None:
    times_s = np.arange(40) / 10
    scores = np.zeros(39)
    scores[[2, 9, 10, 12, 17, 24]] = 30  # frames 3, 10, 11, 13, 18 and 25
    assert find_cuts(scores, times_s).tolist() == pytest.approx([1.0, 1.8, 2.5])
    assert find_cuts(np.full(39, 27.0), times_s).tolist() == []
    assert find_cuts(np.full(39, 26.9), times_s).tolist() == []
    assert cuts_per_minute(scores, times_s, duration_s=4.0).value == 45
    assert cuts_per_minute(np.empty(0), times_s[:1], duration_s=0.1).status == "na"
    assert cuts_per_minute(np.empty(0), times_s[:0], duration_s=0.1).status == "na"


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(0.001, 2), st.floats(0, 255)), min_size=1, max_size=60))
def test_shots_last_half_a_second(steps: list[tuple[float, float]]) -> None:
    times_s = np.concatenate([[3.0], 3.0 + np.cumsum([step for step, _ in steps])])
    cuts = find_cuts(np.array([score for _, score in steps]), times_s)
    assert (np.diff([3.0, *cuts]) >= 0.499).all()
    assert set(cuts) <= set(times_s.tolist())
