"""The mp4s are real: PyAV decodes every frame, at the right time, close to what was rendered."""

import io
import os
import subprocess
import sys
from fractions import Fraction

import av
import numpy as np
import pytest

from recot.tiny_world.planting import TASKS
from recot.tiny_world.render import render
from recot.tiny_world.scene import make_scene
from recot.tiny_world.video import encode_mp4
from recot.tiny_world.vocabulary import COLOURS


@pytest.mark.parametrize(
    ("frames", "size", "fps"),
    [(1, 32, 8.0), (7, 64, 8.0), (33, 64, 30000 / 1001), (24, 96, 2.5), (70, 64, 29.97)],
)
def test_every_frame_comes_back_at_its_time(frames: int, size: int, fps: float) -> None:
    scene = make_scene(5, frames=frames, size=size, fps=fps)
    rendered = np.stack(list(render(scene)))
    content = encode_mp4(iter(rendered), size=size, fps=fps)
    with av.open(io.BytesIO(content)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert stream.frames == frames
        assert stream.average_rate == Fraction(fps).limit_denominator(1001)
        decoded = list(container.decode(stream))
    assert len(decoded) == frames
    np.testing.assert_allclose([frame.time for frame in decoded], np.arange(frames) / fps, atol=1e-6)
    pixels = np.stack([frame.to_ndarray(format="rgb24") for frame in decoded])
    assert np.abs(pixels.astype(int) - rendered).mean() < 6  # chroma has half the resolution


def test_a_long_video_has_all_its_frames_and_questions() -> None:
    scene = make_scene(3, frames=4096, size=32)
    with av.open(io.BytesIO(encode_mp4(render(scene), size=32, fps=8.0))) as container:
        times = [frame.time for frame in container.decode(video=0)]
    assert times == [frame / 8 for frame in range(4096)]
    assert {planted.task for planted in scene.planted} == set(TASKS)


def test_colours_survive_encoding() -> None:
    compared = 0
    for seed in range(8):
        scene = make_scene(seed, frames=16, size=128, fps=8.0)
        rendered = np.stack(list(render(scene)))
        with av.open(io.BytesIO(encode_mp4(iter(rendered), size=128, fps=8.0))) as container:
            pixels = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
        for sprite in scene.sprites:
            inside = (rendered == COLOURS[sprite.colour]).all(axis=3)
            difference = pixels[inside].mean(axis=0) - COLOURS[sprite.colour]
            assert np.abs(difference).max() < 16, (seed, sprite.colour)
            compared += 1
    assert compared > 10


def test_the_same_frames_give_the_same_file_without_edit_list() -> None:
    scene = make_scene(1, frames=40, size=64, fps=8.0)
    content = encode_mp4(render(scene), size=64, fps=8.0)
    assert encode_mp4(render(scene), size=64, fps=8.0) == content
    assert b"edts" not in content


def test_the_bytes_do_not_depend_on_what_was_in_memory() -> None:
    """MALLOC_PERTURB_ fills fresh memory (glibc; elsewhere it has no effect)."""
    script = """
import hashlib
from recot.tiny_world.render import render
from recot.tiny_world.scene import make_scene
from recot.tiny_world.video import encode_mp4
for size in (34, 130):
    print(hashlib.sha256(encode_mp4(render(make_scene(2, frames=16, size=size)), size=size, fps=8.0)).hexdigest())
"""
    hashes = [
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "MALLOC_PERTURB_": str(fill)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for fill in (0, 1)
    ]
    assert len(hashes[0].split()) == 2
    assert hashes[0] == hashes[1]
