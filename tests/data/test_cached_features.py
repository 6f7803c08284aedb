"""Cached features against live frames: the same batches, up to the stored precision, reading only what is needed."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from einops import rearrange, reduce
from safetensors.torch import save
from torch import Tensor

from data_pipelines.features import write_features
from recot.batch import VideoBatch
from recot.data.dataset import VideoDataset
from recot.data.schema import content_key
from recot.data.shard_index import sample_columns
from recot.data.shard_writer import ShardWriter
from recot.data.shards import ShardFolder
from recot.errors import DataError
from recot.video_io import FrameSampling, VideoLimits
from tests.data.clips import data

SAMPLING = FrameSampling(fps=5.0)
SIZE = (16, 24)


def encode(frames: np.ndarray) -> Tensor:
    """Means of 8 x 8 patches, (n, H, W, 3) uint8 -> (n, 2, 3, 3): a stand-in for an encoder, exact to compare."""
    return reduce(torch.from_numpy(frames).float(), "n (h a) (w b) c -> n h w c", "mean", a=8, b=8)


def cache(folder: Path, encoder: str = "patch means", dtype: str = "float32", **changes: Any) -> Path:
    settings: dict[str, Any] = {"sampling": SAMPLING, "frame_size": SIZE} | changes
    return write_features(
        VideoDataset(ShardFolder(folder), limits=VideoLimits(), **settings), encode, encoder=encoder, dtype=dtype
    )


@pytest.fixture
def folder(clips: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(clips, tmp_path / "train"))


def batches(folder: Path, features: str, **changes: Any) -> list[VideoBatch]:
    module = data(folder, folder, features=features, **changes)
    module.setup("fit")
    try:
        return [*module.train_dataloader(), *module.val_dataloader()]
    finally:
        module.teardown("fit")


@pytest.mark.parametrize(("dtype", "stored"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_cached_and_live_batches_are_the_same(folder: Path, dtype: str, stored: torch.dtype) -> None:
    cache(folder, dtype=dtype)
    live, cached = batches(folder, "live"), batches(folder, "cached", num_workers=2)
    assert len(live) == len(cached) == 8
    for one, other in zip(live, cached, strict=True):
        assert (one.keys, one.seeds, one.cursor) == (other.keys, other.seeds, other.cursor)
        for name in ("valid", "times_s", "sample"):
            assert torch.equal(getattr(one, name), getattr(other, name))
        assert other.frames is None
        assert one.frames is not None
        assert other.features is not None
        expected = encode(rearrange(one.frames, "g t h w c -> (g t) h w c").numpy()).to(stored)
        assert torch.equal(other.features, rearrange(expected, "(g t) h w c -> g t h w c", t=4))


def test_both_modes_share_a_checkpoint_and_name_their_encoder(folder: Path) -> None:
    cache(folder)
    modules = [data(folder, folder, features=features) for features in ("live", "cached")]
    for module in modules:
        module.setup("fit")
    assert modules[0].state_dict() == modules[1].state_dict()
    assert [module.feature_encoder for module in modules] == [None, "patch means"]
    example = modules[1].example_batch(2)
    assert example.features is None
    assert example.frames is not None


def test_only_the_window_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = cache(folder)
    read: list[int] = []
    plain = ShardFolder.payload_slice

    def counted(self: ShardFolder, i: int, start: int, length: int) -> bytes:
        read.append(length)
        return plain(self, i, start, length)

    monkeypatch.setattr(ShardFolder, "payload_slice", counted)
    monkeypatch.setattr(ShardFolder, "payload", None)
    videos = VideoDataset(ShardFolder(folder), sampling=SAMPLING, frame_size=SIZE, limits=VideoLimits(), cached=True)
    longest = int(videos.counts.argmax())
    assert videos.features is not None
    values, times = videos.features.read(longest, int(videos.counts[longest]), 9, 13)
    assert values.shape == (4, 2, 3, 3)
    assert times.tolist() == pytest.approx([9 / 5, 10 / 5, 11 / 5, 12 / 5])
    header = 8 + read[1]
    assert sum(read) == header + 4 * (2 * 3 * 3 * 4) + 4 * 8
    assert sum(read) < ShardFolder(path).columns["size"][longest]


def test_features_of_other_settings_are_refused_with_both_named(folder: Path) -> None:
    cache(folder, sampling=FrameSampling(fps=2.0))
    with pytest.raises(DataError, match=r"'fps': 2\.0.*data\.sampling is .*'fps': 5\.0.*cache_features\.py"):
        batches(folder, "cached")
    shutil.rmtree(folder / "features")
    cache(folder, frame_size=(32, 24))
    with pytest.raises(DataError, match=r"frame_size \[32, 24\].*data\.frame_size is \[16, 24\]"):
        batches(folder, "cached")


def test_no_features_names_the_command(folder: Path) -> None:
    with pytest.raises(DataError, match=r"features: there are no cached features.*cache_features\.py.*features=live"):
        batches(folder, "cached")


def test_features_of_several_encoders_are_refused(folder: Path, val_clips: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(val_clips, tmp_path / "val"))
    cache(folder)
    cache(other, encoder="another one")
    with pytest.raises(DataError, match=r"different encoders or precisions.*patch means.*another one"):
        data(folder, other, features="cached").setup("fit")


def test_features_of_fewer_videos_are_refused(folder: Path, val_clips: Path) -> None:
    shutil.move(str(cache(Path(shutil.copytree(val_clips, folder.parent / "v")))), folder / "features")
    with pytest.raises(DataError, match="10 of 10 videos have no cached features"):
        batches(folder, "cached")


def test_a_video_left_out_of_the_cache_is_replaced_as_in_live_mode(clips: Path, tmp_path: Path) -> None:
    good, broken = ShardFolder(clips), b"this is not an mp4" * 50
    folder = tmp_path / "mixed"
    with ShardWriter(folder, config_hash="x") as writer:
        for i in range(6):
            payload = broken if i == 3 else good.payload(i)
            writer.add(content_key(payload), good.sample(i).to_json(), payload, "mp4", sample_columns(good.sample(i)))
    cache(folder)
    live, cached = batches(folder, "live"), batches(folder, "cached")
    assert [batch.keys for batch in live] == [batch.keys for batch in cached]
    for both in (live, cached):
        failed = [failure for batch in both for failure in batch.failures]
        assert {key for key, _ in failed} == {content_key(broken)}
        assert all("unreadable_container" in reason for _, reason in failed)


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"\xff" * 100, "not a safetensors file"),
        (b"\x04" + b"\0" * 7 + b"[12]", "not a safetensors file"),
        (save({"features": torch.zeros(5, 2, 3, 3), "times_s": torch.zeros(5)}), "float64 tensor `times_s` of 5"),
        (save({"features": torch.zeros(4, 2, 3, 3)}), "tensor `features` of 5 frames"),
        (save({"features": torch.zeros(5, 2, 3, 3).to(torch.int8)}), "not a safetensors file of float32"),
        (save({"features": torch.zeros(5, 9), "times_s": torch.zeros(5).double()}), "4 axes"),
    ],
)
def test_damaged_features_name_the_shard(clips: Path, tmp_path: Path, payload: bytes, message: str) -> None:
    folder = tmp_path / "one"
    source = ShardFolder(clips)
    with ShardWriter(folder, config_hash="x") as writer:
        sample = source.sample(0)
        writer.add(source.key(0), sample.to_json(), source.payload(0), "mp4", sample_columns(sample))
    meta = {"sampling": {"fps": 5.0, "count": None, "stride": None, "max_frames": None}, "frame_size": [16, 24]}
    meta |= {"encoder": "e", "dtype": "float32", "encode_cpu_s": 1.0, "frames": 5}
    with ShardWriter(folder / "features", config_hash="x", kind="features", meta=meta) as writer:
        writer.add(source.key(0), sample.to_json(), payload, "features.safetensors", sample_columns(sample))
    with pytest.raises(DataError, match=message) as caught:
        batches(folder, "cached")
    assert str(folder / "features" / "shard-000000.tar") in str(caught.value)


def test_features_that_do_not_say_what_they_are_of(folder: Path) -> None:
    source = ShardFolder(folder)
    with ShardWriter(folder / "features", config_hash="x", kind="features") as writer:
        sample = source.sample(0)
        writer.add(source.key(0), sample.to_json(), b"x", "features.safetensors", sample_columns(sample))
    with pytest.raises(DataError, match="does not say sampling, frame_size, encoder"):
        batches(folder, "cached")
