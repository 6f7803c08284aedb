"""Small real videos, encoded on the spot: every frame carries its own number as black and white blocks (modulo 256)."""

import io
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from functools import cache

import av
import numpy as np

BLOCK = 16
BITS = 8
HEIGHT, WIDTH = 64, BLOCK * BITS
SIZE = (HEIGHT, WIDTH)
TIME_BASE = Fraction(1, 1000)
CODEC_CLIP_FRAMES = 60

X264 = "scenecut=0:keyint=12:min-keyint=12:bframes=3:b-adapt=0"
X265 = f"log-level=none:{X264}"
VPX = {"g": "30", "auto-alt-ref": "1", "lag-in-frames": "16", "b": "400k", "deadline": "good", "cpu-used": "5"}
# name: (arguments of make_clip, whether decord gives exactly these frames)
CODEC_CLIPS = {
    "h264": ({"options": {"x264-params": f"{X264}:open-gop=0"}}, True),
    "h264_one_key_frame": ({"options": {"g": "250", "bf": "3"}}, True),
    "h264_only_key_frames": ({"options": {"g": "1"}}, True),
    "h264_open_gop": ({"options": {"x264-params": f"{X264}:open-gop=1"}}, False),
    "h264_intra_refresh": ({"options": {"x264-params": "intra-refresh=1:keyint=12:bframes=0"}}, False),
    "h264_fragmented": (
        {"options": {"g": "12", "bf": "3"}, "container_options": {"movflags": "frag_keyframe+empty_moov"}},
        True,
    ),
    "h264_mkv": ({"options": {"g": "12", "bf": "3"}, "container": "matroska"}, True),
    "h264_ts": ({"options": {"g": "12", "bf": "3"}, "container": "mpegts"}, False),
    "h264_open_gop_ts": ({"options": {"x264-params": f"{X264}:open-gop=1"}, "container": "mpegts"}, False),
    "h264_flv": ({"options": {"g": "12", "bf": "3"}, "container": "flv"}, False),
    "hevc": ({"codec": "libx265", "options": {"x265-params": f"{X265}:open-gop=0"}}, True),
    "hevc_open_gop": ({"codec": "libx265", "options": {"x265-params": f"{X265}:open-gop=1"}}, False),
    "hevc_10bit": (
        {"codec": "libx265", "options": {"x265-params": "log-level=none:keyint=12"}, "pix_fmt": "yuv420p10le"},
        False,
    ),
    "mpeg4": ({"codec": "mpeg4", "options": {"g": "12", "bf": "0", "q": "3"}}, True),
    "mpeg4_b_frames": ({"codec": "mpeg4", "options": {"g": "12", "bf": "2", "q": "3"}}, False),
    "mpeg4_avi": ({"codec": "mpeg4", "options": {"g": "12", "bf": "2", "q": "3"}, "container": "avi"}, False),
    "vp8": ({"codec": "libvpx", "options": VPX, "container": "webm"}, True),
    "vp9": ({"codec": "libvpx-vp9", "options": VPX, "container": "webm"}, True),
    "av1": ({"codec": "libsvtav1", "options": {"g": "12", "preset": "10", "crf": "30"}}, False),
}


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


def numbers(frames: np.ndarray) -> list[int]:
    """``read_number`` of every frame."""
    return [read_number(frame) for frame in frames]


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


@cache
def codec_clip(name: str) -> bytes:
    """A clip of ``CODEC_CLIPS``: 60 frames, 25 a second."""
    if name == "av1" and multiprocessing.parent_process() is None:
        # Run by root, SVT-AV1 gives the process that encodes the highest real-time priority and doesn't take it back.
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as child:
            return child.submit(codec_clip, name).result()
    return make_clip(constant_rate(CODEC_CLIP_FRAMES), **CODEC_CLIPS[name][0])


def patch_box(video: bytes, box: bytes, offset: int, value: int) -> bytes:
    """An MP4 with the 32-bit number at ``offset`` behind the first ``box`` name replaced."""
    at = video.index(box) + len(box) + offset
    return video[:at] + value.to_bytes(4, "big") + video[at + 4 :]
