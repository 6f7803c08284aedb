"""Frames into other frames: ``(S, S, 3)`` uint8 RGB each, all of a video in a list."""

import io

import av
import numpy as np

Frames = list[np.ndarray]
_TILES = 8


def decode_frames(content: bytes) -> Frames:
    """All frames of a good file."""
    with av.open(io.BytesIO(content)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def resize(frames: Frames, size: int) -> Frames:
    """Bicubic, to ``size`` x ``size`` pixels."""
    pictures = (av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24") for frame in frames)
    return [
        picture.reformat(width=size, height=size, format="rgb24", interpolation="BICUBIC").to_ndarray()
        for picture in pictures
    ]


def crop(frames: Frames, *, left: int, top: int, side: int) -> Frames:
    """A square part of every frame, enlarged to the whole frame's size."""
    return resize([frame[top : top + side, left : left + side] for frame in frames], len(frames[0]))


def mirror(frames: Frames) -> Frames:
    """Left and right swapped."""
    return [frame[:, ::-1].copy() for frame in frames]


def brighten(frames: Frames, levels: int) -> Frames:
    """``levels`` (negative: darker) added to every channel."""
    return [np.clip(frame.astype(int) + levels, 0, 255).astype(np.uint8) for frame in frames]


def add_noise(frames: Frames, rng: np.random.Generator) -> Frames:
    """A tenth of the values one up or down, at random: less than a camera's noise."""
    noise = (rng.choice((-1, 0, 1), frame.shape, p=(0.05, 0.9, 0.05)) for frame in frames)
    return [np.clip(frame + n, 0, 255).astype(np.uint8) for frame, n in zip(frames, noise, strict=True)]


def plain_frame(colour: tuple[int, int, int], size: int, rng: np.random.Generator) -> np.ndarray:
    """One colour, but for tiles up to two levels brighter, which nobody sees: no two such files are equal."""
    tile = -(-size // _TILES)
    grain = np.kron(rng.integers(0, 3, (_TILES, _TILES)), np.ones((tile, tile), dtype=int))[:size, :size, None]
    return np.clip(np.array(colour) + grain, 0, 255).astype(np.uint8)
