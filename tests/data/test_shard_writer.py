"""What the writer of shards leaves when it fails, and what it refuses."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from recot.data.schema import VideoSample, content_key
from recot.data.shard_index import sample_columns
from recot.data.shard_writer import ShardWriter
from recot.data.shards import ShardFolder
from recot.errors import DataError
from tests.data.small_shards import PAYLOADS, sample_of, tree, write


def test_nothing_is_left_when_the_block_fails(tmp_path: Path) -> None:
    def fail(sample: VideoSample) -> None:
        with ShardWriter(tmp_path / "s", config_hash="") as writer:
            writer.add("0" * 32, sample.to_json(), b"abc", "mp4", sample_columns(sample))
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        fail(sample_of("x"))
    assert list(tmp_path.iterdir()) == []


def test_a_killed_writer_leaves_nothing_half_and_the_next_one_succeeds(tmp_path: Path) -> None:
    script = (
        "import os, sys; sys.path.insert(0, sys.argv[2])\n"
        "from recot.data.shard_index import sample_columns\n"
        "from recot.data.shard_writer import ShardWriter\n"
        "from tests.data.small_shards import sample_of\n"
        "with ShardWriter(sys.argv[1], config_hash='') as w:\n"
        "    s = sample_of('x'); w.add('0' * 32, s.to_json(), b'abc', 'mp4', sample_columns(s))\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    repo = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", script, tmp_path / "s", repo], check=False)
    assert done.returncode == -9
    assert not (tmp_path / "s").exists()
    shards = ShardFolder(write(tmp_path / "s", PAYLOADS))
    assert len(shards) == 7
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


def test_an_existing_folder_is_not_overwritten(folder: Path) -> None:
    before = tree(folder)
    with pytest.raises(DataError, match="already exists"):
        write(folder, PAYLOADS[:1])
    assert tree(folder) == before


def test_two_writers_of_one_folder(tmp_path: Path) -> None:
    with (
        pytest.raises(DataError, match="Another process is writing"),
        ShardWriter(tmp_path / "s", config_hash=""),
    ):
        write(tmp_path / "s", PAYLOADS)


def test_no_sample_is_no_shard_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no sample was added"), ShardWriter(tmp_path / "s", config_hash=""):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("key", "extension", "message"),
    [
        ("0" * 32, "pickle", "unpickle"),
        ("0" * 32, "pth", "unpickle"),
        ("0" * 32, "exe", "holds mp4"),
        ("0" * 32, "features.safetensors", "holds mp4"),
        ("0" * 31 + ".", "mp4", "32 lower-case hex"),
        ("../../../../../../../etc/passwdxx", "mp4", "32 lower-case hex"),
        (content_key(b"there"), "mp4", "added twice"),
    ],
)
def test_writer_refuses(tmp_path: Path, key: str, extension: str, message: str) -> None:
    sample = sample_of("x")
    row = sample_columns(sample)
    with ShardWriter(tmp_path / "s", config_hash="") as writer:
        writer.add(content_key(b"there"), sample.to_json(), b"there", "mp4", row)
        with pytest.raises(DataError, match=message):
            writer.add(key, sample.to_json(), b"x", extension, row)
    assert len(ShardFolder(tmp_path / "s")) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"qa": [{"sample_id": "1", "question": "", "answer": "half a pair \ud800"}]}, "can't be written"),
        ({"qa": [{"sample_id": "1", "question": "", "answer": 3}]}, "answer is 3"),
        ({"qa": [{"sample_id": "1", "question": "", "answer": "", "t_end": float("nan")}]}, "t_end is nan"),
        ({"qa": [{"sample_id": "1", "question": "", "answer": "", "options": ["a", None]}]}, "options is"),
        ({"licence": None}, "licence is None"),
        ({"surprise": 1}, "surprise"),
        ({"schema_version": 2}, "schema version 2"),
    ],
)
def test_writer_refuses_json_that_readers_would_refuse(tmp_path: Path, change: dict[str, object], message: str) -> None:
    data = {**sample_of("x").to_json(), **change}
    with pytest.raises(DataError, match=message), ShardWriter(tmp_path / "s", config_hash="") as writer:
        writer.add("0" * 32, data, b"x", "mp4", sample_columns(sample_of("x")))


@pytest.mark.parametrize(
    ("field", "value"),
    [("frames", 0), ("frames", 2**70), ("frames", True), ("frames", "9"), ("duration_s", -1.0), ("fps", None)],
)
def test_impossible_media_facts_are_refused(field: str, value: object) -> None:
    data = sample_of("x").to_json()
    data["media"][field] = value
    with pytest.raises(DataError, match="here: the JSON does not have the fields"):
        VideoSample.from_json(data, "here")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_not_writable(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(DataError, match="you may write to"):
            write(tmp_path / "s", PAYLOADS)
    finally:
        tmp_path.chmod(0o755)


def test_a_file_in_the_way_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="can't be made"):
        write(tmp_path / "file" / "s", PAYLOADS)
