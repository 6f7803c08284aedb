"""Decoding videos made here: each frame shows its own number, so a wrong frame can't pass for the right one."""

import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest

from recot.errors import VideoError
from recot.video_io import VideoLimits, check_health, decode, probe, pyav_reader
from recot.video_io.limits import Deadline
from tests.video_clips import (
    CODEC_CLIP_FRAMES,
    CODEC_CLIPS,
    HEIGHT,
    SIZE,
    WIDTH,
    X264,
    codec_clip,
    constant_rate,
    make_clip,
    numbered_frame,
    numbers,
    patch_box,
)

UNSORTED = [59, 0, 30, 30, 11, 12, 13, 14, 23, 24, 25, 10, 58, 1]


def test_h264_with_b_frames_in_avi_is_refused_rather_than_guessed() -> None:
    """AVI stores no presentation times, and the ones that FFmpeg makes up put these frames in the wrong order."""
    video = make_clip(constant_rate(CODEC_CLIP_FRAMES), container="avi", options={"x264-params": f"{X264}:open-gop=1"})
    facts = probe(video)
    assert check_health(video, facts).ratio < 0.5
    reasons = []
    for index in range(CODEC_CLIP_FRAMES):
        try:
            assert numbers(decode(video, [index], SIZE, facts).frames) == [index]
        except VideoError as error:
            reasons.append(error.reason)
    assert set(reasons) == {"decode_failed"}


@pytest.mark.parametrize("name", CODEC_CLIPS)
def test_every_codec_and_container_gives_the_frames_asked_for(name: str) -> None:
    facts = probe(codec_clip(name))
    assert (facts.frames, facts.width, facts.height, facts.rotation) == (CODEC_CLIP_FRAMES, WIDTH, HEIGHT, 0)
    assert not facts.has_edit_list
    decoded = decode(codec_clip(name), UNSORTED, SIZE, facts)
    assert decoded.frames.dtype == np.uint8
    assert decoded.frames.shape == (len(UNSORTED), *SIZE, 3)
    assert numbers(decoded.frames) == UNSORTED
    if facts.container != "avi":  # which stores no presentation times
        assert np.allclose(np.diff(facts.times_s), 0.04, atol=0.0011), "25 frames a second, in milliseconds at worst"
    assert decoded.times_s.tolist() == facts.times_s[UNSORTED].tolist()


@pytest.mark.parametrize("name", CODEC_CLIPS)
def test_pyav_alone_gives_the_same_frames(name: str) -> None:
    wanted = np.unique(UNSORTED)
    frames, found = pyav_reader.read_frames(
        codec_clip(name), probe(codec_clip(name)), wanted, SIZE, VideoLimits(), Deadline(name, 60)
    )
    assert found.all()
    assert numbers(frames) == wanted.tolist()


@pytest.mark.parametrize("name", ["h264_open_gop", "h264_intra_refresh", "hevc_open_gop", "h264_ts", "vp9", "av1"])
def test_a_whole_video_is_healthy(name: str) -> None:
    health = check_health(codec_clip(name), probe(codec_clip(name)))
    assert (health.expected, health.decoded, health.missing, health.ratio) == (
        CODEC_CLIP_FRAMES,
        CODEC_CLIP_FRAMES,
        [],
        1.0,
    )


@pytest.mark.parametrize("container", ["mp4", "mpegts"])
def test_sparse_frames_are_reached_by_jumping(container: str) -> None:
    """A few frames of a long video must not cost the decoding of all that lies between."""
    video = make_clip(constant_rate(1500), container=container, options={"x264-params": f"{X264}:open-gop=1"})
    facts = probe(video)
    before = time.process_time()
    check_health(video, facts)
    all_of_it_s = time.process_time() - before
    before = time.process_time()
    frames = decode(video, [1400, 3, 800], SIZE, facts).frames
    assert time.process_time() - before < all_of_it_s / 3
    assert numbers(frames) == [1400 % 256, 3, 800 % 256]


def test_path_and_bytes_give_the_same(tmp_path: Path) -> None:
    path = tmp_path / "http:colon and space.mp4"
    path.write_bytes(codec_clip("h264"))
    for given in (path, str(path), os.path.relpath(path)):
        assert np.array_equal(decode(given, [3, 40], SIZE).frames, decode(codec_clip("h264"), [3, 40], SIZE).frames)


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_fewer_than_four_frames(frames: int) -> None:
    video = make_clip(constant_rate(frames))
    facts = probe(video)
    assert facts.frames == frames
    assert facts.duration_s == pytest.approx(0.04 * frames, abs=1e-3)
    assert numbers(decode(video, [frames - 1, 0], SIZE).frames) == [frames - 1, 0]


def test_no_frame_asked_for() -> None:
    decoded = decode(codec_clip("h264"), [], SIZE)
    assert decoded.frames.shape == (0, *SIZE, 3)
    assert decoded.times_s.shape == (0,)


@pytest.mark.parametrize("container", ["mp4", "matroska"])
def test_variable_frame_rate(container: str) -> None:
    times_ms = [0, 40, 80, 500, 540, 1000, 2500, 2540, 2580, 3000]
    video = make_clip(times_ms, container=container, options={"bf": "2"})
    facts = probe(video)
    assert facts.is_vfr
    assert facts.times_s == pytest.approx(np.array(times_ms) / 1000, abs=1e-3)
    decoded = decode(video, [6, 3, 9], SIZE)
    assert numbers(decoded.frames) == [6, 3, 9]
    assert decoded.times_s == pytest.approx([2.5, 0.5, 3.0], abs=1e-3)


def test_jitter_is_no_variable_frame_rate() -> None:
    assert not probe(make_clip([0, 41, 80, 118, 161, 200, 239])).is_vfr


@pytest.mark.parametrize("container", ["mp4", "matroska"])
@pytest.mark.parametrize("mirrored", [(False, False), (True, False), (False, True)], ids=["", "hflip", "vflip"])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_rotated_and_mirrored(degrees: int, mirrored: tuple[bool, bool], container: str) -> None:
    video = make_clip(constant_rate(8), container=container, rotation=(degrees, *mirrored))
    turns = degrees // 90  # counter-clockwise, like np.rot90
    upright = np.rot90(numbered_frame(5), turns)
    upright = upright[:: -1 if mirrored[1] else 1, :: -1 if mirrored[0] else 1]
    facts = probe(video)
    assert (facts.height, facts.width) == upright.shape[:2]
    assert mirrored != (False, False) or facts.rotation == (360 - degrees) % 360
    shown = decode(video, [5], upright.shape[:2], facts).frames[0]
    assert np.abs(shown.astype(int) - upright).mean() < 12
    others = [np.rot90(shown, k)[:, ::flip] for k in range(4) for flip in (1, -1)][1:]
    differences = [np.abs(o.astype(int) - upright).mean() for o in others if o.shape == upright.shape]
    assert min(differences) > 24, "the picture must look different in every other orientation"


def test_an_edit_list_hides_frames() -> None:
    video = make_clip(constant_rate(20), options={"g": "250", "bf": "0"})
    media_time = video.index(b"elst") + 4 + 12
    per_frame = 0.04 / float(probe(video).time_base)
    start = int.from_bytes(video[media_time : media_time + 4], "big")
    cut = patch_box(video, b"elst", 12, start + round(5 * per_frame))
    facts = probe(cut)
    assert facts.has_edit_list
    assert facts.frames == 15
    assert facts.times_s[0] == 0
    assert numbers(decode(cut, [0, 14, 3], SIZE).frames) == [5, 19, 8]
    assert check_health(cut, facts).ratio == 1.0


def test_sound_that_starts_first_shifts_the_first_frame() -> None:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as output:
        sound = output.add_stream("aac", rate=16000)
        picture = output.add_stream("libx264", rate=25)
        picture.width, picture.height = WIDTH, HEIGHT
        for number in range(10):
            frame = av.VideoFrame.from_ndarray(numbered_frame(number), format="rgb24")
            frame.pts = number + 20
            output.mux(picture.encode(frame))
        output.mux(picture.encode(None))
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 16000), dtype=np.float32), format="fltp", layout="mono")
        silence.sample_rate = 16000
        output.mux(sound.encode(silence))
        output.mux(sound.encode(None))
    decoded = decode(buffer.getvalue(), [0, 9], SIZE)
    assert decoded.times_s == pytest.approx([0.8, 1.16], abs=0.07)  # AAC starts up to 1024 samples early
    assert numbers(decoded.frames) == [0, 9]


def test_two_frames_with_one_time() -> None:
    buffer = io.BytesIO(make_clip(constant_rate(12), container="matroska", options={"g": "1"}))
    doubled = io.BytesIO()
    with av.open(buffer) as source, av.open(doubled, "w", format="matroska") as output:
        stream = output.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.pts = packet.dts = 40 * (packet.pts // 80)
                packet.stream = stream
                output.mux(packet)
    facts = probe(doubled.getvalue())
    assert facts.frames == 12
    assert (np.diff(facts.times_s) == 0).any()
    assert numbers(decode(doubled.getvalue(), [7, 6, 0, 1], SIZE).frames) == [7, 6, 0, 1]


def test_every_size_is_stretched_to() -> None:
    for size in [(1, 1), (33, 57), (200, 40)]:
        assert decode(codec_clip("hevc_open_gop"), [4], size).frames.shape == (1, *size, 3)
        assert decode(codec_clip("h264"), [4], size).frames.shape == (1, *size, 3)
    with pytest.raises(ValueError, match="size"):
        decode(codec_clip("h264"), [4], (0, 8))


@pytest.mark.parametrize("index", [-1, CODEC_CLIP_FRAMES])
def test_a_frame_that_does_not_exist(index: int) -> None:
    with pytest.raises(VideoError, match=f"frame {index} .* 0 to {CODEC_CLIP_FRAMES - 1}") as error:
        decode(codec_clip("h264"), [3, index], SIZE)
    assert error.value.reason == "frame_out_of_range"


def _python(code: str, *arguments: str) -> str:
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_without_decord_pyav_decodes_everything(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(codec_clip("h264"))
    code = (
        "import sys, json; sys.modules['decord'] = None\n"
        "from recot.video_io import decode, decord_reader\n"
        "from tests.video_clips import read_number\n"
        "frames = decode(sys.argv[1], [50, 3], (64, 128)).frames\n"
        "print(json.dumps([decord_reader.decord is None, [read_number(f) for f in frames]]))"
    )
    assert json.loads(_python(code, str(path))) == [True, [50, 3]]


def test_video_input_needs_no_torch() -> None:
    assert _python("import sys, recot.video_io; print('torch' in sys.modules)").strip() == "False"


def test_nothing_stays_open(tmp_path: Path) -> None:
    handles = Path("/proc/self/fd")
    if not handles.is_dir():
        pytest.skip("open files can't be counted here")
    good, bad = tmp_path / "good.mp4", tmp_path / "bad.mp4"
    good.write_bytes(codec_clip("h264"))
    bad.write_bytes(codec_clip("h264")[: len(codec_clip("h264")) // 2])
    decode(good, [1], SIZE)
    before = len(list(handles.iterdir()))
    for _ in range(3):
        decode(good, [1], SIZE)
        check_health(good, probe(good))
        with pytest.raises(VideoError):
            decode(bad, [59], SIZE)
    assert len(list(handles.iterdir())) == before
