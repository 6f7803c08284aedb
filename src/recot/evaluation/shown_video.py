"""What a model is shown of a question's video: the sampled frames, as a control changes them, compressed.

Legend: F shown frames, G groups, T = 4 frames a group, H W frame size, n frames of a piece, P tokens a group, D LLM
width.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from recot.errors import VideoError
from recot.evaluation.controls import Control, shown_frames
from recot.evaluation.items import Item, Needle
from recot.evaluation.needles import insert
from recot.grouping import GROUP_SIZE, pad_indices
from recot.inference.usage import Usage
from recot.inference.video import CHUNK_FRAMES, ChosenFrames, choose_frames
from recot.models.video_input import VisualInput
from recot.models.video_lm import VideoLM
from recot.video_io import FrameSampling, VideoLimits, decode_pieces

T = TypeVar("T")

LIMITS = VideoLimits(timeout_s=600.0)
"""Benchmarks have videos of hours, and evaluation runs beside other work (our choice)."""


@dataclass(frozen=True, eq=False)
class Shown:
    """A video as the model gets it."""

    visual: VisualInput  # compressed
    times_s: np.ndarray  # (F,) float64, ascending

    @property
    def tokens(self) -> Tensor:
        """(G, P, D)"""
        assert self.visual.tokens is not None
        return self.visual.tokens


class VideoReader:
    """Reads videos under a control. The last one's tokens are kept for the next question about the same frames.

    Args:
        model: compresses.
        control: what is shown instead of the video.
        sampling: which frames are seen; of a video with a needle, as many as that says.
        frame_size: (H, W) in pixels.
    """

    def __init__(
        self, model: VideoLM, *, control: Control, sampling: FrameSampling, frame_size: tuple[int, int]
    ) -> None:
        self._model = model
        self._control = control
        self._sampling = sampling
        self._size = frame_size
        # What can't be read isn't tried again for each question, either.
        self._chosen: tuple[object, ChosenFrames | VideoError] | None = None
        self._read: tuple[object, Tensor | VideoError] | None = None

    def read(self, item: Item, usage: Usage) -> Shown:
        """A question's video.

        Shuffled frames need the memory of all of them; everything else that of one piece.

        Args:
            item: the question.
            usage: gets the steps ``probe``, ``decode`` and ``compress``, as far as they were taken.

        Raises:
            VideoError: if the video can't be decoded; ``evidence_not_sampled`` if it can, but the control needs frames
                within the evidence, or outside it, and none was sampled.
        """
        chosen = self._choose(item, usage)
        times = chosen.probe.times_s[chosen.indices]
        control = self._control
        places = shown_frames(control.frames, times, item.evidence, seed=control.seed, item_id=item.id)
        _check_evidence(item, control, len(places), len(times))
        # As in training, a single frame is an image. One with a needle isn't the same frame each time.
        still = len(places) == 1 or (item.needle is None and len(np.unique(chosen.indices[places])) == 1)
        places = places[:1] if still else places
        tokens = self._tokens(item, chosen, places, usage, still)
        shown = times[np.sort(places)]
        grouped = torch.from_numpy(shown[pad_indices(len(places))[0]]).view(-1, GROUP_SIZE)
        return Shown(VisualInput(times_s=grouped, tokens=tokens, still=still), shown)

    def _choose(self, item: Item, usage: Usage) -> ChosenFrames:
        sampling = self._sampling if item.needle is None else FrameSampling(count=item.needle.length)
        key = (item.video, sampling)
        if self._chosen is None or self._chosen[0] != key:
            with usage.step("probe"):
                self._chosen = (key, _or_error(lambda: choose_frames(item.video, sampling, LIMITS)))
        return _or_raise(self._chosen[1])

    def _tokens(self, item: Item, chosen: ChosenFrames, places: np.ndarray, usage: Usage, still: bool) -> Tensor:
        """(G, P, D)"""
        groups = -(-len(places) // GROUP_SIZE)
        if self._control.video == "blank":
            with usage.step("compress"):
                black = torch.zeros(1, GROUP_SIZE, *self._size, 3, dtype=torch.uint8)
                return self._model.compress_stream([black], groups=1, still=still).expand(groups, -1, -1)
        needle = item.needle if item.needle is not None and item.needle.frames > 0 else None
        apart = needle is not None and self._control.frames == "all"
        key = (item.video, chosen.indices[places].tobytes(), None if apart else needle)
        if self._read is None or self._read[0] != key:
            self._read = None  # two long videos may not fit
            own = None if apart else needle
            self._read = (key, _or_error(lambda: self._compress(item, chosen, places, own, usage, still)))
        tokens = _or_raise(self._read[1])
        if needle is None or not apart:
            return tokens
        # A group's tokens depend on its own frames alone: only those that show the needle are made anew.
        first, last = needle.place // GROUP_SIZE, (needle.place + needle.frames - 1) // GROUP_SIZE
        touched = places[first * GROUP_SIZE : (last + 1) * GROUP_SIZE]
        tokens = tokens.clone()
        tokens[first : last + 1] = self._compress(item, chosen, touched, needle, usage, still)
        return tokens

    def _compress(
        self, item: Item, chosen: ChosenFrames, places: np.ndarray, needle: Needle | None, usage: Usage, still: bool
    ) -> Tensor:
        pieces = _Timed(shown_pieces(item, chosen, places, self._size, needle))
        before = dict(usage.seconds)
        with usage.step("compress"):
            groups = (rearrange(torch.from_numpy(own), "(g t) h w c -> g t h w c", t=GROUP_SIZE) for own in pieces)
            tokens = self._model.compress_stream(groups, groups=-(-len(places) // GROUP_SIZE), still=still)
        usage.seconds["compress"] += before.get("compress", 0.0) - pieces.seconds
        usage.seconds["decode"] = before.get("decode", 0.0) + pieces.seconds
        return tokens


def _or_error(read: Callable[[], T]) -> T | VideoError:
    """What was read, or why it couldn't be."""
    try:
        return read()
    except VideoError as error:
        return error.with_traceback(None)  # which would keep frames


def _or_raise(found: T | VideoError) -> T:
    if isinstance(found, VideoError):
        raise VideoError(found.source, found.reason, found.message)
    return found


def _check_evidence(item: Item, control: Control, shown: int, sampled: int) -> None:
    """Refuse to show a question with nothing removed, or with nothing left, as if its evidence were gone."""
    only, removed = (control.frames == f"evidence_{which}" for which in ("only", "removed"))
    if (only and shown == 0) or (removed and shown == sampled):
        lacking = "within"
    elif removed and shown == 0:
        lacking = "outside"
    else:
        return
    raise not_sampled(item, sampled, lacking, f"control.frames={control.frames}")


def not_sampled(item: Item, sampled: int, lacking: str, control: str) -> VideoError:
    """The failure of a question whose evidence the frames don't allow to be treated as a control says."""
    return VideoError(
        str(item.video),
        "evidence_not_sampled",
        f"the video is fine, but none of the {sampled} sampled frames lies {lacking} the question's evidence, as "
        f"{control} needs: sample more frames (fps, frames, max_frames)",
    )


def shown_pieces(
    item: Item, chosen: ChosenFrames, places: np.ndarray, size: tuple[int, int], needle: Needle | None
) -> Iterator[np.ndarray]:
    """Frames in the order in which they are shown, the last one repeated up to whole groups.

    Args:
        item: whose video.
        chosen: its sampled frames.
        places: (F,) which of these, in any order, each once.
        size: (H, W).
        needle: painted over the sampled frames that it belongs on.

    Yields:
        (n, H, W, 3) uint8, n = ``CHUNK_FRAMES`` but for the last piece.

    Raises:
        VideoError: if a frame can't be decoded.
    """
    padded = places[pad_indices(len(places))[0]]
    ascending = bool((np.diff(places) > 0).all())
    wanted = padded if ascending else np.sort(places)
    decoded = decode_pieces(
        item.video, chosen.indices[wanted], size, piece=CHUNK_FRAMES, probe=chosen.probe, limits=LIMITS
    )
    painted = (
        _painted(piece.frames, wanted[n * CHUNK_FRAMES :][: len(piece.frames)], needle)
        for n, piece in enumerate(decoded)
    )
    if ascending:
        yield from painted
        return
    frames = np.concatenate(list(painted))
    for start in range(0, len(padded), CHUNK_FRAMES):
        yield frames[np.searchsorted(wanted, padded[start : start + CHUNK_FRAMES])]


def _painted(frames: np.ndarray, numbers: np.ndarray, needle: Needle | None) -> np.ndarray:
    """Frames that have these numbers among the sampled ones, with the needle."""
    if needle is not None:
        for i in np.flatnonzero((needle.place <= numbers) & (numbers < needle.place + needle.frames)):
            frames[i] = insert(frames[i : i + 1], int(numbers[i]), needle)[0]
    return frames


class _Timed:
    """Passes pieces on and adds up the seconds that they take to come."""

    def __init__(self, pieces: Iterator[np.ndarray]) -> None:
        self._pieces = pieces
        self.seconds = 0.0

    def __iter__(self) -> "_Timed":
        return self

    def __next__(self) -> np.ndarray:
        start = time.perf_counter()
        try:
            return next(self._pieces)
        finally:
            self.seconds += time.perf_counter() - start
