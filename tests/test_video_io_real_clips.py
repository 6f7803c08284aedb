"""Real clips by many encoders: facts, exact frames and times, against plain sequential decoding written out here."""

import json
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import av
import numpy as np
import pytest

from recot.video_io import VideoProbe, check_health, decode, decord_reader, probe
from tests.conftest import REPO

SIZE = (72, 96)
LONG_CLIP = "v2d_slides_1080p.mp4"  # 3678 frames of 1080p: the reference decodes its start and its end only

# Where the manifest doesn't describe what a player shows. It takes rates and some durations from the header, and the
# first of two video streams.
HEADER_FPS = {
    "media3_editlist_hevc10.mp4": "the header's rate counts 9 frames that the edit list hides",
    "media3_dash_hevc10.mp4": "variable rate: the header's is an estimate from the first frames",
    "media3_sample_birds.avi": "96 of 98 slots hold a frame: the header's rate is that of the slots",
}
SECOND_STREAM = {"torchcodec_nasa_13013.mp4": (480, 270, 390, 29.97)}  # FFmpeg's, decord's and our choice


def _manifest() -> list[dict]:
    path = Path(os.environ.get("RECOT_SHARED", REPO.parent / "shared")) / "videos" / "manifest.json"
    return json.loads(path.read_text()) if path.is_file() else []


CLIPS = {clip["file"]: clip for clip in _manifest()}
every_clip = pytest.mark.parametrize("name", CLIPS or ["no clips here"])


@pytest.fixture
def clip(shared_dir: Path, name: str) -> Path:
    return shared_dir / "videos" / name


@cache
def probed(path: Path) -> VideoProbe:
    return probe(path)


@every_clip
def test_facts(clip: Path, name: str) -> None:
    facts, said = probed(clip), CLIPS[name]
    counter_clockwise = said["rotation"]
    width, height, frames, fps = SECOND_STREAM.get(name, (said["width"], said["height"], said["frames"], said["fps"]))
    assert facts.rotation == -counter_clockwise % 360
    assert (facts.width, facts.height) == ((height, width) if facts.rotation in (90, 270) else (width, height))
    assert facts.frames == frames == len(facts.times_s)
    assert facts.codec == said["codec"]
    assert facts.pix_fmt == said["pix_fmt"]
    assert facts.bit_depth == (10 if "10le" in said["pix_fmt"] else 8)
    assert facts.container == said["container"]
    assert facts.is_vfr == said["vfr"]
    assert facts.duration_s == pytest.approx(said["duration"], rel=0.02)
    if name not in HEADER_FPS:
        assert facts.fps == pytest.approx(fps, rel=0.02)
    assert facts.fps == pytest.approx(facts.frames / facts.duration_s)
    assert facts.times_s[0] >= 0
    assert (np.diff(facts.times_s) > 0).all()


def test_edit_lists_are_found(shared_dir: Path) -> None:
    """These hide 9, 1 and 1 coded frames; the many lists that only shift the start are none."""
    cut = {name for name in CLIPS if probed(shared_dir / "videos" / name).has_edit_list}
    assert cut == {"media3_editlist_hevc10.mp4", "media3_sef_slowmo.mp4", "media3_sef_superslow.mp4"}


def _sequential(path: Path, stream_index: int) -> Iterator[tuple[av.VideoFrame, float]]:
    """(frame, seconds) from the first frame to the last; of the long clip, its start and its last group only."""
    with path.open("rb") as file, av.open(file, metadata_errors="replace") as container:
        stream = container.streams[stream_index]
        stream.codec_context.thread_count = 1
        unit_s = stream.time_base.numerator / stream.time_base.denominator
        packets = [packet for packet in container.demux(stream) if packet.size]
        if path.name == LONG_CLIP:
            last_key = max(place for place, packet in enumerate(packets) if packet.is_keyframe)
            yield from ((frame, frame.pts * unit_s) for packet in packets[:60] for frame in stream.decode(packet))
            stream.codec_context.flush_buffers()
            packets = packets[last_key:]
        for packet in [*packets, None]:
            yield from ((frame, frame.pts * unit_s) for frame in stream.decode(packet))


def _asked(frames: int, name: str) -> list[int]:
    """Unsorted frame numbers with first, last, middle and repeats."""
    middle = 31 if name == LONG_CLIP else frames // 2
    return [frames - 1, 0, middle, frames // 3 if name != LONG_CLIP else 17, middle, frames - 1]


def _reference(path: Path, facts: VideoProbe, around: list[int]) -> tuple[dict[int, np.ndarray], dict[int, float]]:
    """{frame number: (72, 96, 3) as shown} and {frame number: seconds} of the frames within 2 of ``around``."""
    near = {i + k for i in around for k in range(-2, 3)} & set(range(facts.frames))
    turns = CLIPS[path.name]["rotation"] // 90
    height, width = SIZE if turns % 2 == 0 else SIZE[::-1]
    shown, times_s = {}, {}
    count, last_s = 0, -1.0
    for frame, time_s in _sequential(path, facts.stream_index):
        if path.name == LONG_CLIP and time_s > last_s + 1:  # from the last key frame on
            count = facts.frames - int((facts.times_s > time_s - 1e-6).sum())
        last_s = time_s
        if count in near:
            image = frame.to_ndarray(format="rgb24", width=width, height=height, threads=1)
            shown[count] = np.rot90(image, turns).astype(np.int16)
            times_s[count] = time_s
        count += 1
    assert count == facts.frames, "sequential decoding shows another number of frames"
    assert set(shown) == near
    return shown, times_s


@every_clip
def test_frames_and_times_are_those_of_sequential_decoding(clip: Path, name: str) -> None:
    facts = probed(clip)
    asked = _asked(facts.frames, name)
    decoded = decode(clip, asked, SIZE, facts)
    reference, times_s = _reference(clip, facts, asked)
    for number, frame, time_s in zip(asked, decoded.frames, decoded.times_s, strict=True):
        distance = {
            near: float(np.abs(frame.astype(np.int16) - reference[near]).mean())
            for near in reference
            if abs(near - number) <= 2
        }
        best = min(distance, key=distance.__getitem__)
        twins = float(np.abs(reference[best] - reference[number]).mean())
        assert distance[number] <= distance[best] + 0.05 or twins < 0.3, f"frame {number} looks like {best}: {distance}"
        assert distance[number] < 1.5, f"frame {number} is off: {distance}"
        assert time_s - decoded.times_s[1] == pytest.approx(times_s[number] - times_s[0], abs=2e-6)


def test_clips_differ_enough_between_frames_to_tell_them_apart(shared_dir: Path) -> None:
    """Otherwise the test above would pass with any neighbour."""
    telling = 0
    for name in list(CLIPS)[:12]:
        facts = probed(shared_dir / "videos" / name)
        middle = facts.frames // 2
        frames = decode(shared_dir / "videos" / name, [middle, middle + 1], SIZE, facts).frames.astype(np.int16)
        telling += np.abs(frames[0] - frames[1]).mean() > 0.5
    assert telling >= 8


def test_a_rotated_copy_shows_the_same_picture_turned(shared_dir: Path) -> None:
    upright = decode(shared_dir / "videos" / "media3_dog.mp4", [0, 70], SIZE).frames
    turned = decode(shared_dir / "videos" / "media3_dog_rot180.mp4", [0, 70], SIZE).frames
    assert np.abs(turned[:, ::-1, ::-1].astype(int) - upright).mean() < 1.5
    assert np.abs(turned.astype(int) - upright).mean() > 20


def test_decord_reads_the_plain_ones(shared_dir: Path) -> None:
    if decord_reader.decord is None:
        pytest.skip("decord is not installed here")
    facts = {name: probed(shared_dir / "videos" / name) for name in CLIPS}
    by_pyav = {name for name in CLIPS if not decord_reader.is_exact(facts[name], 384)}
    for name in by_pyav:
        said = CLIPS[name]
        assert (
            said["codec"] in ("av1", "h263")
            or said["pix_fmt"].endswith("10le")
            or said["rotation"]
            or said["vfr"]
            or said["container"] == "mpegts"
            or facts[name].has_edit_list
            or facts[name].packets > facts[name].frames  # hidden frames
            or facts[name].video_streams > 1
        ), f"{name} could have been read by decord"
    assert len(by_pyav) == 18


@pytest.mark.parametrize(
    "name", ["mdn_stream_audioless.webm", "media3_roadtrip_vp9_10bit.webm", "media3_sef_slowmo.mp4"]
)
def test_health_counts_shown_frames_only(clip: Path, name: str) -> None:
    facts = probed(clip)
    assert facts.packets > facts.frames
    health = check_health(clip, facts)
    assert (health.decoded, health.ratio) == (CLIPS[name]["frames"], 1.0)
