"""The payload of stored frames: plain npz, any frames of it, and forged ones."""

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from recot.data.dataset import VideoDataset
from recot.data.frames_payload import FramesPayload, encode_frames
from recot.data.schema import FRAMES_EXTENSION
from recot.data.shard_writer import ShardWriter
from recot.data.shards import ShardFolder
from recot.video_io import FrameSampling, VideoLimits


def smooth(n: int, height: int, width: int) -> np.ndarray:
    """(n, H, W, 3) uint8 gradients, which JPEG and halved colours change little."""
    t, y, x = np.meshgrid(np.arange(n), np.linspace(0, 1, height), np.linspace(0, 1, width), indexing="ij")
    channels = [0.2 + 0.6 * x, 0.8 - 0.6 * y, (t + 1) / (n + 1)]
    return np.round(255 * np.stack(channels, axis=-1)).astype(np.uint8)


def jpegs(frames: np.ndarray) -> list[bytes]:
    files = [io.BytesIO() for _ in frames]
    for file, frame in zip(files, frames, strict=True):
        Image.fromarray(frame).save(file, "JPEG", quality=95)
    return [file.getvalue() for file in files]


def payload(n: int = 6, size: tuple[int, int] = (48, 64)) -> bytes:
    return encode_frames(jpegs(smooth(n, *size)), times_s=np.arange(n) / 4, fps=4.0, size=size)


def test_a_payload_is_plain_npz_and_gives_any_frames(tmp_path: Path) -> None:
    content = payload()
    assert content == payload()
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        assert arrays["times_s"].tolist() == [0, 0.25, 0.5, 0.75, 1.0, 1.25]
        assert (float(arrays["fps"]), arrays["size"].tolist()) == (4.0, [48, 64])
        first, last = arrays["offsets"][2:4]
        by_pillow = np.asarray(Image.open(io.BytesIO(arrays["jpeg"][first:last].tobytes())))
    opened = FramesPayload(io.BytesIO(content))
    frames = opened.read(np.array([2, 5, 2, 0]), (48, 64))
    assert np.abs(frames[0].astype(int) - by_pillow).max() <= 8, "colours between pixels differ a little"
    assert np.array_equal(frames[0], frames[2])
    assert np.abs(frames.astype(int) - smooth(6, 48, 64)[[2, 5, 2, 0]]).mean() < 1.5
    small = opened.read(np.array([1]), (24, 16))
    halves = smooth(6, 48, 64)[1].reshape(24, 2, 16, 4, 3).mean(axis=(1, 3))
    assert np.abs(small[0] - halves).mean() < 4


def test_colours_are_right() -> None:
    """Full-range BT.601, as JPEG files have it: limited range or BT.709 would be 10 to 40 levels off."""
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [0, 0, 0], [128, 64, 200]], np.uint8)
    frames = np.broadcast_to(colours[:, None, None], (6, 16, 16, 3)).copy()
    content = encode_frames(jpegs(frames), times_s=np.arange(6.0), fps=1.0, size=(16, 16))
    shown = FramesPayload(io.BytesIO(content)).read(np.arange(6), (16, 16))
    assert np.abs(shown.astype(int) - frames).max() <= 3


class Counting(ShardFolder):
    """Notes how many bytes of payloads are read."""

    read_bytes = 0

    def payload_slice(self, i: int, start: int, length: int) -> bytes:
        self.read_bytes += length
        return super().payload_slice(i, start, length)

    def payload(self, i: int) -> bytes:
        raise AssertionError("a window doesn't need the whole payload")


def test_a_window_reads_a_part_of_the_payload(tmp_path: Path, clips: Path) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (200, 32, 32, 3), dtype=np.uint8)
    content = encode_frames(jpegs(noise), times_s=np.arange(200.0), fps=1.0, size=(32, 32))
    sample = ShardFolder(clips).sample(0).to_json()
    row = {"frames": 200, "duration_s": 200.0, "n_qa": 0, "visual_tokens": 0, "text_tokens": 0}
    with ShardWriter(tmp_path / "long", config_hash="test") as writer:
        writer.add("0" * 32, sample, content, FRAMES_EXTENSION, row)
    folder = Counting(tmp_path / "long")
    videos = VideoDataset(folder, sampling=FrameSampling(fps=1.0), frame_size=(32, 32), limits=VideoLimits())
    folder.read_bytes = 0
    frames, times_s = videos._decode(0, 96, 104)
    assert times_s.tolist() == list(range(96, 104))
    assert np.abs(frames.astype(int) - noise[96:104]).mean() < 60
    assert folder.read_bytes < len(content) / 3


@given(st.integers(0, 10**9), st.binary(min_size=1, max_size=8), st.booleans())
@settings(max_examples=150, deadline=None)
def test_forged_payloads_raise_only_value_errors(where: int, forged: bytes, cut: bool) -> None:
    content = bytearray(payload(3, (16, 16)))
    at = where % len(content)
    content[at : len(content) if cut else at + len(forged)] = forged
    try:
        opened = FramesPayload(io.BytesIO(bytes(content)))
        frames = opened.read(np.arange(len(opened.times_s)), (16, 16))
    except ValueError:
        return  # refused, and by no other error
    assert frames.shape == (len(opened.times_s), 16, 16, 3)


def test_objects_are_never_unpickled() -> None:
    buffer = io.BytesIO()
    arrays = dict(np.load(io.BytesIO(payload(3))))
    np.savez(buffer, **{**arrays, "times_s": np.array([print, 1, 2], dtype=object)})
    with pytest.raises(ValueError, match="not an npz with the arrays"):
        FramesPayload(io.BytesIO(buffer.getvalue()))
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    with pytest.raises(ValueError, match="compressed"):
        FramesPayload(io.BytesIO(buffer.getvalue()))
