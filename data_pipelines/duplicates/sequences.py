"""Hash sequences of many videos in flat arrays.

Legend: V videos, F hashes of all videos together.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_pipelines.signals.perceptual_hash import FLAT

MOST_LOOKS = 32
STEP_S = 0.5
MOMENT = np.array([0, 1, 2])
"""Frames that are looked for together: a second apart."""
_FEW = 10
_BLOCK = 1 << 20  # hashes looked at together


@dataclass(frozen=True)
class Sequences:
    """The perceptual hashes of V videos, plain and of the mirrored frames.

    Attributes:
        values: ``(2 F,)`` uint64: all plain hashes, then all mirrored ones in the same order.
        starts: ``(V,)`` int64: where a video's plain hashes begin.
        lengths: ``(V,)`` int64: how many it has.
        steps: ``(V,)`` int64 half seconds from one to the next: 1, or a power of 2 where that were too many hashes.
        durations_s: ``(V,)`` float64 seconds, NaN where unknown.
    """

    values: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    steps: np.ndarray
    durations_s: np.ndarray

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def mirrored_from(self) -> int:
        """How far behind its plain hash a frame's mirrored one is: F."""
        return len(self.values) // 2

    def take(self, videos: np.ndarray) -> "Sequences":
        """Those of some videos, sharing the hashes."""
        parts = (self.starts, self.lengths, self.steps, self.durations_s)
        return Sequences(self.values, *(part[videos] for part in parts))

    def blocks(self) -> Iterator[np.ndarray]:
        """Successive videos with about 2 ** 20 hashes together."""
        ends = np.cumsum(self.lengths)
        cuts = np.searchsorted(ends, np.arange(_BLOCK, int(ends[-1]) if len(ends) else 0, _BLOCK))
        yield from (part for part in np.split(np.arange(len(self)), np.unique(cuts)) if len(part))


def read_sequences(videos: pa.Table) -> Sequences:
    """The columns ``hashes``, ``mirrored_hashes`` and ``duration_s`` of a table of videos, in its order.

    Raises:
        ValueError: if a video has more hashes of the one kind than of the other.
    """
    plain, mirrored = videos["hashes"], videos["mirrored_hashes"]
    lengths = pc.fill_null(pc.list_value_length(plain), 0).to_numpy().astype(np.int64)
    if not np.array_equal(lengths, pc.fill_null(pc.list_value_length(mirrored), 0).to_numpy()):
        raise ValueError("a video has not as many mirrored hashes as plain ones")
    values = [pc.list_flatten(column).to_numpy().astype(np.uint64) for column in (plain, mirrored)]
    durations = pc.fill_null(videos["duration_s"].cast(pa.float64()), np.nan).to_numpy()
    # As the media stage does: the smallest power of 2 that gives no more than it may keep.
    sparse = np.nan_to_num(durations) / (STEP_S * np.maximum(lengths, 1))
    steps = 2 ** np.rint(np.log2(np.maximum(sparse, 1))).astype(np.int64)
    return Sequences(np.concatenate(values), np.cumsum(lengths) - lengths, lengths, steps, durations)


def joined(first: Sequences, second: Sequences) -> Sequences:
    """The videos of both, those of the second behind those of the first."""
    ours, theirs = first.mirrored_from, second.mirrored_from
    parts = (first.values[:ours], second.values[:theirs], first.values[ours:], second.values[theirs:])
    return Sequences(
        np.concatenate(parts),
        np.concatenate([first.starts, second.starts + ours]),
        np.concatenate([first.lengths, second.lengths]),
        np.concatenate([first.steps, second.steps]),
        np.concatenate([first.durations_s, second.durations_s]),
    )


def ragged(starts: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``start, start + 1, ...`` for each ``(start, length)``: the numbers, and which pair each is from, both int64."""
    owner = np.repeat(np.arange(len(starts)), lengths)
    before = np.cumsum(lengths) - lengths
    return np.arange(len(owner)) + np.repeat(starts - before, lengths), owner


@dataclass(frozen=True)
class Looks:
    """What different things a video shows.

    Attributes:
        of_frame: ``(F,)`` int8: number of the frame's look in its video, -1 for flat frames.
        novelty: ``(V, 32)`` float32: how much of a look is new: the bits in which it differs from the most similar one
            with a lower number, divided by the 32 of chance; 1 at most, and for the first look.
        count: ``(V,)`` int64: looks, and frames that are like none of 32.
        begins: ``(n,)`` int64: indices of frames that aren't flat, each the first of a moment, see ``moments``.
        apart: ``(n,)`` uint8: hashes from one frame of the moment to the next.
        videos: ``(n,)`` int32, ascending: the videos that the moments are from.
    """

    of_frame: np.ndarray
    novelty: np.ndarray
    count: np.ndarray
    begins: np.ndarray
    apart: np.ndarray
    videos: np.ndarray

    def moments(self, sequences: Sequences, chosen: slice) -> np.ndarray:
        """``(m, 3)`` int64: indices of the frames of some moments; where the video is over, the last one."""
        last = (sequences.starts + sequences.lengths)[self.videos[chosen]] - 1
        return _frames(self.begins[chosen], self.apart[chosen], last)


def find_looks(sequences: Sequences, radius: int) -> Looks:
    """The first frame is a look, and then the one that differs most from all looks, until none by over ``radius`` bits.

    A frame has the look that it is nearest to, so that every part of a video has some.
    """
    of_frame = np.full(sequences.mirrored_from, -1, dtype=np.int8)
    novelty = np.zeros((len(sequences), MOST_LOOKS), np.float32)
    count = np.zeros(len(sequences), np.int64)
    moments = [(np.zeros(0, np.int64), np.zeros(0, np.uint8), np.zeros(0, np.int32))]
    for block in sequences.blocks():
        frames, owner = ragged(sequences.starts[block], sequences.lengths[block])
        shown = sequences.values[frames] != FLAT
        frames, owner = frames[shown], block[owner[shown]]
        moments.append(_moments(sequences, frames, owner))
        hashes, closest = sequences.values[frames], np.full(len(frames), 64, np.uint8)
        for number in range(MOST_LOOKS):
            if not len(frames):
                break
            seen, begin, which = np.unique(owner, return_index=True, return_inverse=True)
            farthest = np.maximum.reduceat(closest, begin)
            candidates = np.flatnonzero(closest == farthest[which])
            chosen = candidates[np.unique(which[candidates], return_index=True)[1]]
            count[seen] += 1
            novelty[seen, number] = np.minimum(farthest, 32) / 32
            distance = np.bitwise_count(hashes ^ hashes[chosen][which])
            of_frame[frames[distance < closest]] = number
            closest = np.minimum(closest, distance)
            left = (np.maximum.reduceat(closest, begin) > radius)[which]
            frames, owner, hashes, closest = frames[left], owner[left], hashes[left], closest[left]
        count += np.bincount(owner[closest > radius], minlength=len(sequences))
    return Looks(of_frame, novelty, count, *(np.concatenate(parts) for parts in zip(*moments, strict=True)))


def _moments(sequences: Sequences, frames: np.ndarray, videos: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Different moments that begin with these frames: where, how far apart their frames are, and in which videos.

    They last two seconds, or two steps where these are longer. Videos whose hashes are sparse have moments of twice the
    length too: what is trimmed off another one may have made its hashes sparser. Moments that would be cut short by the
    end are left out where there are 10 hashes or more.
    """
    apart, sparse = np.maximum(2 // sequences.steps[videos], 1), sequences.steps[videos] > 1
    apart = np.concatenate([apart, 2 * apart[sparse]])
    begins, videos = np.concatenate([frames, frames[sparse]]), np.concatenate([videos, videos[sparse]])
    last = (sequences.starts + sequences.lengths)[videos] - 1
    kept = np.flatnonzero((begins + MOMENT[-1] * apart <= last) | (sequences.lengths[videos] < _FEW))
    kept = kept[_first_of_each(videos[kept], *sequences.values[_frames(begins[kept], apart[kept], last[kept])].T)]
    return begins[kept], apart[kept].astype(np.uint8), videos[kept].astype(np.int32)


def _frames(begins: np.ndarray, apart: np.ndarray, last: np.ndarray) -> np.ndarray:
    return np.minimum(begins[:, None] + MOMENT * apart[:, None].astype(np.int64), last[:, None])


def _first_of_each(*values: np.ndarray) -> np.ndarray:
    """Indices of the first of equal tuples, ascending by the first value."""
    order = np.lexsort(values[::-1])
    new = np.zeros(len(order), dtype=bool)
    new[:1] = True
    for value in values:
        new[1:] |= value[order][1:] != value[order][:-1]
    return order[new]
