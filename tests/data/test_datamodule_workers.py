"""Workers that are killed or hang: the error names the sample they were reading."""

import gc
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch.utils.data._utils import signal_handling

from recot.batch import VideoBatch
from recot.data.datamodule import VideoDataModule
from recot.errors import DataError
from recot.video_io import FrameSampling
from tests.data.clips import Diary, data, trainer, write_clips


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One clip of 200 frames: all of them at 384 x 384 take long enough to catch a worker in the middle."""
    return write_clips(tmp_path_factory.mktemp("long") / "shards", [200])


def slow_to_read(folder: Path, **changes: float) -> VideoDataModule:
    return data(
        folder,
        folder,
        sampling=FrameSampling(stride=1),
        frame_size=(384, 384),
        groups_per_sample=50,
        batch_size=1,
        num_workers=1,
        **changes,
    )


def freeze_reader(module: VideoDataModule) -> int:
    """Stop a worker in the middle of a sample; its process id."""
    busy = module._reader.busy
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        pid, source, _ = busy[0].tolist()
        if source >= 0:
            os.kill(pid, signal.SIGSTOP)
            if busy[0, 1] >= 0:
                return int(pid)
            os.kill(pid, signal.SIGCONT)
    raise AssertionError("no worker was seen reading")


def in_background(action: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=action)
    thread.start()
    return thread


def read_on(module: VideoDataModule) -> None:
    """Ask for more and more batches."""
    for _ in range(20):
        next(iter(module.train_dataloader()))


def test_a_worker_killed_while_its_batch_is_awaited(long_clip: Path) -> None:
    module = slow_to_read(long_clip)
    module.setup("fit")
    killer = in_background(lambda: os.kill(freeze_reader(module), signal.SIGKILL))
    with pytest.raises(DataError, match=r"killed by signal: Killed|exited unexpectedly") as caught:
        read_on(module)
    killer.join()
    folder = module._reader.sources[0].folder
    assert f"It was reading sample {folder.key(0)} of {long_clip / 'shard-000000.tar'}" in str(caught.value)
    assert "ran out of memory" in str(caught.value)


@pytest.fixture
def as_in_a_new_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing has been read by workers so far, so that torch has not asked to be told of their end."""
    monkeypatch.setattr(signal_handling, "_SIGCHLD_handler_set", False)
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGCHLD, before)


@pytest.mark.usefixtures("as_in_a_new_process")
@pytest.mark.parametrize("runs_before", [0, 1])
def test_a_worker_killed_while_the_model_computes(runs_before: int, long_clip: Path, tmp_path: Path) -> None:
    """The signal interrupts the training step, of a later run, too; the cause of what is raised there explains it."""
    for _ in range(runs_before):
        trainer(tmp_path, max_steps=1).fit(Diary(), datamodule=slow_to_read(long_clip))
    module = slow_to_read(long_clip)

    class Killer(Diary):
        def training_step(self, batch: VideoBatch, batch_idx: int) -> torch.Tensor:
            os.kill(freeze_reader(module), signal.SIGKILL)
            time.sleep(10)
            raise AssertionError("nobody noticed")

    with pytest.raises(RuntimeError, match="killed by signal") as caught:
        trainer(tmp_path, max_steps=3).fit(Killer(), datamodule=module)
    assert isinstance(caught.value.__cause__, DataError)
    assert module._reader.sources[0].folder.key(0) in str(caught.value.__cause__)


def test_a_hanging_worker_is_an_error(long_clip: Path) -> None:
    module = slow_to_read(long_clip, timeout_s=0.5)
    module.setup("fit")

    def freeze_for_a_while() -> None:
        pid = freeze_reader(module)
        time.sleep(5)
        os.kill(pid, signal.SIGCONT)

    freezer = in_background(freeze_for_a_while)
    with pytest.raises(DataError, match="a decoder hangs") as caught:
        read_on(module)
    freezer.join()
    assert module._reader.sources[0].folder.key(0) in str(caught.value)
    assert "data.timeout_s" in str(caught.value)


def test_a_worker_that_dies_between_samples_is_reported_too(long_clip: Path) -> None:
    module = slow_to_read(long_clip)
    module.setup("fit")
    loader = iter(module.train_dataloader())
    next(loader)
    busy = module._reader.busy[0]
    while busy[1] >= 0:  # both batches that a worker reads ahead are done
        time.sleep(0.05)

    def kill_and_read_on() -> None:
        os.kill(int(busy[0]), signal.SIGKILL)
        time.sleep(10)

    with pytest.raises(RuntimeError, match="killed by signal") as caught:
        kill_and_read_on()
    module.on_exception(caught.value)
    assert "It was reading nothing at that moment" in str(caught.value.__cause__)


def test_workers_of_a_split_end_with_its_turn(clips: Path, val_clips: Path, tmp_path: Path) -> None:
    """Lightning keeps iterators that it has done with, and workers that nobody ends keep their memory."""

    class Census(Diary):
        seen: ClassVar[list[tuple[str, int]]] = []

        def training_step(self, batch: VideoBatch, batch_idx: int) -> torch.Tensor:
            self.seen.append(("train", len(multiprocessing.active_children())))
            return super().training_step(batch, batch_idx)

        def validation_step(self, batch: VideoBatch, batch_idx: int) -> None:
            self.seen.append(("val", len(multiprocessing.active_children())))

    gc.collect()  # loaders that other tests left behind
    options = {"num_sanity_val_steps": 1, "max_epochs": 2, "limit_train_batches": 2, "limit_val_batches": 1}
    trainer(tmp_path, **options).fit(Census(), datamodule=data(clips, val_clips, num_workers=1))
    epoch = [("train", 1), ("train", 1), ("val", 2)]
    assert Census.seen == [("val", 1), *epoch, *epoch]
    assert not multiprocessing.active_children()
