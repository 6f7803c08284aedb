"""Clips with questions of their own, and modules that ask them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from recot.batch import Chat, VideoBatch
from recot.data.datamodule import VideoDataModule
from recot.data.questions import Questions
from recot.data.schema import QA
from recot.data.shard_index import sample_columns
from recot.data.shard_writer import ShardWriter
from recot.data.shards import ShardFolder
from tests.data.clips import data

EVIDENCE = {"whole": [[0.0, 9.0]], "part": [[0.4, 0.8]], "unknown": []}


def qa_of(video: int, tasks: int) -> list[QA]:
    """A question with each kind of evidence of each of the tasks ``t0``, ``t1``, ..."""
    return [
        QA(f"{video}-{task}-{spec}", f"What of {task}?", "b", f"t{task}", options=["a", "b"], evidence=spans)
        for task in range(tasks)
        for spec, spans in EVIDENCE.items()
    ]


def rewrite(source: Path, target: Path, qa: Callable[[int], list[QA]]) -> Path:
    """The same videos with other questions."""
    folder = ShardFolder(source)
    with ShardWriter(target, config_hash="test", samples_per_shard=4) as writer:
        for i in range(len(folder)):
            sample = replace(folder.sample(i), qa=qa(i))
            writer.add(folder.key(i), sample.to_json(), folder.payload(i), "mp4", sample_columns(sample))
    return target


def asking(
    train: Path | list[Path], val: Path, /, per_video: int = 2, tasks: list[str] | None = None, **changes: Any
) -> VideoDataModule:
    """A module of whole videos with questions, set up."""
    questions = Questions(per_video=per_video, tasks=tasks)
    whole = {"groups_per_sample": None, "val_groups_per_sample": None, "questions": questions}
    module = data(train, val, **(whole | changes))
    module.setup("fit")
    return module


def read(module: VideoDataModule, passes: int = 1) -> list[VideoBatch]:
    """The training batches of some epochs."""
    loader, batches = module.train_dataloader(), []
    for _ in range(passes):
        for batch in loader:
            batches.append(batch)
            assert batch.cursor is not None
            module.cursor = batch.cursor
    module.teardown("fit")
    return batches


def chats_of(batches: list[VideoBatch]) -> list[tuple[str, list[Chat]]]:
    """(key, its chats) of each draw."""
    assert all(batch.chats is not None and len(batch.chats) == len(batch.keys) for batch in batches)
    return [pair for batch in batches for pair in zip(batch.keys, batch.chats or [], strict=True)]
