"""From a file to what the video language model is given: long videos with the memory of one piece, and images.

Legend: F chosen frames, G groups, T = 4 frames a group, H W frame size, P tokens a group, D LLM width.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from einops import rearrange, repeat
from PIL import Image, ImageOps
from torch import Tensor
from tqdm import tqdm

from recot.errors import DataError, RecotError
from recot.grouping import GROUP_SIZE, pad_indices
from recot.models.preprocess import resize_bicubic
from recot.models.video_input import VisualInput
from recot.models.video_lm import VideoLM
from recot.video_io import DecodedFrames, FrameSampling, VideoLimits, VideoProbe, decode_pieces, probe
from recot.video_io.limits import check_side

CHUNK_FRAMES = 64
"""Frames that are decoded, encoded and compressed at a time (our choice). Results don't depend on it."""


@dataclass(frozen=True, eq=False)
class ChosenFrames:
    """Which frames of a video the model sees."""

    probe: VideoProbe
    indices: np.ndarray  # (F,) int64, ascending

    @property
    def still(self) -> bool:
        """Whether all are the same frame: then the model is shown an image, as in training."""
        return bool(self.indices[0] == self.indices[-1])


def choose_frames(
    path: str | os.PathLike[str], sampling: FrameSampling, limits: VideoLimits | None = None
) -> ChosenFrames:
    """Look into a video and choose frames, without decoding any.

    Raises:
        VideoError: if it isn't a video that can be used.
    """
    facts = probe(path, limits)
    return ChosenFrames(facts, sampling.indices(facts.times_s, facts.duration_s))


def read_video(
    model: VideoLM,
    path: str | os.PathLike[str],
    chosen: ChosenFrames,
    *,
    frame_size: tuple[int, int],
    chunk_frames: int = CHUNK_FRAMES,
    limits: VideoLimits | None = None,
    progress: bool = False,
) -> VisualInput:
    """Decode, encode and compress a video piece by piece, with the memory of one piece and of the compact tokens.

    Frames are grouped by 4; the last one is repeated where they don't come out even. A single frame is an image, as in
    training: no time is told, and the selector takes nothing away.

    Args:
        model: compresses.
        path: a local video file.
        chosen: its frames.
        frame_size: (H, W) in pixels that frames are decoded to.
        chunk_frames: a multiple of 4.
        limits: bounds on the video, and on the time that decoding one piece may take.
        progress: show a bar on stderr, if that is a terminal.

    Returns:
        The video's tokens, (G, P, D), and its frames' times.

    Raises:
        VideoError: if a frame can't be decoded.
        ValueError: for another ``chunk_frames``.
    """
    if chunk_frames < 1 or chunk_frames % GROUP_SIZE:
        raise ValueError(f"chunk_frames={chunk_frames} must be a positive multiple of {GROUP_SIZE}")
    shown = chosen.indices[:1] if chosen.still else chosen.indices
    padded = shown[pad_indices(len(shown))[0]]
    pieces = decode_pieces(path, padded, frame_size, piece=chunk_frames, probe=chosen.probe, limits=limits)
    # None: only where stderr is a terminal.
    with tqdm(total=len(padded), unit="frame", disable=None if progress else True) as bar:
        groups = len(padded) // GROUP_SIZE
        tokens = model.compress_stream(_groups(pieces, bar), groups=groups, still=chosen.still)
    times = torch.from_numpy(chosen.probe.times_s[padded])
    return VisualInput(times_s=rearrange(times, "(g t) -> g t", t=GROUP_SIZE), tokens=tokens, still=chosen.still)


def read_image(model: VideoLM, path: str | os.PathLike[str], *, frame_size: tuple[int, int]) -> VisualInput:
    """An image as one group, compressed: the same frame 4 times, upright and resized as the released model does it.

    Raises:
        DataError: if the file is no image, or a damaged one.
        VideoError: ``too_large``, if it has more pixels a side than a video may have.
    """
    pixels = torch.from_numpy(_upright_rgb(path))
    frame = resize_bicubic(pixels[None], frame_size)
    times = torch.zeros(1, GROUP_SIZE, dtype=torch.float64)
    shown = VisualInput(times_s=times, frames=repeat(frame, "g h w c -> g t h w c", t=GROUP_SIZE), still=True)
    return replace(shown, frames=None, tokens=model.compress([shown])[0])


def _groups(pieces: Iterable[DecodedFrames], bar: tqdm) -> Iterator[Tensor]:
    for piece in pieces:
        yield rearrange(torch.from_numpy(piece.frames), "(g t) h w c -> g t h w c", t=GROUP_SIZE)
        bar.update(len(piece.frames))


def _upright_rgb(path: str | os.PathLike[str]) -> np.ndarray:
    """(H, W, 3) uint8 of an image file."""
    name = os.fspath(path)
    try:
        with Image.open(path) as opened:
            check_side(name, *opened.size, VideoLimits())
            return np.array(ImageOps.exif_transpose(opened).convert("RGB"))
    except RecotError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"{name}: no such file. Give the path of a video or an image.") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # what Pillow says of bad files
        raise DataError(
            f"{name}: no image can be read from it, it is damaged or of another format ({error})"
        ) from error
