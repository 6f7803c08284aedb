"""What is in the batches: windows, padding, times, seeds, mixtures and budgets."""

from collections import Counter
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from recot.batch import VideoBatch
from recot.data.shards import ShardFolder
from recot.randomness import derive_seed
from tests.data.clips import FPS, epoch_of, fingerprint, groups_of, ready


def by_sample(batch: VideoBatch) -> list[tuple[str, torch.Tensor, torch.Tensor, torch.Tensor]]:
    """(key, frames or features, valid, times) of each sample."""
    values = batch.features if batch.frames is None else batch.frames
    assert values is not None
    parts = [batch.sample == s for s in range(len(batch.keys))]
    return [(key, values[p], batch.valid[p], batch.times_s[p]) for key, p in zip(batch.keys, parts, strict=True)]


def shown_frames(payload: bytes, tmp_path: Path) -> np.ndarray:
    """All frames of a clip by plain sequential decoding, (F, H, W, 3) uint8."""
    path = tmp_path / "clip.mp4"
    path.write_bytes(payload)
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def test_batches_hold_the_frames_that_their_times_name(clips: Path, val_clips: Path, tmp_path: Path) -> None:
    """Independent reference: frame number = time x frame rate, found by decoding the whole clip in order."""
    module = ready(clips, val_clips, frame_size=(32, 32), num_workers=2)
    folder = ShardFolder(clips)
    seen = 0
    for batch in epoch_of(module):
        assert batch.frames is not None
        assert batch.features is None
        assert batch.frames.dtype == torch.uint8
        assert batch.frames.shape[1:] == (4, 32, 32, 3)
        assert batch.times_s.dtype == torch.float64
        for key, frames, valid, times in by_sample(batch):
            index = folder.find(key)
            assert index is not None
            every = shown_frames(folder.payload(index), tmp_path)
            numbers = (times * FPS).round().long().flatten()
            error = np.abs(every[numbers].astype(int) - frames.flatten(0, 1).numpy().astype(int))
            assert error.mean() < 3, "the two readers convert colours a little differently"
            steps = torch.diff(numbers[valid.flatten()])
            assert bool((steps == 2).all()), "5 sampled frames a second of 10"
            tail = ~valid.flatten()
            assert bool((times.flatten()[tail] == times.max()).all()), "repeats of the last frame"
            seen += 1
    assert seen == len(folder)


@pytest.mark.parametrize("length", [9, 45])
def test_padding_marks_the_repeated_frames(clips: Path, val_clips: Path, length: int) -> None:
    module = ready(clips, val_clips, groups_per_sample=99)
    planned = -(-length // 2)
    folder = ShardFolder(clips)
    key = folder.key(folder.columns["frames"].tolist().index(length))
    (sample,) = [s for batch in epoch_of(module) for s in by_sample(batch) if s[0] == key]
    _, frames, valid, _ = sample
    assert frames.shape[0] == -(-planned // 4)
    assert valid.flatten().tolist() == [True] * planned + [False] * (-planned % 4)
    assert bool((frames.flatten(0, 1)[planned:] == frames.flatten(0, 1)[planned - 1]).all())


def test_training_windows_move_and_validation_windows_do_not(clips: Path, val_clips: Path) -> None:
    module = ready(clips, val_clips, batch_size=1)
    loader = module.train_dataloader()
    starts: dict[str, set[float]] = {}
    for _ in range(20):
        for batch in loader:
            assert batch.cursor is not None
            starts.setdefault(batch.keys[0], set()).add(float(batch.times_s[0, 0]))
            module.cursor = batch.cursor
    folder = ShardFolder(clips)
    for i, frames in enumerate(folder.columns["frames"].tolist()):
        groups = groups_of(frames)
        possible = {k * 4 / 5 for k in range(max(1, groups - 1))}
        seen = {round(start, 6) for start in starts[folder.key(i)]}
        assert seen <= {round(start, 6) for start in possible}
        assert len(seen) >= min(3, len(possible))

    first, second = (list(module.val_dataloader()) for _ in range(2))
    assert [fingerprint(batch) for batch in first] == [fingerprint(batch) for batch in second]
    val = ShardFolder(val_clips)
    for i, sample in enumerate(s for batch in first for s in by_sample(batch)):
        groups = groups_of(int(val.columns["frames"][i]))
        assert sample[0] == val.key(i)
        assert float(sample[3][0, 0]) == pytest.approx((groups - 2) // 2 * 4 / 5)
        assert sample[1].shape[0] == 2


def test_seeds_are_functions_of_seed_pass_and_key(clips: Path, val_clips: Path) -> None:
    module = ready(clips, val_clips, seed=11)
    for batch in islice(module._order.walk(0, 0, 0, 1), 8):
        draws, _ = batch
        read = module._reader[draws]
        assert isinstance(read, VideoBatch)
        assert read.seeds == [derive_seed(11, draw.lap, key) for draw, key in zip(draws, read.keys, strict=True)]
    assert draws[0].lap == 1


def test_workers_and_main_process_read_the_same(clips: Path, val_clips: Path) -> None:
    lines = []
    for num_workers in (0, 2):
        module = ready(clips, val_clips, num_workers=num_workers)
        lines.append([fingerprint(batch) for batch in epoch_of(module)])
        lines[-1] += [fingerprint(batch) for batch in module.val_dataloader()]
    assert lines[0] == lines[1]


def test_token_budget_and_count_bound_every_batch(clips: Path, val_clips: Path) -> None:
    module = ready(clips, val_clips, batch_size=4, token_budget=160, tokens_per_frame=6)
    batches = epoch_of(module)
    assert sorted(key for batch in batches for key in batch.keys) == sorted(ShardFolder(clips).columns["key"])
    tokens = [batch.valid.numel() * 6 for batch in batches]
    assert max(tokens) <= 160
    assert max(len(batch.keys) for batch in batches) <= 4
    assert len({len(batch.keys) for batch in batches}) > 1, "the budget, not the count, closes some"


def test_mixture_follows_the_weights(clips: Path, val_clips: Path) -> None:
    module = ready([clips, val_clips], val_clips, train_weights=[1.0, 3.0], batch_size=5)
    batches = epoch_of(module)
    small = set(ShardFolder(val_clips).columns["key"])
    counts = Counter(key in small for batch in batches for key in batch.keys)
    assert counts == {True: 11, False: 4}
    assert all(3 <= sum(key in small for key in batch.keys) <= 4 for batch in batches), "mixed within each batch"
    pairs = [pair for batch in batches for pair in zip(batch.keys, batch.seeds, strict=True)]
    assert len(set(pairs)) == len(pairs), "a video drawn again gets another window and seed"


def test_example_batch_is_the_head_of_validation_as_frames(clips: Path, val_clips: Path) -> None:
    module = ready(clips, val_clips)
    example = module.example_batch(4)
    head = [sample for batch in module.val_dataloader() for sample in by_sample(batch)][:4]
    assert example.keys == [sample[0] for sample in head]
    for mine, other in zip(by_sample(example), head, strict=True):
        assert torch.equal(mine[1], other[1])
