"""Frames piece by piece: the same as at once, with the memory of one piece."""

from pathlib import Path

import numpy as np
import pytest

from recot.errors import VideoError
from recot.video_io import VideoLimits, decode, decode_pieces, decord_reader, probe
from recot.video_io.limits import Deadline
from tests.video_clips import (
    CODEC_CLIP_FRAMES,
    CODEC_CLIPS,
    SIZE,
    codec_clip,
    constant_rate,
    make_clip,
    numbers,
)

REPEATED = [0, 0, 1, 5, 11, 12, 13, 13, 13, 30, 31, 47, 58, 59, 59]


@pytest.mark.parametrize("name", CODEC_CLIPS)
def test_pieces_hold_what_decode_gives(name: str) -> None:
    whole = decode(codec_clip(name), REPEATED, SIZE)
    for piece in (1, 4, 100):
        pieces = list(decode_pieces(codec_clip(name), REPEATED, SIZE, piece=piece))
        assert [len(own.frames) for own in pieces[:-1]] == [piece] * (len(pieces) - 1)
        assert np.array_equal(np.concatenate([own.frames for own in pieces]), whole.frames)
        assert np.array_equal(np.concatenate([own.times_s for own in pieces]), whole.times_s)


def test_without_decord_the_same_frames_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decord_reader, "decord", None)
    pieces = decode_pieces(codec_clip("h264_one_key_frame"), REPEATED, SIZE, piece=4)
    assert [n for own in pieces for n in numbers(own.frames)] == REPEATED


@pytest.mark.skipif(decord_reader.decord is None, reason="decord is not installed here")
def test_pyav_goes_on_where_decord_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked to jump to the last frames of this clip, decord raises; that it would be asked is made up here."""
    video = make_clip(constant_rate(100), options={"x264-params": "scenecut=0:keyint=12:min-keyint=12:open-gop=1"})
    monkeypatch.setattr(decord_reader, "is_exact", lambda *_: True)
    wanted = [*range(decord_reader.CHUNK), 97, 98, 99]
    facts = probe(video)
    by_decord = list(decord_reader.batches(video, facts, np.array(wanted), SIZE, Deadline("clip", 60)))
    assert len(by_decord) == 1
    pieces = decode_pieces(video, wanted, SIZE, piece=7, probe=facts)
    assert [n for own in pieces for n in numbers(own.frames)] == wanted


def test_the_time_between_pieces_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("recot.video_io.limits.time.monotonic", lambda: now[0])
    facts = probe(codec_clip("h264"))
    pieces = decode_pieces(
        codec_clip("h264"), range(60), SIZE, piece=20, probe=facts, limits=VideoLimits(timeout_s=5.0)
    )
    for own in pieces:
        assert len(own.frames) == 20
        now[0] += 1000.0


def test_damage_is_told_when_it_is_reached() -> None:
    video = bytearray(make_clip(constant_rate(200), options={"g": "20", "bf": "0"}))
    facts = probe(bytes(video))
    # All but the first key frames' data is overwritten.
    at = video.index(b"mdat") + 4
    middle = at + (len(video) - at) // 2
    video[middle : middle + 2000] = bytes(2000)
    pieces = decode_pieces(bytes(video), range(200), SIZE, piece=10, probe=facts)
    assert numbers(next(pieces).frames) == list(range(10))
    with pytest.raises(VideoError, match=r"frame \d+ could not be decoded or is damaged"):
        list(pieces)


def test_what_cannot_be_asked_for() -> None:
    with pytest.raises(VideoError, match=f"frame {CODEC_CLIP_FRAMES} was asked for"):
        decode_pieces(codec_clip("h264"), [3, CODEC_CLIP_FRAMES], SIZE, piece=4)
    with pytest.raises(ValueError, match="ascending"):
        decode_pieces(codec_clip("h264"), [3, 2], SIZE, piece=4)
    with pytest.raises(ValueError, match="positive"):
        decode_pieces(codec_clip("h264"), [3], SIZE, piece=0)
    assert list(decode_pieces(codec_clip("h264"), [], SIZE, piece=4)) == []


def test_a_reader_that_is_left_is_closed(tmp_path: Path) -> None:
    handles = Path("/proc/self/fd")
    if not handles.is_dir():
        pytest.skip("open files can't be counted here")
    path = tmp_path / "clip.mkv"
    path.write_bytes(codec_clip("av1"))
    before = len(list(handles.iterdir()))
    pieces = decode_pieces(path, range(60), SIZE, piece=4)
    next(pieces)
    assert len(list(handles.iterdir())) > before
    del pieces
    assert len(list(handles.iterdir())) == before
