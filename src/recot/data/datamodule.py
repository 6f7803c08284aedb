"""VideoDataModule: shard folders as resumable, ragged batches for Lightning.

State is (epoch, position): the next planned batch, counted over all ranks. Each training batch carries the cursor that
holds after it, and the module takes it over once that batch has been trained, so a checkpoint never counts what the
workers have merely read ahead. Together with an order that is a pure function of (seed, epoch), a resumed run sees bit
for bit the batches of an unbroken one, with any number of workers, and in the same order with any number of ranks.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info

from recot.batch import Cursor, VideoBatch
from recot.data import settings
from recot.data.cached_features import common_encoder, saving
from recot.data.dataset import VideoDataset, check_long_enough
from recot.data.failures import FailureLog
from recot.data.loader import TrainLoader, ValLoader, Workers, explain, watch_workers
from recot.data.order import SourceFacts, TrainOrder, plan_once, shares
from recot.data.questions import Questions
from recot.data.reader import REPLACEMENTS, BatchReader
from recot.data.resume import check_same_order, data_hash
from recot.data.shards import ShardFolder
from recot.errors import ConfigError, DataError
from recot.video_io import FrameSampling, VideoLimits


class VideoDataModule(L.LightningDataModule):
    """Batches of video windows, or of whole videos with questions, from shard folders.

    A training draw is a window of consecutive groups of a video's sampled frames, at a place drawn anew at each pass;
    a validation draw is always the middle of the video. With ``questions``, both are the whole video: training draws
    questions anew at each pass, validation asks all of them, and videos without any are left out.
    An epoch has as many draws as the training folders have samples. Its batches are planned from the index: each takes
    samples in order until one more would exceed ``batch_size`` or ``token_budget``. Under a budget, epochs may differ
    by a few batches; Lightning's epoch is then as long as the first one, and what is left over opens the next.
    ``Trainer(limit_train_batches=...)`` likewise shortens Lightning's epochs without skipping data.

    Args:
        train: shard folders to train on.
        train_weights: share of each training folder in an epoch, on any scale; None draws every sample once an epoch.
        val: shard folders to validate on, every sample once.
        sampling: which frames of a video are used.
        frame_size: (H, W) in pixels that frames are resized to.
        groups_per_sample: groups of 4 frames of a training window; a shorter video is used whole, as is any if this is
            None.
        val_groups_per_sample: the same for validation.
        batch_size: most samples of a batch.
        token_budget: most encoder tokens of a batch (groups x 4 x ``tokens_per_frame``), or None.
        tokens_per_frame: encoder tokens of one frame.
        shuffle_window: samples are shuffled within windows of this many consecutive ones, shards as wholes.
        seed: of the order, the windows and ``VideoBatch.seeds``.
        num_workers: reading processes; 0 reads in the main process.
        features: ``live`` decodes frames; ``cached`` reads encoder features from ``<folder>/features``.
        questions: which are asked about the videos; None for none.
        prepare: makes the folders if they are not there (called once a node); None if they must be there.
        timeout_s: wall-clock seconds that reading one video may take.

    Attributes:
        cursor: where training stands.
        feature_encoder: fingerprint of the encoder whose features are read; None if frames are.

    Raises:
        ConfigError: for impossible values, here or in ``setup``.
        DataError: in ``setup``, if the folders can't be used.
    """

    def __init__(
        self,
        *,
        train: Sequence[str],
        train_weights: Sequence[float] | None,
        val: Sequence[str],
        sampling: FrameSampling,
        frame_size: tuple[int, int],
        groups_per_sample: int | None,
        val_groups_per_sample: int | None,
        batch_size: int,
        token_budget: int | None,
        tokens_per_frame: int,
        shuffle_window: int,
        seed: int,
        num_workers: int,
        features: str,
        questions: Questions | None,
        prepare: Callable[[], None] | None,
        timeout_s: float,
    ) -> None:
        super().__init__()
        self.train_paths = settings.folder_list("train", train)
        self.val_paths = settings.folder_list("val", val)
        self.train_weights = settings.positive_weights(train_weights, len(self.train_paths))
        self.sampling = settings.groupable(sampling)
        self.questions, asked = questions, questions is not None
        self.groups_per_sample = settings.window("groups_per_sample", groups_per_sample, asked=asked)
        self.val_groups_per_sample = settings.window("val_groups_per_sample", val_groups_per_sample, asked=asked)
        self.batch_size = settings.at_least(1, "batch_size", batch_size)
        self.token_budget = None if token_budget is None else settings.at_least(1, "token_budget", token_budget)
        self.tokens_per_frame = settings.at_least(1, "tokens_per_frame", tokens_per_frame)
        self.shuffle_window = settings.at_least(1, "shuffle_window", shuffle_window)
        self.seed = seed
        self.num_workers = settings.at_least(0, "num_workers", num_workers)
        self.prepare = prepare
        self.frame_size = settings.height_and_width(frame_size)
        self.features = settings.one_of("features", features, ("live", "cached"))
        self.timeout_s = settings.positive("timeout_s", timeout_s)
        self.cursor = Cursor(0, 0)
        self.feature_encoder: str | None = None
        self._loaders: dict[str, TrainLoader | ValLoader] = {}

    def prepare_data(self) -> None:
        """Make the embedded data, if the config says how."""
        if self.prepare is not None:
            self.prepare()

    def setup(self, stage: str) -> None:
        """Open the folders, check everything that can be known before training, plan the order."""
        watch_workers()
        sources, val_sources = self._open(self.train_paths), self._open(self.val_paths)
        self._reader = self._make_reader(sources, self.groups_per_sample, fixed=False)
        self._val_reader = self._make_reader(val_sources, self.val_groups_per_sample, fixed=True)
        for name, reader in (("groups_per_sample", self._reader), ("val_groups_per_sample", self._val_reader)):
            key = "sampling.max_frames" if reader.groups_per_sample is None else name
            settings.check_budget(self.token_budget, reader.largest, self.tokens_per_frame, key)
        quotas = shares([len(source) for source in sources], self.train_weights)
        self._order = TrainOrder(
            [
                SourceFacts(source.folder.columns["shard"], costs, quota)
                for source, costs, quota in zip(sources, self._reader.costs, quotas, strict=True)
            ],
            seed=self.seed,
            batch_size=self.batch_size,
            token_budget=self.token_budget,
            shuffle_window=self.shuffle_window,
        )
        self._val_plan = plan_once(self._val_reader.costs, self.batch_size, self.token_budget)
        self.feature_encoder = common_encoder([source.features for source in (*sources, *val_sources)])
        frames = self._order.mean_cost() / self.tokens_per_frame
        rank_zero_info(f"data.features={self.features}: {saving(sources[0].features, round(frames))}")
        self._settings = self._order_settings()
        if self.trainer is not None:
            self._attach(self.trainer)

    def train_dataloader(self) -> TrainLoader:
        """This rank's training batches, from the cursor on."""
        self.close("train")
        rank, world_size = self._place()
        loader = self._loaders["train"] = TrainLoader(
            self._reader, self._order, lambda: self.cursor, rank=rank, world_size=world_size, workers=self._workers()
        )
        return loader

    def val_dataloader(self) -> ValLoader:
        """This rank's validation batches, the same each time."""
        self.close("val")
        rank, world_size = self._place()
        loader = self._loaders["val"] = ValLoader(
            self._val_reader, self._val_plan, rank=rank, world_size=world_size, workers=self._workers()
        )
        return loader

    def close(self, *splits: str) -> None:
        """End the workers that read ``train``, ``val``, or both."""
        for split in splits:
            if split in self._loaders:
                self._loaders[split].close()

    def example_batch(self, n: int) -> VideoBatch:
        """The first ``n`` validation samples as decoded frames, also where training reads cached features.

        Raises:
            DataError: if they can't be read.
        """
        sources = [self._videos(source.folder, cached=False) for source in self._val_reader.sources]
        reader = self._make_reader(sources, self.val_groups_per_sample, fixed=True)
        batch = reader[[draw for planned in self._val_plan for draw in planned][:n]]
        if isinstance(batch, DataError):
            raise batch
        return batch

    def state_dict(self) -> dict[str, Any]:
        """Where training stands, and what that position depends on."""
        return {**asdict(self.cursor), "order": self._settings}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where the checkpoint stands; only training has a position, so only training is strict about it.

        Raises:
            ConfigError: if the batches would be others.
        """
        if self.trainer is not None and self.trainer.state.fn != TrainerFn.FITTING:
            return
        check_same_order(state_dict["order"], self._settings)
        self.cursor = Cursor(state_dict["epoch"], state_dict["position"])

    def transfer_batch_to_device(self, batch: VideoBatch, device: torch.device, dataloader_idx: int) -> VideoBatch:
        """Copies from page-locked memory overlap with computing."""
        return batch.to(device, non_blocking=device.type == "cuda")

    def on_exception(self, exception: BaseException) -> None:
        """A dead worker interrupts whatever the main process is doing; say what it was reading."""
        text = explain([loader.reader for loader in self._loaders.values()], exception)
        if text is not None and exception.__cause__ is None:
            exception.__cause__ = DataError(text)
        self.close("train", "val")

    def teardown(self, stage: str) -> None:
        """End all workers."""
        self.close("train", "val")

    def _open(self, paths: list[str]) -> list[VideoDataset]:
        sources = []
        for folder in map(ShardFolder, paths):
            kept = folder if self.questions is None else self.questions.videos(folder)
            if len(kept) < len(folder):
                rank_zero_info(f"{folder.path}: only {len(kept)} of {len(folder)} videos have questions to ask.")
            sources.append(self._videos(kept, cached=self.features == "cached"))
            if self.questions is None:
                check_long_enough(sources[-1])
        return sources

    def _videos(self, folder: ShardFolder, *, cached: bool) -> VideoDataset:
        limits = VideoLimits(timeout_s=self.timeout_s)
        return VideoDataset(folder, sampling=self.sampling, frame_size=self.frame_size, limits=limits, cached=cached)

    def _make_reader(self, sources: list[VideoDataset], groups: int | None, *, fixed: bool) -> BatchReader:
        return BatchReader(
            sources,
            seed=self.seed,
            groups_per_sample=groups,
            fixed=fixed,
            tokens_per_frame=self.tokens_per_frame,
            num_workers=self.num_workers,
            questions=self.questions,
        )

    def _attach(self, trainer: L.Trainer) -> None:
        _, world_size = self._place()
        if trainer.overfit_batches:  # type: ignore[attr-defined]
            raise ConfigError("trainer.overfit_batches must be 0: to overfit, train on a folder of few videos.")
        settings.check_enough(self._order.batch_count(0), len(self._val_plan), world_size)
        if trainer.state.fn == TrainerFn.FITTING and trainer.global_step == 0:
            self.cursor = Cursor(0, 0)
        # First, so that a checkpoint written at the same batch finds the cursor moved.
        follow = _Follow(self, FailureLog(Path(trainer.default_root_dir) / "failures.jsonl"))
        callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
        callbacks[:] = [follow, *(callback for callback in callbacks if not isinstance(callback, _Follow))]

    def _place(self) -> tuple[int, int]:
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)

    def _workers(self) -> Workers:
        on_gpu = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        # Every sample may take its time, and one of them as many stand-ins as there may be.
        hang_s = self.timeout_s * (self.batch_size + REPLACEMENTS)
        return Workers(self.num_workers, hang_s, pin_memory=on_gpu)

    def _order_settings(self) -> dict[str, Any]:
        """By config key, everything that the training batches depend on; not how or by how many they are read."""
        names = ("train_weights", "groups_per_sample", "batch_size", "token_budget", "shuffle_window", "seed")
        values = {name: getattr(self, name) for name in names} | {
            "sampling": asdict(self.sampling),
            "frame_size": list(self.frame_size),
            "questions": None if self.questions is None else asdict(self.questions),
            "tokens_per_frame": None if self.token_budget is None else self.tokens_per_frame,
            "train (hash of its index)": data_hash([source.folder for source in self._reader.sources]),
        }
        return {f"data.{name}": value for name, value in values.items()}


class _Follow(L.Callback):
    """Moves the cursor when a batch has been trained, and notes samples that couldn't be read."""

    def __init__(self, data: VideoDataModule, failures: FailureLog) -> None:
        self._data = data
        self._failures = failures

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: VideoBatch, batch_idx: int
    ) -> None:
        assert batch.cursor is not None
        self._data.cursor = batch.cursor
        self._failures.record(batch.failures, split="train", step=trainer.global_step)

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: VideoBatch, *place: int
    ) -> None:
        self._failures.record(batch.failures, split="val", step=trainer.global_step)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._data.close("val")

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._failures.warn_summary()
