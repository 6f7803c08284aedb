"""Whether two videos show the same at one common offset, by their hashes."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from data_pipelines.duplicates.nearby import Hits
from data_pipelines.duplicates.sequences import MOST_LOOKS, Looks, Sequences, ragged
from data_pipelines.duplicates.settings import DuplicateSettings
from data_pipelines.signals.perceptual_hash import FLAT

_BITS = 64
_MOST_BITS = 18.0
_SAME_DURATION_S = 0.1
_FEWEST, _FEWEST_OF_DURATION = 1000, 30
"""Rivals that are reckoned with at least, of any and of one duration: our choice. Smooth pictures (a floor, the sky)
are more alike than ``evidence`` says, and in a corpus of two, little evidence would do to merge them."""
_STEPS = (-1, 0, 1)
_BLOCK = 1 << 16  # frames compared together: they fit a cache


def evidence(distance: np.ndarray) -> np.ndarray:
    """How many bits of evidence two looks are that differ in ``distance`` of 64 bits: 18 (1 - distance / 32)^2.

    The probability that looks of different videos are so alike is about 2 to the minus this: 2 ** -18 for equal hashes,
    2 ** -10 at 8 bits, 2 ** -4.5 at 16. Fitted to tiny-world scenes of seed 1 (6e-6, 2 ** -9.3 and 2 ** -5.8) and
    above what 33 real clips had (none, 2 ** -11.5 and 2 ** -6.7).
    """
    return _MOST_BITS * np.square(1 - np.minimum(distance, _BITS / 2) / (_BITS / 2))


@dataclass(frozen=True)
class Rivals:
    """How many videos each one is compared with, and so how much evidence it takes to tell a copy from chance.

    Attributes:
        all: how many there are.
        of_duration: ``(V,)`` int64: those that last as long as a video, give or take 0.1 s.
    """

    all: int
    of_duration: np.ndarray

    @classmethod
    def among(cls, durations_s: np.ndarray, others_s: np.ndarray) -> "Rivals":
        """Of videos that last ``durations_s`` (V,), among others."""
        known = np.sort(others_s[~np.isnan(others_s)])
        low = np.searchsorted(known, durations_s - _SAME_DURATION_S)
        return cls(len(others_s), np.searchsorted(known, durations_s + _SAME_DURATION_S, side="right") - low)


@dataclass(frozen=True)
class Aligner:
    """Compares videos, see ``compare``.

    Args:
        sequences: of V videos.
        looks: of these.
        rivals: of these.
        settings: ``radius``, ``share`` and ``chance``.
    """

    sequences: Sequences
    looks: Looks
    rivals: Rivals
    settings: DuplicateSettings

    def compare(self, hits: Hits) -> tuple[np.ndarray, np.ndarray]:
        """Which hits are copies.

        Each frame of the shorter video is laid beside the frame of the other one that stands at the offset, or the one
        before or after it: offsets needn't be whole half seconds. It is a match if they differ in ``radius`` bits or
        less. Flat frames count for nothing. A copy is one where

        - ``share`` of the frames match, and
        - all looks of the shorter video together, each with the mean distance of its frames, are ``evidence`` enough:
          log2(rivals / chance) + log2(looks of the longer one) or more, since each might be met by chance. Rivals are
          all videos, 1,000 at least, or those of the same duration, 30 at least, if these two have it in common. What
          is less than half as long as the other one needs twice that, for title cards and the like recur.

        So a shot of one second isn't a copy of a long film in which one frame is like it, and the more videos there
        are, the more has to match; many shots in a row are evidence enough among any number.

        Returns:
            ``(n,)`` float64: the share that matches, 0 where it is no copy; and ``(n,)`` float64 bits of evidence.
        """
        shares, bits = [np.zeros(0)], [np.zeros(0)]
        for block in self._blocks(hits):
            share, found = self._compare(hits.where(block))
            shares.append(share)
            bits.append(found)
        return np.concatenate(shares), np.concatenate(bits)

    def best(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """The same for pairs of videos, ``(n,)`` int64 each, laid over each other in all ways, plain and mirrored.

        Returns:
            ``(n,)`` float64: the share that matches at the offset of the best evidence, 0 where it is no copy.
        """
        result = np.zeros(len(left))
        lengths, steps = self.sequences.lengths, self.sequences.steps
        step = np.maximum(steps[left], steps[right])
        before, after = (-(-lengths[videos] * steps[videos] // step) - 1 for videos in (left, right))
        shifts = np.where((before < 0) | (after < 0), 0, before + after + 1)
        for block in _split(2 * shifts * np.minimum(lengths[left], lengths[right])):
            shift, pair = ragged(-before[block], shifts[block])
            for mirrored in (False, True):
                turned = np.full(len(pair), mirrored)
                hits = Hits(left[block][pair], right[block][pair], shift * step[block][pair], turned)
                share, bits = self.compare(hits)
                result[block] = np.maximum(result[block], _best_share(share, bits, pair, len(block)))
        return result

    def _blocks(self, hits: Hits) -> Iterator[np.ndarray]:
        return _split(np.minimum(self.sequences.lengths[hits.left], self.sequences.lengths[hits.right]))

    def _compare(self, hits: Hits) -> tuple[np.ndarray, np.ndarray]:
        pairs = self._lay(hits)
        nearest = np.minimum.reduce([self._distances(pairs, step) for step in _STEPS])
        textured = np.bincount(pairs.of, minlength=len(hits))
        close = np.bincount(pairs.of[nearest <= self.settings.radius], minlength=len(hits))
        share = close / np.maximum(textured, 1)
        matching = np.flatnonzero(share >= self.settings.share)
        result, bits = np.zeros(len(hits)), np.zeros(len(hits))
        if len(matching):  # few get here
            bits[matching], needed = self._evidence(self._lay(hits.where(matching)))
            result[matching] = np.where(bits[matching] >= needed, share[matching], 0)
        return result, bits

    def _lay(self, hits: Hits) -> "_Pairs":
        lengths, starts, steps = self.sequences.lengths, self.sequences.starts, self.sequences.steps
        lasting = lengths * steps
        swap = lasting[hits.left] > lasting[hits.right]
        short, long = np.where(swap, hits.right, hits.left), np.where(swap, hits.left, hits.right)
        back = hits.mirrored * self.sequences.mirrored_from  # of the left video
        ours, theirs = starts[short] + np.where(swap, 0, back), starts[long] + np.where(swap, back, 0)
        frames, of = ragged(ours, lengths[short])
        shown = np.flatnonzero(self.sequences.values[frames] != FLAT)
        frames, of = frames[shown], of[shown]
        time = (frames - ours[of]) * steps[short][of] + np.where(swap, -hits.shift, hits.shift)[of]
        return _Pairs(short, long, theirs, theirs + lengths[long], frames, theirs[of] + time // steps[long][of], of)

    def _distances(self, pairs: "_Pairs", step: int) -> np.ndarray:
        """``(m,)`` uint8: how far each frame is from the one at the offset, or one beside it."""
        place = pairs.beside + step
        outside = (place < pairs.low[pairs.of]) | (place >= pairs.high[pairs.of])
        place[outside] = 0
        values = self.sequences.values
        theirs = values[place]
        distance = np.bitwise_count(values[pairs.frames] ^ theirs)
        distance[outside | (theirs == FLAT)] = _BITS // 2
        return distance

    def _evidence(self, pairs: "_Pairs") -> tuple[np.ndarray, np.ndarray]:
        """``(n,)`` bits of evidence, and how many are needed. Two looks that are like one are no more than one."""
        distances = np.stack([self._distances(pairs, step) for step in _STEPS])
        nearest, best = distances.min(0), distances.argmin(0)
        looks, half = self.looks, self.sequences.mirrored_from
        beside = (pairs.beside + np.array(_STEPS)[best]) % half
        theirs = np.where(nearest < _BITS // 2, looks.of_frame[beside], -1)
        ours = looks.of_frame[pairs.frames % half]
        bits = np.minimum(
            self._sum(pairs.short, pairs.of, ours, nearest), self._sum(pairs.long, pairs.of, theirs, nearest)
        )
        return bits, self._needed(pairs.short, pairs.long)

    def _sum(self, videos: np.ndarray, hit: np.ndarray, look: np.ndarray, distance: np.ndarray) -> np.ndarray:
        """``(n,)`` bits of evidence of all looks of the videos, one a hit, whose frames are so far from others."""
        known = look >= 0
        place = hit[known] * MOST_LOOKS + look[known]
        frames = np.bincount(place, minlength=len(videos) * MOST_LOOKS)
        total = np.bincount(place, weights=distance[known], minlength=len(videos) * MOST_LOOKS)
        bits = np.where(frames > 0, evidence(total / np.maximum(frames, 1)), 0).reshape(-1, MOST_LOOKS)
        weight = np.where(bits > 0, self.looks.novelty[videos], 0)
        weight[np.arange(len(videos)), weight.argmax(1)] = 1  # the most novel one of those at hand is new as a whole
        return (bits * weight).sum(1)

    def _needed(self, short: np.ndarray, long: np.ndarray) -> np.ndarray:
        durations, lasting = self.sequences.durations_s, self.sequences.lengths * self.sequences.steps
        same = np.abs(durations[short] - durations[long]) <= _SAME_DURATION_S
        of_duration = np.maximum(self.rivals.of_duration[short], self.rivals.of_duration[long])
        among = np.where(same, np.maximum(of_duration, _FEWEST_OF_DURATION), max(self.rivals.all, _FEWEST))
        bits = np.log2(among) - math.log2(self.settings.chance) + np.log2(np.maximum(self.looks.count[long], 1))
        return np.where(lasting[short] < lasting[long] / 2, 2 * bits, bits)


@dataclass(frozen=True)
class _Pairs:
    """n pairs of videos laid over each other: the m frames of the shorter ones that aren't flat, and what is beside.

    Attributes:
        short, long: ``(n,)`` videos.
        low, high: ``(n,)`` where the hashes of the long one begin and end.
        frames, beside: ``(m,)`` indices of hashes; the latter may be outside.
        of: ``(m,)`` the pair.
    """

    short: np.ndarray
    long: np.ndarray
    low: np.ndarray
    high: np.ndarray
    frames: np.ndarray
    beside: np.ndarray
    of: np.ndarray


def _best_share(share: np.ndarray, bits: np.ndarray, pair: np.ndarray, count: int) -> np.ndarray:
    """``(count,)`` the share of each pair's best offset; 0 where none is a copy."""
    copies = np.flatnonzero(share)
    order = copies[np.lexsort((share[copies], bits[copies], pair[copies]))]
    result = np.zeros(count)
    result[pair[order]] = share[order]  # of each pair, the last one stays
    return result


def _split(costs: np.ndarray) -> Iterator[np.ndarray]:
    """Successive indices whose costs are about ``_BLOCK`` together."""
    ends = np.cumsum(costs)
    cuts = np.searchsorted(ends, np.arange(_BLOCK, int(ends[-1]) if len(ends) else 0, _BLOCK))
    yield from (part for part in np.split(np.arange(len(costs)), np.unique(cuts)) if len(part))
