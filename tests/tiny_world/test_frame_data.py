"""TinyFrames: batches as pure functions of seed and step, and what is in them."""

import numpy as np
import pytest
import torch

from recot.errors import ConfigError
from recot.models.tokenizer import train_bpe
from recot.randomness import keyed_rng
from recot.tiny_world.frame_data import MAX_NOISE, FrameTextBatch, TinyFrames, compression_artefacts, sample_texts
from recot.tiny_world.scene import make_scene

TOKENIZER = train_bpe(sample_texts(scenes=20, frames=24, seed=0), vocab_size=400, max_length=64, append_eos=True)


def frames_data(**changes: int) -> TinyFrames:
    settings = {
        "batch_size": 8,
        "pairs_per_frame": 1,
        "frames_per_scene": 2,
        "scene_frames": 24,
        "size": 64,
        "grid": 8,
        "candidates": 4,
        "val_groups": 3,
        "seed": 0,
        "num_workers": 0,
    }
    return TinyFrames(tokenizer=TOKENIZER, **(settings | changes))


def equal(a: FrameTextBatch, b: FrameTextBatch) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_a_batch() -> None:
    batch = frames_data().train_batch(3)
    assert (batch.frames.shape, batch.frames.dtype) == ((8, 64, 64, 3), torch.uint8)
    assert (batch.ids.shape, batch.ids.dtype) == ((24, 64), torch.int64)  # a caption and a pair of mentions a frame
    assert (batch.ids[:, -1] == TOKENIZER.pad_token_id).all()
    assert (batch.positive.shape, batch.positive.dtype) == ((8, 24), torch.bool)
    assert batch.positive.diagonal().all()
    assert batch.positive[range(8), range(8, 24, 2)].all()
    assert not batch.positive[range(8), range(9, 24, 2)].all()
    assert not batch.positive.all()
    assert (batch.phrases.shape, batch.shown.shape, batch.shown.dtype) == ((45, 64), (8, 8, 8), torch.int64)


def test_batches_depend_on_seed_split_step_and_rank_alone() -> None:
    data = frames_data()
    first = data.train_batch(0)
    assert equal(first, frames_data().train_batch(0))
    others = (data.train_batch(1), data.train_batch(0, rank=1), frames_data(seed=1).train_batch(0))
    assert not any(equal(first, other) for other in others)
    assert not torch.equal(data.val_batch(0).frames, data.val_batch(1).frames)
    # More validation doesn't change what it starts with, nor does anything about training.
    more = frames_data(val_groups=9, batch_size=16, frames_per_scene=1)
    assert equal(data.val_batch(1), more.val_batch(1))


def test_the_splits_share_no_scene(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def noting(seed: int, **rest: int):  # type: ignore[no-untyped-def]
        seen.append(seed)
        return make_scene(seed, **rest)

    monkeypatch.setattr("recot.tiny_world.frame_data.make_scene", noting)
    data = frames_data(candidates=8)
    for step in range(8):
        data.train_batch(step)
    train, held_out = set(seen), []
    assert len(train) == 8 * 4
    seen.clear()
    for group in range(3):
        data.val_batch(group)
    held_out = set(seen)
    assert len(held_out) == 3 * 8
    assert not train & held_out


@pytest.mark.parametrize("workers", [0, 2])
def test_loaders_give_the_batches_in_order(workers: int) -> None:
    data = frames_data(num_workers=workers)
    for step, batch in zip(range(3), data.train_dataloader(), strict=False):
        assert equal(batch, data.train_batch(step))
    groups = list(data.val_dataloader())
    assert len(groups) == 3
    assert all(equal(batch, data.val_batch(i)) for i, batch in enumerate(groups))


def test_hash_of_the_data() -> None:
    assert frames_data().data_hash() == frames_data(num_workers=2).data_hash()
    assert len({frames_data(**c).data_hash() for c in ({}, {"seed": 1}, {"val_groups": 4}, {"scene_frames": 32})}) == 4


def test_artefacts() -> None:
    frames = np.stack([np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)] * 400)
    worn = compression_artefacts(frames, keyed_rng("artefacts"))
    assert worn.dtype == np.uint8
    assert worn.shape == frames.shape
    changed = (worn != frames).any(axis=(1, 2, 3))
    assert 150 < changed.sum() < 250
    grey = np.full((400, 16, 16, 3), 128, np.uint8)
    noise = compression_artefacts(grey, keyed_rng("artefacts")).astype(float) - 128
    assert noise[changed].std(axis=(1, 2, 3)).max() < MAX_NOISE + 1, "grey has no colour to lose"
    # One red pixel of four: its colour is spread over the four, their brightness stays.
    red = np.zeros((400, 2, 2, 3), np.uint8)
    red[:, 0, 0] = (200, 0, 0)
    spread = compression_artefacts(red, keyed_rng("artefacts"))[:, 1, 1].astype(float)
    assert spread[:, 0].max() > 30
    assert spread[:, 1:].max() < 20


def test_texts_for_a_tokenizer_are_the_world_s() -> None:
    texts = sample_texts(scenes=5, frames=24, seed=0)
    assert texts == sample_texts(scenes=5, frames=24, seed=0) != sample_texts(scenes=5, frames=24, seed=1)
    assert "Describe the video." in texts
    assert any("in front of a" in text for text in texts)


def test_impossible_numbers() -> None:
    with pytest.raises(ConfigError, match=r"data\.frames_per_scene=3.*data\.batch_size=8"):
        frames_data(frames_per_scene=3)
    for name in ("val_groups", "grid"):
        with pytest.raises(ConfigError, match=rf"data\.{name} is 0"):
            frames_data(**{name: 0})
