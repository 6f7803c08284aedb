"""What is in the batches: windows, padding, times, seeds, mixtures, budgets, substitutes, and errors."""

import json
import re
import shutil
import warnings
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from recot.batch import VideoBatch
from recot.data.datamodule import VideoDataModule
from recot.data.schema import content_key
from recot.data.shard_index import sample_columns
from recot.data.shard_writer import ShardWriter
from recot.data.shards import ShardFolder
from recot.errors import ConfigError, DataError
from recot.randomness import derive_seed
from recot.video_io import FrameSampling
from tests.data.clips import FPS, Diary, data, fingerprint, groups_of, trainer


def ready(*args: Any, **changes: Any) -> VideoDataModule:
    module = data(*args, **changes)
    module.setup("fit")
    return module


def epoch_of(module: VideoDataModule, batches: int | None = None) -> list[VideoBatch]:
    try:
        return list(islice(module.train_dataloader(), batches))
    finally:
        module.teardown("fit")


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


# --- samples that can't be read


def spoil(clips: Path, target: Path, spoilt: list[int]) -> ShardFolder:
    """The clips with bytes flipped inside the payloads of some of them, sizes unchanged."""
    shutil.copytree(clips, target)
    folder = ShardFolder(target)
    for i in spoilt:
        path = target / str(folder.columns["shard"][i])
        content = bytearray(path.read_bytes())
        content[int(folder.columns["offset"][i]) + 40] ^= 0xFF
        path.chmod(0o644)
        path.write_bytes(content)
    return folder


def test_unreadable_samples_are_replaced_and_named(clips: Path, val_clips: Path, tmp_path: Path) -> None:
    folder = spoil(clips, tmp_path / "spoilt", [2, 5])
    model = Diary()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer(tmp_path, max_epochs=2).fit(model, datamodule=data(tmp_path / "spoilt", val_clips, batch_size=1))
    clean = Diary()
    trainer(tmp_path / "clean", max_epochs=2).fit(clean, datamodule=data(clips, val_clips, batch_size=1))
    short = {folder.key(i)[:6]: i for i in range(len(folder))}
    # Index 2 (3 groups or 2 used) is replaced by the next video that costs no more, as is 5.
    groups = [min(2, groups_of(frames)) for frames in folder.columns["frames"].tolist()]
    stands_in = {i: next(j for j in range(i + 1, 10) if groups[j] <= groups[i]) for i in (2, 5)}
    for mine, other in zip(model.train_lines, clean.train_lines, strict=True):
        drawn = short[other[:6]]
        assert short[mine[:6]] == stands_in.get(drawn, drawn)
    notes = [json.loads(line) for line in (tmp_path / "failures.jsonl").read_text().splitlines()]
    assert Counter(note["key"] for note in notes) == {folder.key(2): 2, folder.key(5): 2}
    assert all("CRC-32" in note["reason"] and note["split"] == "train" for note in notes)
    texts = [str(warning.message) for warning in caught]
    assert sum("stands in" in text for text in texts) == 2, "once a sample"
    assert sum("2 samples could not be read (4 draws)" in text for text in texts) == 1
    assert not (tmp_path / "clean" / "failures.jsonl").exists()


def test_unreadable_validation_samples_are_noted_too(clips: Path, tmp_path: Path) -> None:
    folder = spoil(clips, tmp_path / "spoilt", [4])
    model = Diary()
    with pytest.warns(UserWarning, match="stands in") as caught:
        trainer(tmp_path).validate(model, datamodule=data(clips, tmp_path / "spoilt"))
    assert len(model.val_lines) == 4
    (note,) = [json.loads(line) for line in (tmp_path / "failures.jsonl").read_text().splitlines()]
    assert (note["key"], note["split"]) == (folder.key(4), "val")
    assert any("1 samples could not be read (1 draws)" in str(warning.message) for warning in caught)


def test_a_video_that_is_no_video_is_named_with_shard_and_reason(clips: Path, val_clips: Path, tmp_path: Path) -> None:
    good, broken = ShardFolder(clips), b"this is not an mp4" * 50
    with ShardWriter(tmp_path / "mixed", config_hash="x") as writer:
        for i in (9, 3):
            sample = good.sample(i)
            payload = broken if i == 9 else good.payload(i)
            writer.add(content_key(payload), sample.to_json(), payload, "mp4", sample_columns(sample))
    module = ready(tmp_path / "mixed", val_clips, batch_size=2, num_workers=1)
    (batch,) = epoch_of(module)
    assert set(batch.keys) == {good.key(3)}
    ((key, reason),) = batch.failures
    assert key == content_key(broken)
    assert "shard-000000.tar" in reason
    assert "[unreadable_container]" in reason


def test_frames_known_to_be_damaged_are_not_asked_for(clips: Path, val_clips: Path, tmp_path: Path) -> None:
    """The sampling takes frames 0, 2, 4, ...; of two equally near ones the earlier stands for a damaged one."""
    missing = [0, 1, 12, 13, 14, 15, 16, 59]
    source = ShardFolder(clips)
    sample = source.sample(9)
    damaged = replace(sample, media=replace(sample.media, missing_frames=missing))
    with ShardWriter(tmp_path / "one", config_hash="x") as writer:
        writer.add(source.key(9), damaged.to_json(), source.payload(9), "mp4", sample_columns(damaged))
    module = ready(tmp_path / "one", val_clips, groups_per_sample=99)
    (batch,) = epoch_of(module)
    numbers = (batch.times_s * FPS).round().long()[batch.valid].tolist()
    assert numbers == [2, 2, 4, 6, 8, 10, 11, 11, 17, *range(18, 60, 2)]


def test_many_unreadable_samples_are_an_error_that_names_them(clips: Path, val_clips: Path, tmp_path: Path) -> None:
    folder = spoil(clips, tmp_path / "spoilt", list(range(10)))
    for num_workers in (0, 1):
        module = ready(tmp_path / "spoilt", val_clips, num_workers=num_workers, groups_per_sample=1)
        with pytest.raises(DataError, match="8 samples in a row can't be read") as caught:
            epoch_of(module)
        assert sum(folder.key(i) in str(caught.value) for i in range(10)) == 8
        assert "Traceback" not in str(caught.value)


# --- errors


def test_missing_folder_names_the_command(clips: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere: there is no such folder.*data_pipelines/prune\.py"):
        ready(tmp_path / "nowhere", clips)
    with pytest.raises(DataError, match="nowhere"):
        ready(clips, tmp_path / "nowhere")


def test_prepare_makes_missing_folders_once(clips: Path, val_clips: Path, tmp_path: Path) -> None:
    calls: list[int] = []

    def prepare() -> None:
        calls.append(1)
        shutil.copytree(clips, tmp_path / "made", dirs_exist_ok=True)

    model = Diary()
    module = data(tmp_path / "made", val_clips, prepare=prepare)
    trainer(tmp_path, max_steps=1).fit(model, datamodule=module)
    assert len(model.train_lines) == len(calls) == 1


def write_still(folder: Path, clips: Path, frames: int) -> Path:
    """A shard folder whose index says that each video has ``frames`` frames."""
    source = ShardFolder(clips)
    with ShardWriter(folder, config_hash="x") as writer:
        for i in range(3):
            columns = sample_columns(source.sample(i)) | {"frames": frames, "duration_s": frames / FPS}
            writer.add(source.key(i), source.sample(i).to_json(), source.payload(i), "mp4", columns)
    return folder


@pytest.mark.parametrize("sampling", [FrameSampling(fps=5.0), FrameSampling(count=8), FrameSampling(stride=1)])
def test_images_and_very_short_videos_cannot_be_trained_on(
    clips: Path, tmp_path: Path, sampling: FrameSampling
) -> None:
    """Also where the sampling rule repeats a single frame until there are enough."""
    for frames in (1, 3):
        folder = write_still(tmp_path / f"{frames}", clips, frames)
        with pytest.raises(DataError, match=r"needs at least 4 of a video.*can't teach it time") as caught:
            ready(folder, clips, sampling=sampling)
        assert str(folder) in str(caught.value)


def test_an_index_that_promises_too_much_fails_the_sample(clips: Path, val_clips: Path, tmp_path: Path) -> None:
    module = ready(write_still(tmp_path / "long", clips, 50), val_clips)
    with pytest.raises(DataError, match=r"has \d+ frames, the index of .*long says 50"):
        epoch_of(module)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": "frozen"}, "data.features must be live or cached, got 'frozen'"),
        ({"batch_size": 0}, "data.batch_size must be a whole number from 1 up, got 0"),
        ({"batch_size": 2.5}, "data.batch_size must be a whole number"),
        ({"num_workers": -1}, "data.num_workers must be a whole number from 0 up"),
        ({"groups_per_sample": 0}, "data.groups_per_sample"),
        ({"val_groups_per_sample": 0}, "data.val_groups_per_sample"),
        ({"shuffle_window": 0}, "data.shuffle_window"),
        ({"tokens_per_frame": 0}, "data.tokens_per_frame"),
        ({"token_budget": 0}, "data.token_budget"),
        ({"timeout_s": 0.0}, "data.timeout_s must be a positive"),
        ({"frame_size": (0, 16)}, "data.frame_size must be"),
        ({"frame_size": (16,)}, "data.frame_size must be"),
        ({"train": []}, "data.train must be a list"),
        ({"val": "/data/shards"}, "data.val must be a list"),
        ({"train_weights": [0.0]}, "data.train_weights must be null or a positive number for each of the 1 folders"),
        ({"train_weights": [-1.0]}, "data.train_weights"),
        ({"train_weights": [float("nan")]}, "data.train_weights"),
        ({"train_weights": [1.0, 1.0]}, "data.train_weights"),
        ({"sampling": FrameSampling(count=3)}, "data.sampling.count is 3, but 4 frames make a group"),
        ({"sampling": FrameSampling(fps=1.0, max_frames=2)}, "data.sampling.max_frames is 2"),
    ],
)
def test_impossible_values_are_refused_by_key(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        data(Path("a"), Path("b"), **change)


@pytest.mark.parametrize("key", ["groups_per_sample", "val_groups_per_sample"])
def test_a_sample_over_the_budget_names_the_keys(clips: Path, val_clips: Path, key: str) -> None:
    with pytest.raises(ConfigError, match=rf"data\.token_budget is 60 .* has 72 .12 frames .*data\.{key}"):
        ready(clips, val_clips, token_budget=60, **{key: 3})


def test_more_processes_than_batches_is_refused(clips: Path, val_clips: Path, tmp_path: Path) -> None:
    module = data(clips, val_clips, batch_size=20)
    module.trainer = trainer(tmp_path)
    module._place = lambda: (0, 2)  # type: ignore[method-assign]
    with pytest.raises(ConfigError, match="1 training and 1 validation batches for 2 processes"):
        module.setup("fit")


def test_overfit_batches_is_refused(clips: Path, val_clips: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="overfit_batches"):
        trainer(tmp_path, overfit_batches=2).fit(Diary(), datamodule=data(clips, val_clips))


def test_features_are_no_videos(clips: Path, val_clips: Path, tmp_path: Path) -> None:
    source = ShardFolder(clips)
    with ShardWriter(tmp_path / "f", config_hash="x", kind="features") as writer:
        writer.add(
            source.key(0), source.sample(0).to_json(), b"x", "features.safetensors", sample_columns(source.sample(0))
        )
    with pytest.raises(DataError, match=r"holds features; data\.train and data.val take folders of videos"):
        ready(tmp_path / "f", val_clips)
