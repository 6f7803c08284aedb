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
"""Seconds: frames that are looked for together. Where the hashes of a video are farther apart than that, its steps."""
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
        moments: ``(n, 3)`` int64: indices of frames that aren't flat, ascending by video, and of those one and two
            seconds (or steps, if they are longer) later; where the video is over, the last one, and in videos of 10
            hashes or more none. Videos whose hashes are sparse have moments of twice the length too, since what is
            trimmed off another one may have made its hashes sparser. Of equal hashes in a video, the first.
        videos: ``(n,)`` int64: the videos that these are from.
    """

    of_frame: np.ndarray
    novelty: np.ndarray
    count: np.ndarray
    moments: np.ndarray
    videos: np.ndarray


def find_looks(sequences: Sequences, radius: int) -> Looks:
    """The first frame is a look, and then the one that differs most from all looks, until none by over ``radius`` bits.

    A frame has the look that it is nearest to, so that every part of a video has some.
    """
    of_frame = np.full(sequences.mirrored_from, -1, dtype=np.int8)
    novelty = np.zeros((len(sequences), MOST_LOOKS), np.float32)
    count = np.zeros(len(sequences), np.int64)
    moments, videos = [np.zeros((0, len(MOMENT)), int)], [np.zeros(0, int)]
    for block in sequences.blocks():
        frames, owner = ragged(sequences.starts[block], sequences.lengths[block])
        shown = sequences.values[frames] != FLAT
        frames, owner = frames[shown], block[owner[shown]]
        found, found_in = _moments(sequences, frames, owner)
        moments.append(found)
        videos.append(found_in)
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
    return Looks(of_frame, novelty, count, np.concatenate(moments), np.concatenate(videos))


def _moments(sequences: Sequences, frames: np.ndarray, videos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``(n, 3)`` and ``(n,)`` int64: different moments that begin with these frames, and their videos."""
    unit = np.maximum(2 // sequences.steps[videos], 1)
    sparse = sequences.steps[videos] > 1
    moments = np.concatenate(
        [frames[:, None] + MOMENT * unit[:, None], frames[sparse, None] + MOMENT * 2 * unit[sparse, None]]
    )
    videos = np.concatenate([videos, videos[sparse]])
    last = (sequences.starts + sequences.lengths)[videos] - 1
    kept = (moments[:, -1] <= last) | (sequences.lengths[videos] < _FEW)
    moments, videos = np.minimum(moments[kept], last[kept, None]), videos[kept]
    once = _first_of_each(videos, *sequences.values[moments].T)
    return moments[once], videos[once]


def _first_of_each(*values: np.ndarray) -> np.ndarray:
    """Indices, ascending, of the first of equal tuples."""
    order = np.lexsort(values[::-1])
    new = np.zeros(len(order), dtype=bool)
    new[:1] = True
    for value in values:
        new[1:] |= value[order][1:] != value[order][:-1]
    return np.sort(order[new])
