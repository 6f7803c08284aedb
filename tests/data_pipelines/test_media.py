"""The media stage on good files: what it keeps of them, at which times, and that all workers agree."""

import gc
import hashlib
import io
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipelines.media import MediaScores, score_media
from data_pipelines.media_cuts import CutScanner
from data_pipelines.media_frames import plan_frames
from data_pipelines.media_rows import ROW_SCHEMA, from_row, to_row
from data_pipelines.signals.cuts import find_cuts
from data_pipelines.signals.perceptual_hash import perceptual_hash
from data_pipelines.supervised import Failure, SupervisedPool
from recot.tiny_world.elements import Scene
from recot.tiny_world.junk.damage import cut_off
from recot.tiny_world.render import render
from recot.tiny_world.splits import Split
from recot.tiny_world.video import encode_mp4
from recot.video_io import VideoLimits, VideoProbe, decode, probe
from tests.data_pipelines.media_scoring import FRAMES, SETTINGS, score, value
from tests.video_clips import constant_rate, make_clip, read_number


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


def test_good_videos_pass_every_usual_threshold(
    good: list[bytes], scenes: list[Scene], put: Callable[..., Path]
) -> None:
    for content, scene in zip(good, scenes, strict=True):
        scores = score(put(content))
        assert value(scores, "health") == 1
        assert value(scores, "frames") == FRAMES == scores.media.frames
        assert value(scores, "duration_s") == pytest.approx(8)
        assert value(scores, "min_side") == 64
        assert value(scores, "dark") == value(scores, "blank") == 0
        assert value(scores, "blur") <= 0.5
        assert value(scores, "static") > 0.02
        assert value(scores, "motion") > 1
        starts = [shot.start for shot in scene.shots[1:]]
        assert value(scores, "cuts_per_min") * 8 / 60 == pytest.approx(len(starts), abs=1)
        assert scores.media.missing_frames == []
        assert scores.key == hashlib.sha256(content).hexdigest()[:32]


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_what_takes_two_frames_is_not_applicable_to_one(frames: int, put: Callable[..., Path]) -> None:
    scores = score(put(make_clip(constant_rate(frames))))
    assert scores.signals["static"].status == scores.signals["motion"].status == "na"
    assert scores.signals["cuts_per_min"].status == ("na" if frames == 1 else "ok")
    assert scores.signals["dark"].status == scores.signals["blank"].status == scores.signals["blur"].status == "ok"
    assert len(scores.frames) == 8
    assert scores.hash_times_s == [0.0]


def test_times_are_those_of_presentation(put: Callable[..., Path]) -> None:
    """Frame 0 stays for 3 s, 1 to 9 follow every 40 ms, and 10 stays for 2 s."""
    times_ms = [0, *range(3000, 3360, 40), 3360, 5360]
    path = put(make_clip(times_ms))
    facts, scores = probe(path), score(path, frame_size=128)
    assert scores.media.is_vfr
    assert scores.hash_times_s == [i * 0.5 for i in range(-int(-facts.duration_s // 0.5))]
    on_screen = [np.searchsorted(facts.times_s, time_s + 1e-6, side="right") - 1 for time_s in scores.hash_times_s]
    assert on_screen[:7] == [0] * 6 + [1]
    assert len(set(scores.hashes[:6])) == 1
    middles_s = (np.arange(8) + 0.5) * facts.duration_s / 8
    expected = np.searchsorted(facts.times_s, middles_s, side="right") - 1
    assert scores.frame_times_s == facts.times_s[expected].tolist()
    shown = decode(path, expected, (128, 128), facts).frames
    np.testing.assert_array_equal(scores.frames, shown)


def test_hashes_are_of_the_frame_on_screen_and_its_mirror_image(good: list[bytes], put: Callable[..., Path]) -> None:
    scores, path = score(put(good[0])), put(good[0])
    numbers = range(0, FRAMES, 4)
    assert scores.hash_times_s == [number / 8 for number in numbers]
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
    lumas = np.stack([frames[number] for number in numbers])
    distance = [(a ^ b).bit_count() for a, b in zip(scores.hashes, perceptual_hash(lumas).tolist(), strict=True)]
    assert max(distance) <= 2
    turned = perceptual_hash(np.ascontiguousarray(lumas[..., ::-1])).tolist()
    distance = [(a ^ b).bit_count() for a, b in zip(scores.mirrored_hashes, turned, strict=True)]
    assert max(distance) <= 2


def test_a_turned_video_is_seen_upright(put: Callable[..., Path]) -> None:
    times_ms = constant_rate(50)
    upright = score(put(make_clip(times_ms), "upright.mp4"), frame_size=128)
    path = put(make_clip(times_ms, rotation=(90, False, False)), "turned.mp4")
    turned = score(path, frame_size=128)
    assert turned.media.rotation == 270
    np.testing.assert_array_equal(turned.frames, np.rot90(upright.frames, axes=(1, 2)))
    numbers = [read_number(np.rot90(f, -1)[::2]) for f in turned.frames]
    assert numbers == [round(time_s / 0.04) for time_s in turned.frame_times_s]
    flipped = score(put(make_clip(times_ms, rotation=(180, False, False)), "flipped.mp4"))
    assert value(flipped, "static") == pytest.approx(value(upright, "static"), rel=0.01)
    assert value(turned, "static") == pytest.approx(value(upright, "static"), rel=0.1)  # squeezed in another direction


def remux(content: bytes, container: str) -> bytes:
    buffer = io.BytesIO()
    with av.open(io.BytesIO(content)) as source, av.open(buffer, "w", format=container) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    return buffer.getvalue()


def test_a_remuxed_file_has_the_same_packets(good: list[bytes], put: Callable[..., Path]) -> None:
    original = score(put(good[0]))
    digest = hashlib.md5()
    with av.open(io.BytesIO(good[0])) as container:
        for packet in container.demux(video=0):
            digest.update(bytes(packet))
    assert original.packet_md5 == digest.hexdigest()
    other = score(put(remux(good[0], "matroska"), "other.mkv"))
    assert other.packet_md5 == original.packet_md5
    assert other.key != original.key
    assert (other.hashes, other.extension) == (original.hashes, "mkv")
    assert score(put(good[1])).packet_md5 != original.packet_md5


def test_the_content_is_what_counts(good: list[bytes], put: Callable[..., Path]) -> None:
    assert score(put(good[0], "a.mp4")) == score(put(good[0], "b.mp4"))
    assert score(put(good[0], "no_extension")).extension == "mp4"


@pytest.mark.parametrize("side", [64, 160])
def test_rows_hold_everything(side: int, good: list[bytes], put: Callable[..., Path]) -> None:
    scores = score(put(good[0]), frame_size=side)
    table = pa.Table.from_pylist([to_row(scores)], schema=ROW_SCHEMA)
    assert table.schema == ROW_SCHEMA
    (row,) = table.to_pylist()
    assert from_row(row) == scores
    assert to_row(from_row(row)) == row
    assert row["health"] == 1
    assert row["static_status"] == "ok"
    np.testing.assert_array_equal(from_row(row).frames, scores.frames)


def test_large_frames_lose_little(good: list[bytes], put: Callable[..., Path]) -> None:
    path = put(good[0])
    numbers = [round(time_s * 8) for time_s in score(path).frame_times_s]
    assert numbers == [4, 12, 20, 28, 36, 44, 52, 60]
    shown = decode(path, numbers, (160, 160)).frames.astype(int)
    assert np.abs(score(path, frame_size=160).frames - shown).mean() < 3
    assert np.abs(score(path).frames - decode(path, numbers, (64, 64)).frames.astype(int)).max() <= 1


@settings(max_examples=30, deadline=None)
@given(frames=st.integers(1, 5000), interval_s=st.floats(0.01, 5), start_s=st.floats(0, 3), count=st.integers(1, 12))
def test_what_is_kept_is_bounded(frames: int, interval_s: float, start_s: float, count: int) -> None:
    facts = replace(
        a_probe(), frames=frames, times_s=start_s + np.arange(frames) * interval_s, duration_s=frames * interval_s
    )
    plan = plan_frames(facts, count)
    n = len(plan.samples)
    assert n == max(1, int(np.ceil(facts.duration_s / 0.5 - 1e-6)))
    hashes = -(-n // plan.hash_step)
    assert hashes <= 512
    assert plan.hash_step == 1 or (hashes > 256 and plan.hash_step.bit_count() == 1)
    assert len(plan.pairs) == min(n - 1, 32, max(4, round(facts.duration_s / 2)))
    assert 1 <= len(plan.detail) <= 64
    assert len(plan.shots) == count
    for chosen in (plan.samples, plan.shots):
        assert chosen.min() >= 0
        assert chosen.max() < frames
        assert (np.diff(chosen) >= 0).all()


def a_probe() -> VideoProbe:
    return probe(make_clip([0]))


def test_workers_agree(good: list[bytes], tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.mp4" for i in range(4)]
    for path, content in zip(paths, [*good, cut_off(good[0], 0.5)], strict=True):
        path.write_bytes(content)
    function = partial(score_media, settings=SETTINGS, limits=VideoLimits(), max_bytes=2**30)
    pool: SupervisedPool[Path, MediaScores | Failure] = SupervisedPool(
        function, workers=2, timeout_s=60, memory_bytes=2**32, recycle_after=2
    )
    with pool:
        found = [outcome.result for outcome in pool.map(paths)]
    assert found == [function(path) for path in paths]


@pytest.mark.parametrize("fps", [10, 24, 30, 60])
def test_cuts_are_found_to_the_frame_at_every_rate(fps: int, put: Callable[..., Path]) -> None:
    rng = np.random.default_rng(fps)
    starts = [0, fps + 1, 2 * fps + 2, 3 * fps + 1, 4 * fps]
    pictures = rng.integers(0, 256, (5, 8, 8, 3), dtype=np.uint8).repeat(8, 1).repeat(8, 2)
    shown = [pictures[np.searchsorted(starts, i, side="right") - 1] for i in range(5 * fps)]
    frames = [np.roll(picture, i * 10 // fps, axis=1) for i, picture in enumerate(shown)]
    path = put(encode_mp4(frames, size=64, fps=fps))
    scanner = CutScanner(fps)
    with av.open(str(path)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            scanner.add(number, frame)
    scanner.finish()
    assert scanner.numbers[0] == 0
    assert scanner.numbers[-1] == 5 * fps - 1
    cuts_s = find_cuts(np.array(scanner.scores), np.array(scanner.numbers) / fps)
    assert cuts_s.tolist() == pytest.approx([start / fps for start in starts[1:]])
    assert value(score(path), "cuts_per_min") == pytest.approx(4 * 60 / 5)


def test_no_decoded_frame_is_kept(put: Callable[..., Path]) -> None:
    path = put(make_clip(constant_rate(60, interval_ms=500), rotation=(90, False, False)))  # all 60 are sampled
    gc.collect()
    gc.disable()
    try:
        score(path)
        left = sum(type(thing) is av.VideoFrame for thing in gc.get_objects())
    finally:
        gc.enable()
    assert left <= 2
