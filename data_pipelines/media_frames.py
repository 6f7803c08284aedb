"""What is kept of a video's frames while it is decoded once: small pictures at fixed times, and scores between frames.

A frame is converted only where something needs it, and no frame of full size is kept. An hour of video leaves 17 MB.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from data_pipelines.media_cuts import CutScanner
from data_pipelines.signals.motion import WIDTH as DETAIL_WIDTH
from data_pipelines.signals.perceptual_hash import SIDE as HASH_SIDE
from recot.video_io import FrameSampling, VideoProbe
from recot.video_io.orientation import Orientation, frame_orientation

GRID_S = 0.5
"""Seconds from one sample to the next."""
MOST_HASHES = 512
MOST_PAIRS = 32
FEWEST_PAIRS = 4
_SECONDS_A_PAIR = 2.0
_SMALL = (64, 36)  # width, height
_DETAIL_HEIGHTS = (16, 448)


@dataclass(frozen=True)
class Plan:
    """Which frames are needed, by number. Samples are those on screen every half second from the first frame on.

    Attributes:
        samples: (n,) frame number of each sample, ascending; a frame that stays is there repeatedly.
        hash_step: every so many samples is hashed: 1, or the smallest power of 2 that gives at most 512 hashes.
        pairs: (m,) ascending places in ``samples`` of a pair's first frame; the next sample is the second.
        detail: ascending places in ``samples`` that are looked at in detail: all of the pairs, or the only sample.
        shots: (k,) frame numbers in the middles of k equal spans of the duration, ascending.
    """

    samples: np.ndarray
    hash_step: int
    pairs: np.ndarray
    detail: np.ndarray
    shots: np.ndarray


def plan_frames(probe: VideoProbe, frame_count: int) -> Plan:
    """The plan for a video; ``frame_count`` is k, the frames that the vision encoder gets."""
    samples = FrameSampling(fps=1 / GRID_S).indices(probe.times_s, probe.duration_s)
    n, hash_step = len(samples), 1
    while -(-n // hash_step) > MOST_HASHES:
        hash_step *= 2
    count = min(n - 1, MOST_PAIRS, max(FEWEST_PAIRS, round(probe.duration_s / _SECONDS_A_PAIR)))
    pairs = np.unique(np.linspace(0, max(0, n - 2), count).astype(np.int64))
    detail = np.union1d(pairs, pairs + 1) if count else np.zeros(1, dtype=np.int64)
    middles_s = probe.times_s[0] + (np.arange(frame_count) + 0.5) * probe.duration_s / frame_count
    shots = np.clip(np.searchsorted(probe.times_s, middles_s, side="right") - 1, 0, None)
    return Plan(samples, hash_step, pairs, detail, shots)


class FrameCollector:
    """Takes the clean frames of a video in order, and keeps what ``plan`` asks for.

    Attributes:
        small: (n, 36, 64) uint8 luma of the samples; those that are not in ``present`` are not set.
        present: (n,) bool, whether a sample's frame came out clean.
        hashed: place in ``plan.samples`` -> (64, 64) uint8 luma.
        detail: place in ``plan.samples`` -> (h, w) uint8 luma, 224 pixels wide or less.
        shots: (S, S, 3) uint8 RGB each, at most k: instead of a frame that didn't come out clean, the next one
            that did, or the last of all.
        shot_numbers: their frame numbers.
        decoded: (frames,) bool, whether a frame came out clean.
        cuts: scores of successive frames.
    """

    def __init__(self, plan: Plan, *, frames: int, fps: float, side: int) -> None:
        self._plan = plan
        self._side = side
        n = len(plan.samples)
        self.small = np.zeros((n, *_SMALL[::-1]), dtype=np.uint8)
        self.present = np.zeros(n, dtype=bool)
        self.hashed: dict[int, np.ndarray] = {}
        self.detail: dict[int, np.ndarray] = {}
        self.shots: list[np.ndarray] = []
        self.shot_numbers: list[int] = []
        self.decoded = np.zeros(frames, dtype=bool)
        self.cuts = CutScanner(fps)
        self._sample_numbers: list[int] = plan.samples.tolist()  # compared with at each frame: faster than an array
        self._shots_due: list[int] = plan.shots.tolist()
        self._detail_places = set(plan.detail.tolist())
        self._next_sample = 0
        self._last: tuple[int, VideoFrame] | None = None
        self._orientation: Orientation | None = None
        # One converter a purpose: each keeps its tables for one size.
        self._to_detail, self._to_shot = VideoReformatter(), VideoReformatter()

    def add(self, number: int, frame: VideoFrame) -> None:
        """Take frame ``number``; numbers ascend."""
        self.decoded[number] = True
        self._last = number, frame
        self.cuts.add(number, frame)
        samples = self._sample_numbers
        while self._next_sample < len(samples) and samples[self._next_sample] < number:
            self._next_sample += 1
        if self._next_sample < len(samples) and samples[self._next_sample] == number:
            self._add_samples(number, frame)
        if len(self.shots) < len(self._shots_due) and self._shots_due[len(self.shots)] <= number:
            self._add_shots(number, frame, until=number)

    def finish(self) -> None:
        """After the last frame: it stands for what is still missing of the encoder's frames."""
        self.cuts.finish()
        if self._last is not None:
            number, frame = self._last
            self._add_shots(number, frame, until=self._shots_due[-1])

    def _add_samples(self, number: int, frame: VideoFrame) -> None:
        place = self._next_sample
        detail = self._detail_luma(frame)
        square = cv2.resize(detail, (HASH_SIDE, HASH_SIDE), interpolation=cv2.INTER_AREA)
        small = cv2.resize(square, _SMALL, interpolation=cv2.INTER_AREA)
        while place < len(self._sample_numbers) and self._sample_numbers[place] == number:
            self.small[place] = small
            self.present[place] = True
            if place % self._plan.hash_step == 0:
                self.hashed[place] = square
            if place in self._detail_places:
                self.detail[place] = detail
            place += 1
        self._next_sample = place

    def _detail_luma(self, frame: VideoFrame) -> np.ndarray:
        """(h, w) uint8, as shown."""
        orientation = self._orientation_of(frame)
        shown = (frame.height, frame.width) if orientation.transpose else (frame.width, frame.height)
        width = min(shown[0], DETAIL_WIDTH)
        height = int(np.clip(round(shown[1] * width / shown[0]), *_DETAIL_HEIGHTS))
        stored = (height, width) if orientation.transpose else (width, height)
        converted = self._to_detail.reformat(frame, *stored, "gray", interpolation="AREA", threads=1)
        return _upright(converted.to_ndarray(), orientation)

    def _add_shots(self, number: int, frame: VideoFrame, *, until: int) -> None:
        """Take a frame for all that is still missing up to frame ``until``."""
        due = sum(shot <= until for shot in self._shots_due) - len(self.shots)
        if due <= 0:
            return
        shown = np.empty((self._side, self._side, 3), dtype=np.uint8)
        # Size and order as in training: stretched bilinearly, then turned.
        converted = self._to_shot.reformat(frame, self._side, self._side, "rgb24", threads=1)
        self._orientation_of(frame).copy(converted.to_ndarray(), shown)
        self.shots += [shown] * due
        self.shot_numbers += [number] * due

    def _orientation_of(self, frame: VideoFrame) -> Orientation:
        """The first frame's, for all: a frame whose side data was asked for stays until Python looks for cycles."""
        if self._orientation is None:
            self._orientation = frame_orientation(frame)
        return self._orientation


def _upright(image: np.ndarray, orientation: Orientation) -> np.ndarray:
    if orientation == Orientation():
        return image.copy()  # what came from the converter is a view into its memory
    turned = image.T if orientation.transpose else image
    return np.ascontiguousarray(turned[:: -1 if orientation.flip_y else 1, :: -1 if orientation.flip_x else 1])
