"""Small real videos, encoded on the spot: every frame carries its own number as black and white blocks (modulo 256)."""

import io
from collections.abc import Sequence
from fractions import Fraction

import av
import numpy as np

BLOCK = 16
BITS = 8
HEIGHT, WIDTH = 64, BLOCK * BITS
TIME_BASE = Fraction(1, 1000)


def numbered_frame(number: int) -> np.ndarray:
    """(64, 128, 3) uint8: a slow colour gradient, and in the upper half 8 blocks with the lowest bits of ``number``."""
    frame = np.empty((HEIGHT, WIDTH, 3), dtype=np.uint8)
    frame[..., 0] = np.linspace(40, 200, WIDTH)
    frame[..., 1] = np.linspace(60, 180, HEIGHT)[:, None]
    frame[..., 2] = 128
    bits = [number >> bit & 1 for bit in range(BITS)]
    frame[: HEIGHT // 2] = np.repeat(np.array(bits, dtype=np.uint8) * 255, BLOCK)[None, :, None]
    return frame


def read_number(frame: np.ndarray) -> int:
    """The number in a decoded (64, 128, 3) frame; fails if a block is neither black nor white."""
    levels = frame[BLOCK // 2, BLOCK // 2 :: BLOCK].mean(axis=-1)
    assert ((levels < 80) | (levels > 175)).all(), f"blocks are not black and white: {levels.round()}"
    return sum(int(level > 128) << bit for bit, level in enumerate(levels))


def make_clip(
    times_ms: Sequence[int],
    codec: str = "libx264",
    container: str = "mp4",
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    rotation: tuple[int, bool, bool] | None = None,
    pix_fmt: str = "yuv420p",
) -> bytes:
    """A video whose i-th frame carries the number i (modulo 256) and is shown from ``times_ms[i]`` on.

    ``rotation`` is (degrees counter-clockwise, mirrored left to right, upside down), as written into the container.
    """
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container, container_options=container_options or {}) as output:
        stream = output.add_stream(codec, rate=25, options=options or {})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pix_fmt
        stream.codec_context.time_base = TIME_BASE
        stream.codec_context.thread_count = 1
        if rotation is not None:
            stream.set_display_rotation(rotation[0], hflip=rotation[1], vflip=rotation[2])
        for number, time_ms in enumerate(times_ms):
            frame = av.VideoFrame.from_ndarray(numbered_frame(number), format="rgb24")
            frame.pts, frame.time_base = time_ms, TIME_BASE
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return buffer.getvalue()


def constant_rate(frames: int, interval_ms: int = 40) -> list[int]:
    """Times of ``frames`` frames, ``interval_ms`` apart."""
    return [number * interval_ms for number in range(frames)]


def patch_box(video: bytes, box: bytes, offset: int, value: int) -> bytes:
    """An MP4 with the 32-bit number at ``offset`` behind the first ``box`` name replaced."""
    at = video.index(box) + len(box) + offset
    return video[:at] + value.to_bytes(4, "big") + video[at + 4 :]
