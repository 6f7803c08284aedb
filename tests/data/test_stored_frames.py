"""Shards of stored frames: the same batches as from the videos, and clear words where they can't be."""

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipelines.frames_media import FramesSetting, sample_frames
from recot.batch import VideoBatch
from recot.data.dataset import VideoDataset
from recot.data.frame_choice import chosen_frames
from recot.data.frames_payload import FramesPayload
from recot.data.schema import FRAMES_EXTENSION
from recot.data.shard_index import SAMPLE_COLUMNS
from recot.data.shard_writer import ShardWriter
from recot.data.shards import ShardFolder
from recot.errors import ConfigError, DataError
from recot.video_io import FrameSampling, VideoLimits
from tests.data.clips import data

STORED = FramesSetting(fps=5.0, frame_size=(32, 32), limits=VideoLimits(), max_bytes=2**20)


def store(videos: Path, target: Path, setting: FramesSetting = STORED, keep: Callable[[int], bool] = bool) -> Path:
    """The shard folder ``videos`` with frames in place of the videos; where ``keep`` is False, with videos."""
    folder = ShardFolder(videos)
    target.parent.mkdir(parents=True, exist_ok=True)
    file = target.parent / "video.mp4"
    with ShardWriter(target, config_hash="test", samples_per_shard=4) as writer:
        for i in range(len(folder)):
            file.write_bytes(folder.payload(i))
            row = {name: folder.columns[name][i].item() for name in SAMPLE_COLUMNS}
            stored = keep(i + 1)
            payload = sample_frames(file, setting) if stored else folder.payload(i)
            extension = FRAMES_EXTENSION if stored else folder.extension(i)
            writer.add(folder.key(i), folder.sample(i).to_json(), payload, extension, row)
    return target


@pytest.fixture(scope="session")
def stored(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return store(clips, tmp_path_factory.mktemp("stored") / "train")


@pytest.fixture(scope="session")
def stored_val(val_clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return store(val_clips, tmp_path_factory.mktemp("stored") / "val")


def dataset(path: Path, sampling: FrameSampling, size: tuple[int, int] = (32, 32)) -> VideoDataset:
    return VideoDataset(ShardFolder(path), sampling=sampling, frame_size=size, limits=VideoLimits())


def batches(train: Path, val: Path, sampling: FrameSampling, size: tuple[int, int], workers: int) -> list[VideoBatch]:
    module = data(train, val, sampling=sampling, frame_size=size, num_workers=workers)
    module.setup("fit")
    try:
        return [*module.train_dataloader(), *module.val_dataloader()]
    finally:
        module.teardown("fit")


@pytest.mark.parametrize(
    ("sampling", "size", "workers"),
    [
        (FrameSampling(fps=5.0), (32, 32), 1),
        (FrameSampling(fps=2.5), (32, 32), 0),
        (FrameSampling(fps=5.0, max_frames=9), (32, 32), 0),
        (FrameSampling(fps=5.0), (16, 24), 0),
    ],
)
def test_batches_are_those_of_the_videos(
    clips: Path,
    val_clips: Path,
    stored: Path,
    stored_val: Path,
    sampling: FrameSampling,
    size: tuple[int, int],
    workers: int,
) -> None:
    ours = batches(stored, stored_val, sampling, size, workers)
    theirs = batches(clips, val_clips, sampling, size, 0)
    assert len(ours) == len(theirs)
    for mine, other in zip(ours, theirs, strict=True):
        assert (mine.keys, mine.seeds, mine.cursor, mine.failures) == (other.keys, other.seeds, other.cursor, ())
        assert torch.equal(mine.valid, other.valid)
        assert torch.equal(mine.sample, other.sample)
        assert mine.frames is not None
        assert other.frames is not None
        assert mine.frames.shape == other.frames.shape
        if sampling.max_frames is None:  # thinned out, a frame may come from up to 1/5 s earlier
            assert torch.equal(mine.times_s, other.times_s)
            error = (mine.frames.float() - other.frames.float()).abs().mean(dim=(2, 3, 4))
            assert float(error.max()) < 8, "of 255, JPEG's, the colours of 32 pixels at half their resolution"
        assert float((mine.times_s - other.times_s).abs().max()) < 1 / 5


def test_damaged_frames_are_replaced_by_the_nearest(clips: Path, tmp_path: Path) -> None:
    """Both roads choose the same ones, although a stored one may then be later than the moment it stands for."""
    folder = ShardFolder(clips)
    file = tmp_path / "video.mp4"
    file.write_bytes(folder.payload(5))
    content = sample_frames(file, STORED, missing_frames=[4, 6, 7])
    times = FramesPayload(io.BytesIO(content)).times_s
    assert np.round(times * 10).astype(int).tolist() == [0, 2, 3, 5, *range(8, 31, 2)]
    expected = [0, 3, 8, 12, 16, 20, 24, 28]  # 2.5 a second: of frames 0, 4, 8, ... the nearest that decodes
    numbers = chosen_frames(FrameSampling(fps=2.5), np.arange(31) / 10, 3.1, [4, 6, 7])
    assert numbers.tolist() == expected

    sample = folder.sample(5)
    row = {name: folder.columns[name][5].item() for name in SAMPLE_COLUMNS}
    with ShardWriter(tmp_path / "stored", config_hash="test") as writer:
        writer.add(folder.key(5), sample.to_json(), content, FRAMES_EXTENSION, row)
    _, chosen = dataset(tmp_path / "stored", FrameSampling(fps=2.5)).all_frames(0)
    assert np.round(chosen * 10).astype(int).tolist() == expected


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_the_nearest_frame_that_decodes(draw: st.DataObject) -> None:
    total = draw.draw(st.integers(1, 30))
    missing = sorted(draw.draw(st.sets(st.integers(0, total - 1), max_size=total)))
    stride = draw.draw(st.integers(1, 7))
    found = chosen_frames(FrameSampling(stride=stride), np.arange(total) / 10, total / 10, missing).tolist()
    good = [number for number in range(total) if number not in missing] or list(range(total))
    assert found == [min(good, key=lambda g: (abs(g - number), g)) for number in range(0, total, stride)]


@pytest.mark.parametrize(
    ("sampling", "size", "message"),
    [
        (FrameSampling(fps=5.5), (32, 32), r"data\.sampling\.fps is 5\.5, but .*holds 5 frames a second"),
        (FrameSampling(fps=5.0), (33, 32), r"data\.frame_size is \[33, 32\], but .*\[32, 32\]"),
        (FrameSampling(fps=5.0), (32, 64), r"data\.frame_size is \[32, 64\]"),
        (FrameSampling(stride=2), (32, 32), r"data\.sampling\.stride"),
        (FrameSampling(count=9), (32, 32), r"data\.sampling\.count asks for 9 frames .*so 5 of "),
    ],
)
def test_more_than_is_stored_is_refused(
    stored: Path, stored_val: Path, sampling: FrameSampling, size: tuple[int, int], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        data(stored, stored_val, sampling=sampling, frame_size=size).setup("fit")
    assert str(stored) in str(caught.value)


def test_a_count_that_every_video_has(stored: Path) -> None:
    videos = dataset(stored, FrameSampling(count=5))
    for i in range(len(videos)):
        _, times_s = videos.all_frames(i)
        n = -(-int(videos.folder.columns["frames"][i]) // 2)
        assert np.allclose(times_s, np.linspace(0, n - 1, 5, dtype=int) / 5)


def test_videos_and_frames_do_not_mix(clips: Path, tmp_path: Path) -> None:
    path = store(clips, tmp_path / "mixed", keep=lambda number: number % 2 == 0)
    with pytest.raises(DataError, match=r"holds .*\.mp4 and .*\.frames\.npz: training reads a folder either"):
        dataset(path, FrameSampling(fps=5.0))


def test_frames_of_another_rate_are_damage(clips: Path, tmp_path: Path) -> None:
    folder, file = ShardFolder(clips), tmp_path / "video.mp4"
    with ShardWriter(tmp_path / "both", config_hash="test") as writer:
        for i, fps in ((0, 5.0), (1, 4.0)):
            file.write_bytes(folder.payload(i))
            content = sample_frames(file, FramesSetting(fps, (32, 32), VideoLimits(), 2**20))
            row = {name: folder.columns[name][i].item() for name in SAMPLE_COLUMNS}
            writer.add(folder.key(i), folder.sample(i).to_json(), content, FRAMES_EXTENSION, row)
    videos = dataset(tmp_path / "both", FrameSampling(fps=5.0))
    videos.all_frames(0)
    with pytest.raises(DataError, match=r"it holds 5 frames of \(32, 32\) pixels at 4 a second"):
        videos.all_frames(1)


def test_damage_is_named_and_replaced(stored: Path, stored_val: Path, tmp_path: Path) -> None:
    """Bytes flipped in the last JPEG of one video, and in the tables of another, the first one."""
    shutil.copytree(stored, tmp_path / "spoilt")
    folder = ShardFolder(tmp_path / "spoilt")
    for i, place in ((0, 200), (3, int(folder.columns["size"][3]) - 1200)):
        path = folder.path / str(folder.columns["shard"][i])
        content = bytearray(path.read_bytes())
        content[int(folder.columns["offset"][i]) + place] ^= 0xFF
        path.chmod(0o644)
        path.write_bytes(content)
    for i, what in ((0, "bad CRC-32 of times_s.npy"), (3, "the bytes of frame 9 are not those")):
        with pytest.raises(DataError, match=f"{folder.key(i)}.frames.npz: .*{what}"):
            dataset(folder.path, FrameSampling(fps=5.0)).all_frames(i)
    found = batches(folder.path, stored_val, FrameSampling(fps=5.0), (32, 32), 0)
    failed = {key for batch in found for key, _ in batch.failures}
    assert folder.key(0) in failed
    assert failed <= {folder.key(0), folder.key(3)}


def test_shards_without_their_index_read_the_same(stored: Path, tmp_path: Path) -> None:
    shutil.copytree(stored, tmp_path / "bare", ignore=shutil.ignore_patterns("*.json", "*.parquet"))
    ours, theirs = (dataset(path, FrameSampling(fps=5.0)) for path in (tmp_path / "bare", stored))
    assert ours.groups.tolist() == theirs.groups.tolist()
    assert np.array_equal(ours.all_frames(2)[0], theirs.all_frames(2)[0])
