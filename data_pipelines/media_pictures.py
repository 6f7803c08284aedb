"""A frame as bytes: small ones as they are, larger ones as JPEG."""

import io

import numpy as np
from PIL import Image

LARGEST_RAW_SIDE = 128
"""Frames up to this side keep every bit: 49 KB each."""
_QUALITY = 95


def encode_picture(frame: np.ndarray) -> bytes:
    """Code of a frame, the same for equal frames (with the same version of Pillow).

    Args:
        frame: (S, S, 3) uint8 RGB. Up to 128 pixels a side its own bytes, row by row; above, JPEG of quality 95 with
            chroma at full size.
    """
    if len(frame) <= LARGEST_RAW_SIDE:
        return frame.tobytes()
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "JPEG", quality=_QUALITY, subsampling=0)
    return buffer.getvalue()


def decode_picture(code: bytes, side: int) -> np.ndarray:
    """(side, side, 3) uint8 RGB of ``encode_picture``'s code."""
    if side <= LARGEST_RAW_SIDE:
        return np.frombuffer(code, dtype=np.uint8).reshape(side, side, 3)
    with Image.open(io.BytesIO(code)) as image:
        return np.asarray(image.convert("RGB"))
