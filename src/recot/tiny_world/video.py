"""Frames into H.264 mp4."""

import io
from collections.abc import Iterable
from fractions import Fraction

import av
import numpy as np
from av.video.reformatter import Colorspace

CODEC = "h264"
CONTAINER = "mov,mp4,m4a,3gp,3g2,mj2"
"""FFmpeg's names, as a probe gives them."""


def encode_mp4(
    frames: Iterable[np.ndarray],
    *,
    size: int,
    fps: float,
    crf: int = 12,
    preset: str = "veryfast",
    gop: int = 32,
) -> bytes:
    """An mp4 whose frame k is shown at exactly k / fps seconds.

    The same frames give the same bytes, with the same version of the encoder.

    Args:
        frames: ``(size, size, 3)`` uint8 RGB each; ``size`` is even.
        size: side in pixels.
        fps: frames a second.
        crf: x264's quality, 0 (lossless) to 51.
        preset: x264's trade of time for size.
        gop: most frames from one key frame to the next.
    """
    rate = Fraction(fps).limit_denominator(1001)
    buffer = io.BytesIO()
    # Without B-frames and edit list, every decoder agrees on which frames there are and when they are shown.
    with av.open(buffer, "w", format="mp4", options={"use_editlist": "0"}) as container:
        # One thread: x264's output depends on their number. Its macroblock tree reads memory that nobody has set, so
        # that equal frames now and then gave other bytes.
        options = {"preset": preset, "crf": str(crf), "bf": "0", "g": str(gop), "threads": "1", "mbtree": "0"}
        stream = container.add_stream("libx264", rate=rate, options=options)
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.colorspace = Colorspace.ITU601
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture = picture.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU601)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return buffer.getvalue()
