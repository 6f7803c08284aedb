"""Which videos decord may read, and that nothing wrong comes through where it would give it."""

from dataclasses import replace

import numpy as np
import pytest

from recot.video_io import VideoLimits, decode, decord_reader, probe, pyav_reader
from recot.video_io.limits import Deadline
from tests.video_clips import (
    CODEC_CLIP_FRAMES,
    CODEC_CLIPS,
    SIZE,
    WIDTH,
    X264,
    codec_clip,
    constant_rate,
    make_clip,
    numbers,
)

WANTED = np.array([0, 1, 10, 11, 12, 13, 14, 23, 24, 25, 30, 58, 59])

needs_decord = pytest.mark.skipif(decord_reader.decord is None, reason="decord is not installed here")


@needs_decord
@pytest.mark.parametrize("name", CODEC_CLIPS)
def test_decord_reads_only_what_it_reads_right(name: str) -> None:
    facts = probe(codec_clip(name))
    assert decord_reader.is_exact(facts, WIDTH) == CODEC_CLIPS[name][1]
    if CODEC_CLIPS[name][1]:
        frames = decord_reader.read_frames(codec_clip(name), facts, WANTED, SIZE, Deadline(name, 60))
        assert frames is not None
        assert numbers(frames) == WANTED.tolist()


@needs_decord
def test_decords_own_stand_ins_do_not_come_through() -> None:
    """Asked for the last frames of this clip, decord would give frame 97 three times, without an error."""
    video = make_clip(constant_rate(100), options={"x264-params": f"{X264}:open-gop=1"})
    wanted = np.array([97, 98, 99])
    assert decord_reader.read_frames(video, probe(video), wanted, SIZE, Deadline("clip", 60)) is None
    assert numbers(decode(video, wanted, SIZE).frames) == [97, 98, 99]


@needs_decord
def test_decord_must_agree_on_the_times() -> None:
    facts = probe(codec_clip("h264"))
    shifted = replace(facts, times_s=np.where(np.arange(CODEC_CLIP_FRAMES) < 40, facts.times_s, facts.times_s + 0.04))
    wanted = np.array([3])
    assert decord_reader.read_frames(codec_clip("h264"), facts, wanted, SIZE, Deadline("clip", 60)) is not None
    assert decord_reader.read_frames(codec_clip("h264"), shifted, wanted, SIZE, Deadline("clip", 60)) is None


@needs_decord
@pytest.mark.parametrize("width", [5, 6, 24, 48, 61, 72, 96, 378])
def test_decord_is_asked_only_for_widths_that_it_can_write(width: int) -> None:
    facts = probe(codec_clip("h264"))
    by_decord = decord_reader.read_frames(codec_clip("h264"), facts, np.array([9]), (37, width), Deadline("clip", 60))
    assert (by_decord is not None) == decord_reader.is_exact(facts, width)
    shown = decode(codec_clip("h264"), [9], (37, width), facts).frames
    by_pyav, _ = pyav_reader.read_frames(
        codec_clip("h264"), facts, np.array([9]), (37, width), VideoLimits(), Deadline("clip", 60)
    )
    assert np.abs(shown.astype(int) - by_pyav).mean() < 1.5


@needs_decord
def test_pyav_and_decord_agree_on_colours() -> None:
    wanted = np.arange(0, CODEC_CLIP_FRAMES, 7)
    facts = probe(codec_clip("h264"))
    by_decord = decord_reader.read_frames(codec_clip("h264"), facts, wanted, (40, 80), Deadline("clip", 60))
    by_pyav, _ = pyav_reader.read_frames(
        codec_clip("h264"), facts, wanted, (40, 80), VideoLimits(), Deadline("clip", 60)
    )
    assert by_decord is not None
    assert np.abs(by_decord.astype(int) - by_pyav).mean() < 1.0
