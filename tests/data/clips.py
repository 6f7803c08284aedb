"""Small real videos in shards, and a model that writes down every batch it is given."""

import hashlib
from itertools import islice
from pathlib import Path
from typing import Any

import lightning as L
import torch

from recot.batch import VideoBatch
from recot.data.datamodule import VideoDataModule
from recot.data.schema import content_key
from recot.data.shard_index import sample_columns
from recot.data.shard_writer import ShardWriter
from recot.tiny_world.dataset import make_sample
from recot.tiny_world.render import render
from recot.tiny_world.scene import make_scene
from recot.tiny_world.video import encode_mp4
from recot.video_io import FrameSampling

FPS = 10.0
SIZE = 32


def write_clips(folder: Path, frames: list[int], *, first_seed: int = 0, samples_per_shard: int = 4) -> Path:
    """A shard folder of one rendered video for each length."""
    with ShardWriter(folder, config_hash="test", samples_per_shard=samples_per_shard) as writer:
        for number, length in enumerate(frames):
            scene = make_scene(first_seed + number, frames=length, size=SIZE, fps=FPS)
            payload = encode_mp4(render(scene), size=scene.size, fps=scene.fps)
            sample = make_sample(scene)
            writer.add(content_key(payload), sample.to_json(), payload, "mp4", sample_columns(sample))
    return folder


def groups_of(frames: int) -> int:
    """Groups of 4 of a clip's frames at 5 a second of its 10, by counting them out."""
    sampled = len(range(0, frames, 2))
    return len(range(0, sampled, 4))


def data(train: Path | list[Path], val: Path, /, **changes: Any) -> VideoDataModule:
    """A VideoDataModule with values that suit the clips."""
    settings: dict[str, Any] = {
        "train": [str(path) for path in (train if isinstance(train, list) else [train])],
        "train_weights": None,
        "val": [str(val)],
        "sampling": FrameSampling(fps=5.0),
        "frame_size": (16, 24),
        "groups_per_sample": 2,
        "val_groups_per_sample": 2,
        "batch_size": 3,
        "token_budget": None,
        "tokens_per_frame": 6,
        "shuffle_window": 6,
        "seed": 5,
        "num_workers": 0,
        "features": "live",
        "questions": None,
        "prepare": None,
        "timeout_s": 60.0,
    }
    return VideoDataModule(**(settings | changes))


def ready(*args: Any, **changes: Any) -> VideoDataModule:
    """``data``, set up to train."""
    module = data(*args, **changes)
    module.setup("fit")
    return module


def epoch_of(module: VideoDataModule, batches: int | None = None) -> list[VideoBatch]:
    """What is trained on, up to so many batches; the module is torn down."""
    try:
        return list(islice(module.train_dataloader(), batches))
    finally:
        module.teardown("fit")


def fingerprint(batch: VideoBatch) -> str:
    """One line that differs if anything in a batch does, cursor included."""
    digest = hashlib.sha256()
    for tensor in (batch.frames, batch.features, batch.valid, batch.times_s, batch.sample):
        if tensor is not None:
            digest.update(str((tensor.dtype, tuple(tensor.shape))).encode())
            digest.update(tensor.contiguous().view(torch.uint8).numpy().tobytes())
    names = ",".join(key[:6] for key in batch.keys)
    digest.update(str(batch.chats).encode())
    return f"{names} {batch.seeds} {batch.cursor} {digest.hexdigest()[:16]}"


class Diary(L.LightningModule):
    """Trains one weight, and notes what it is shown."""

    def __init__(self, *, estimate_steps: bool = False) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.estimate_steps = estimate_steps
        self.train_lines: list[str] = []
        self.val_lines: list[str] = []

    def training_step(self, batch: VideoBatch, batch_idx: int) -> torch.Tensor:
        self.train_lines.append(fingerprint(batch))
        return (self.weight - 1) ** 2

    def validation_step(self, batch: VideoBatch, batch_idx: int) -> None:
        self.val_lines.append(fingerprint(batch))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        if self.estimate_steps:  # makes Lightning create loaders and iterators before it restores its loops
            assert self.trainer.estimated_stepping_batches > 0
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer(root: Path, **changes: Any) -> L.Trainer:
    """A quiet Trainer on the CPU."""
    settings: dict[str, Any] = {
        "default_root_dir": root,
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": "callbacks" in changes,
        "num_sanity_val_steps": 0,
    }
    return L.Trainer(**(settings | changes))
