"""Opening a video for PyAV: local regular files and bytes, a closed list of containers, and nothing else."""

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import av
from av.container import InputContainer

from recot.errors import VideoError
from recot.video_io.limits import VideoLimits

Source = str | os.PathLike[str] | bytes
"""A local file's path, or a video file's content."""

CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,mpegts,mpeg,avi,flv,asf,ogg"
"""FFmpeg's names of the containers that may be opened. Playlists (HLS, DASH, concat) open further files or addresses
on their own, and text or image formats are no videos: all of these stay out."""

READ_BUFFER_BYTES = 1 << 18


def source_name(source: Source) -> str:
    """How errors name a source: its path, or ``<12345 bytes>``."""
    return f"<{len(source)} bytes>" if isinstance(source, bytes) else os.fspath(source)


def decoder_options(limits: VideoLimits) -> dict[str, str]:
    """Options that make a decoder refuse a frame larger than ``limits`` allow, whatever the container's header said."""
    return {"max_pixels": str(limits.max_side**2)}


@contextmanager
def open_container(source: Source, limits: VideoLimits) -> Iterator[InputContainer]:
    """An open container, closed at the end of the block.

    The demuxer gets a Python file object, so that it can't open anything by name. While it looks for the streams'
    properties, only headers and key frames within ``limits`` are looked into.

    Raises:
        VideoError: ``not_found``, ``not_a_file``, ``empty_file``, ``unreadable_file``, ``encrypted`` or
            ``unreadable_container``.
    """
    with _open_bytes(source) as file:
        try:
            container = av.open(
                file,
                mode="r",
                options={
                    "format_whitelist": CONTAINERS,
                    "protocol_whitelist": "none",
                    "skip_frame": "nokey",
                    **decoder_options(limits),
                },
                metadata_errors="replace",
                buffer_size=READ_BUFFER_BYTES,
                timeout=limits.timeout_s,
            )
        except (av.error.FFmpegError, OSError) as error:
            raise _refusal(source, file, error) from error
        with container:
            yield container


def _open_bytes(source: Source) -> BinaryIO:
    name = source_name(source)
    if isinstance(source, bytes):
        if not source:
            raise VideoError(name, "empty_file", "the video has no content; get it again or drop it")
        return io.BytesIO(source)
    path = Path(source)
    try:
        status = path.stat()
        file = path.open("rb") if stat.S_ISREG(status.st_mode) else None
    except (FileNotFoundError, NotADirectoryError) as error:
        raise VideoError(
            name, "not_found", "no such file; expected a local path (addresses are never fetched)"
        ) from error
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        raise VideoError(name, "unreadable_file", f"the file can't be opened: {error}") from error
    if file is None:
        raise VideoError(name, "not_a_file", "expected a video file, this is a folder or a device")
    if status.st_size == 0:
        file.close()
        raise VideoError(name, "empty_file", "the file has no content (0 bytes); get it again or drop it")
    return file


def broken_off(source: Source, reason: str, error: av.error.FFmpegError | OSError) -> VideoError:
    """The error for a video that can't be read on."""
    if isinstance(error, av.error.ExitError):  # FFmpeg's word for being interrupted, here by ``timeout_s``
        return VideoError(source_name(source), "timeout", "not read within the time limit; raise it or drop the video")
    return VideoError(source_name(source), reason, f"reading stops in the middle: {error.strerror}; it is damaged")


def _refusal(source: Source, file: BinaryIO, error: av.error.FFmpegError | OSError) -> VideoError:
    if isinstance(error, av.error.ExitError):
        return broken_off(source, "timeout", error)
    file.seek(0)
    head = file.read(READ_BUFFER_BYTES)
    # An MP4 whose sample entry is "encv" holds encrypted frames; FFmpeg may stumble over the boxes that describe them.
    if head[4:8] == b"ftyp" and b"encv" in head and b"sinf" in head:
        return encrypted(source)
    return VideoError(
        source_name(source),
        "unreadable_container",
        f"expected one of the containers {CONTAINERS}, but none can be read from it ({error.strerror}); "
        "it is damaged, cut off or no video",
    )


def encrypted(source: Source) -> VideoError:
    """The error for a video with encrypted frames."""
    return VideoError(source_name(source), "encrypted", "its frames are encrypted; decrypt the video or drop it")
