"""Shard folders: of small real videos, rendered once a session, and of a few bytes."""

from pathlib import Path

import pytest

from tests.data.asking import qa_of, rewrite
from tests.data.clips import write_clips
from tests.data.small_shards import PAYLOADS, write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """``PAYLOADS`` in 3 shards."""
    return write(tmp_path / "shards", PAYLOADS, samples_per_shard=3)


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """10 videos of 0.9 to 6 s in 3 shards; at 5 frames a second 5 to 30 sampled frames."""
    folder = tmp_path_factory.mktemp("clips") / "train"
    return write_clips(folder, [9, 12, 17, 20, 24, 31, 40, 45, 52, 60])


@pytest.fixture(scope="session")
def val_clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """5 other videos."""
    return write_clips(tmp_path_factory.mktemp("clips") / "val", [12, 25, 30, 33, 41], first_seed=100)


@pytest.fixture(scope="session")
def asked_clips(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``clips``, with questions of the tasks ``t0`` .. ``t<i % 4>`` about video i."""
    return rewrite(clips, tmp_path_factory.mktemp("asked") / "train", lambda i: qa_of(i, i % 4 + 1))
