"""Samples that can't be read are replaced and named; folders and settings that can't be are errors."""

import json
import re
import shutil
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recot.data.schema import content_key
from recot.data.shard_index import sample_columns
from recot.data.shard_writer import ShardWriter
from recot.data.shards import ShardFolder
from recot.errors import ConfigError, DataError
from recot.video_io import FrameSampling
from tests.data.clips import FPS, Diary, data, epoch_of, groups_of, ready, trainer


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
