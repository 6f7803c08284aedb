"""What is inside ``<key>.frames.npz``: sampled frames of one video as JPEGs, any of which is read without the others.

Legend: n stored frames of a video, k frames that are read, H W frame size.

An npz that isn't compressed, without pickled objects: ``times_s`` (n,) float64 presentation seconds; ``fps`` ()
float64, frames a second that were sampled; ``size`` (2,) int64, (H, W) in pixels; ``offsets`` (n + 1,) int64,
``crc32`` (n,) uint32 and ``jpeg`` (bytes,) uint8: frame j is ``jpeg[offsets[j]:offsets[j + 1]]``, checked by
``crc32[j]``.
JPEG, because frames as they are take 5 to 13 times the space (benchmarks/results/prune_frames_media.md).
"""

import io
import math
import re
import zipfile
import zlib
from collections.abc import Sequence
from typing import BinaryIO

import av
import numpy as np
from av.video.reformatter import VideoReformatter

_DTYPES = {"times_s": "<f8", "fps": "<f8", "size": "<i8", "offsets": "<i8", "crc32": "<u4", "jpeg": "|u1"}
_NPY_HEADER = 192  # bytes; NumPy's own take 128
_LOCAL_HEADER = 30  # bytes of a zip member's header before its name
_MAX_SIDE = 8192  # pixels
_MAX_TABLE = 2**28  # bytes; the times of a day of video take 700 KB a frame a second
_BROKEN = (ValueError, KeyError, EOFError, OSError, NotImplementedError, RuntimeError, zipfile.BadZipFile)
"""What ``zipfile`` raises about forged files."""
_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00..\{'descr': '([^']{3})', 'fortran_order': False, 'shape': \((\d{0,18}),?\), \} *\n", re.DOTALL
)
"""What NumPy writes before the values of an array of at most one axis. Its own reader takes ten times as long."""


def encode_frames(jpegs: Sequence[bytes], *, times_s: np.ndarray, fps: float, size: tuple[int, int]) -> bytes:
    """The payload of one video; equal arguments give equal bytes.

    Args:
        jpegs: n JPEG files, (H, W) each.
        times_s: (n,) presentation seconds, not descending.
        fps: frames a second that were sampled.
        size: (H, W) in pixels.
    """
    lengths = [len(jpeg) for jpeg in jpegs]
    arrays = {
        "times_s": np.asarray(times_s, dtype="<f8"),
        "fps": np.array(fps, dtype="<f8"),
        "size": np.array(size, dtype="<i8"),
        "offsets": np.cumsum([0, *lengths], dtype="<i8"),
        "crc32": np.array([zlib.crc32(jpeg) for jpeg in jpegs], dtype="<u4"),
        "jpeg": np.frombuffer(b"".join(jpegs), dtype="|u1"),
    }
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


class FramesPayload:
    """A payload opened for reading; of the JPEGs, only those asked for are read.

    Args:
        file: the payload, seekable; it must stay open while frames are read.

    Attributes:
        times_s: (n,) float64 presentation seconds.
        fps: frames a second that were sampled.
        size: (H, W) in pixels.

    Raises:
        ValueError: if the file isn't such a payload.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        try:
            with zipfile.ZipFile(file) as archive:
                found = {name: _array(archive, file, name) for name in _DTYPES if name != "jpeg"}
                (length,), self._start = _array_place(archive, file, "jpeg")
        except _BROKEN as error:
            raise ValueError(f"not an npz with the arrays {', '.join(_DTYPES)}: {error}") from error
        self.times_s, self._offsets, self._crc32 = found["times_s"], found["offsets"], found["crc32"]
        n = self.times_s.size
        if [found[name].shape for name in ("times_s", "fps", "size", "offsets", "crc32")] != [
            *((n,), (), (2,), (n + 1,), (n,))
        ]:
            raise ValueError(f"its arrays are of shapes {[(name, array.shape) for name, array in found.items()]}")
        self.fps = float(found["fps"])
        self.size = (int(found["size"][0]), int(found["size"][1]))
        if not (0 < self.fps < math.inf and min(self.size) > 0 and max(self.size) <= _MAX_SIDE):
            raise ValueError(f"it says {self.fps} frames a second of {self.size} pixels")
        if n == 0 or not np.isfinite(self.times_s).all() or (np.diff(self.times_s) < 0).any():
            raise ValueError("its times_s are not those of frames in order")
        if self._offsets[0] != 0 or (np.diff(self._offsets) < 0).any() or self._offsets[-1] != length:
            raise ValueError("its offsets do not fit its jpeg")

    def read(self, places: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Decode frames, resized as ``recot.video_io.decode`` does.

        Args:
            places: (k,) int64, which of the n frames, in any order, repeated or not.
            size: (H, W) of the result in pixels.

        Returns:
            (k, H, W, 3) uint8 RGB.

        Raises:
            ValueError: if a frame is damaged.
        """
        wanted, place = np.unique(places, return_inverse=True)
        frames = np.empty((len(wanted), *size, 3), dtype=np.uint8)
        decoder = av.CodecContext.create("mjpeg", "r")
        decoder.thread_count = 1
        decoder.options = {"max_pixels": str(_MAX_SIDE**2)}
        reformatter = VideoReformatter()
        for j, number in enumerate(wanted.tolist()):
            try:
                (shown,) = decoder.decode(av.Packet(self._jpeg(number)))
            except av.error.FFmpegError as error:
                raise ValueError(f"frame {number} is no JPEG: {error.strerror}") from error
            if (shown.height, shown.width) != self.size:
                raise ValueError(f"frame {number} is {shown.width}x{shown.height} pixels, not {self.size[::-1]}")
            # As in recot.video_io.pyav_reader, from the decoder's colours in one step.
            frames[j] = reformatter.reformat(shown, size[1], size[0], "rgb24", threads=1).to_ndarray()
        return frames if np.array_equal(place, np.arange(len(wanted))) else frames[place]

    def _jpeg(self, number: int) -> bytes:
        first, last = self._offsets[number : number + 2].tolist()
        self._file.seek(self._start + first)
        content = self._file.read(last - first)
        if zlib.crc32(content) != self._crc32[number]:
            raise ValueError(f"the bytes of frame {number} are not those that were written (CRC-32 differs)")
        return content


def _array(archive: zipfile.ZipFile, file: BinaryIO, name: str) -> np.ndarray:
    """A whole array, checked against the archive's CRC-32."""
    info = archive.getinfo(f"{name}.npy")
    if info.file_size > _MAX_TABLE:
        raise ValueError(f"{info.filename} has {info.file_size} bytes")
    shape, start = _array_place(archive, file, name)
    values_size = math.prod(shape) * np.dtype(_DTYPES[name]).itemsize
    file.seek(start + values_size - info.file_size)
    content = file.read(info.file_size)
    if zlib.crc32(content) != info.CRC:
        raise ValueError(f"bad CRC-32 of {info.filename}")
    return np.frombuffer(content, dtype=_DTYPES[name], offset=info.file_size - values_size).reshape(shape)


def _array_place(archive: zipfile.ZipFile, file: BinaryIO, name: str) -> tuple[tuple[int, ...], int]:
    """Shape of an array of the expected type, and the byte of the file where its values start."""
    info = archive.getinfo(f"{name}.npy")
    if info.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{info.filename} is compressed")
    file.seek(info.header_offset)
    local = file.read(_LOCAL_HEADER)
    names = int.from_bytes(local[26:28], "little") + int.from_bytes(local[28:30], "little")
    data = info.header_offset + _LOCAL_HEADER + names
    file.seek(data)
    header = _HEADER.match(file.read(_NPY_HEADER))
    if header is None or header[1].decode() != _DTYPES[name]:
        raise ValueError(f"{info.filename} doesn't start like an array of {_DTYPES[name]}")
    shape = (int(header[2]),) if header[2] else ()
    values_size = math.prod(shape) * np.dtype(_DTYPES[name]).itemsize
    if info.file_size != header.end() + values_size:
        raise ValueError(f"{info.filename} has {info.file_size} bytes for an array of shape {shape}")
    return shape, data + header.end()
