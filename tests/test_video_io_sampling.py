"""FrameSampling: the released model's numbers, and what must hold for every video."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recot.errors import ConfigError
from recot.video_io import FrameSampling
from tests.conftest import REPO

RELEASED = json.loads((REPO / "tests" / "golden" / "process_video.json").read_text())

SAMPLINGS = st.builds(
    lambda rule, cap: FrameSampling(**rule, max_frames=cap),
    st.one_of(
        st.builds(lambda fps: {"fps": fps}, st.floats(0.05, 60)),
        st.builds(lambda count: {"count": count}, st.integers(1, 200)),
        st.builds(lambda stride: {"stride": stride}, st.integers(1, 200)),
    ),
    st.none() | st.integers(1, 100),
)


@st.composite
def videos(draw: st.DrawFn) -> tuple[np.ndarray, float]:
    """(presentation times, duration) of a video with irregular intervals, from any start."""
    intervals = draw(st.lists(st.floats(1e-3, 2.0), min_size=1, max_size=300))
    times = draw(st.floats(0, 10)) + np.cumsum([0.0, *intervals[:-1]])
    return times, float(np.sum(intervals))


@pytest.mark.parametrize("case", RELEASED, ids=lambda case: f"{case['total_frames']}x{case['max_frames']}")
def test_count_gives_the_released_models_frames(case: dict) -> None:
    total, fps = case["total_frames"], case["fps"]
    sampling = FrameSampling(count=case["max_frames"])
    assert sampling.indices(np.arange(total) / fps, total / fps).tolist() == case["frame_indices"]
    assert sampling.planned_count(total, total / fps) == len(case["frame_indices"])


@given(SAMPLINGS, videos())
def test_indices_are_sorted_in_range_capped_and_as_many_as_planned(
    sampling: FrameSampling, video: tuple[np.ndarray, float]
) -> None:
    times, duration = video
    indices = sampling.indices(times, duration)
    assert indices.dtype == np.int64
    assert len(indices) == sampling.planned_count(len(times), duration) >= 1
    assert (np.diff(indices) >= 0).all()
    assert 0 <= indices[0] <= indices[-1] < len(times)
    assert sampling.max_frames is None or len(indices) <= sampling.max_frames


@given(st.floats(0.05, 60), videos())
def test_fps_picks_the_frame_on_screen_at_each_moment(fps: float, video: tuple[np.ndarray, float]) -> None:
    times, duration = video
    for k, index in enumerate(FrameSampling(fps=fps).indices(times, duration)):
        moment = times[0] + k / fps
        assert times[index] <= moment + 2e-6
        assert index + 1 == len(times) or times[index + 1] > moment - 2e-6


@given(st.integers(1, 400), st.sampled_from([10, 25, 29.97, 30, 60]), st.integers(1, 100))
def test_a_cap_spreads_over_the_whole_video(frames: int, rate: float, cap: int) -> None:
    times = np.arange(frames) / rate
    indices = FrameSampling(fps=rate, max_frames=cap).indices(times, frames / rate)
    assert len(indices) == min(frames, cap)
    steps = np.diff([*indices, frames])
    assert steps.max(initial=0) - steps.min(initial=frames) <= 1 or len(indices) == 1


def test_one_frame_a_second_of_a_variable_rate_video() -> None:
    times = np.array([0.5, 0.6, 0.7, 2.6, 2.7, 4.4])  # nothing new between 0.7 and 2.6
    assert FrameSampling(fps=1).indices(times, 4.0).tolist() == [0, 2, 2, 4]  # at 0.5, 1.5, 2.5, 3.5


def test_rounded_time_stamps_do_not_lose_a_frame() -> None:
    times = np.round(np.arange(90) / 29.97, 3)  # milliseconds, as in WebM
    assert FrameSampling(fps=29.97 / 3).planned_count(90, 90 / 29.97) == 30
    assert FrameSampling(stride=3).indices(times, 90 / 29.97).tolist() == list(range(0, 90, 3))


def test_stride_beyond_the_cap_is_thinned_out_to_the_end() -> None:
    indices = FrameSampling(stride=2, max_frames=5).indices(np.arange(100.0), 100.0)
    assert indices.tolist() == [0, 24, 48, 72, 98]


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"fps": 1.0, "count": 4},
        {"count": 4, "stride": 2},
        {"fps": 0.0},
        {"fps": -1.0},
        {"fps": math.nan},
        {"fps": math.inf},
        {"count": 0},
        {"count": 2.5},
        {"count": True},
        {"stride": 0},
        {"stride": 1, "max_frames": 0},
    ],
    ids=str,
)
def test_an_impossible_rule_is_a_config_error(wrong: dict) -> None:
    with pytest.raises(ConfigError, match="frame sampling"):
        FrameSampling(**wrong)


def test_no_frames_to_sample_from() -> None:
    with pytest.raises(ValueError, match="0 frames"):
        FrameSampling(count=4).indices(np.array([]), 0.0)
