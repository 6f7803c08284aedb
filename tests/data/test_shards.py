"""Shard folders against `tar`, plain webdataset, and the bytes that were put in."""

import hashlib
import json
import multiprocessing
import os
import pickle
import subprocess
import sys
import tempfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recot.data.schema import QA, Media, VideoSample, content_key
from recot.data.shard_index import sample_columns
from recot.data.shard_writer import ShardWriter
from recot.data.shards import ShardFolder
from recot.errors import DataError


def sample_of(name: str, frames: int = 30, qa: int = 1) -> VideoSample:
    media = Media("mp4", "h264", 64, 48, 10.0, False, frames / 10, frames, 0)
    turns = [QA(f"{name}#{i}", f"what moves in {name}?", "a grey square") for i in range(qa)]
    return VideoSample(name, "made", f"/clips/{name}.mp4", "CC0-1.0", media, turns)


def write(folder: Path, payloads: list[bytes], extension: str = "mp4", **options: object) -> Path:
    with ShardWriter(folder, config_hash="c0ffee", **options) as writer:  # type: ignore[arg-type]
        for i, payload in enumerate(payloads):
            sample = sample_of(f"video {i}", frames=10 + i, qa=i % 3)
            writer.add(content_key(payload), sample.to_json(), payload, extension, sample_columns(sample))
    return folder


PAYLOADS = [bytes([i]) * (1 + 700 * i) for i in range(7)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "shards", PAYLOADS, samples_per_shard=3)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_reads_back_what_was_written(folder: Path) -> None:
    shards = ShardFolder(folder)
    assert (len(shards), shards.kind, shards.config_hash) == (7, "videos", "c0ffee")
    for i, payload in enumerate(PAYLOADS):
        assert shards.key(i) == content_key(payload)
        assert shards.find(shards.key(i)) == i
        assert shards.payload(i) == payload
        assert shards.extension(i) == "mp4"
        assert shards.sample(i) == sample_of(f"video {i}", frames=10 + i, qa=i % 3)
    assert shards.find("0" * 32) is None
    assert shards.columns["frames"].tolist() == list(range(10, 17))
    assert shards.columns["n_qa"].tolist() == [0, 1, 2, 0, 1, 2, 0]
    # 1 to 1.6 s at 1 fps: 1 or 2 frames, always one group; 5 + 3 words a question
    assert shards.columns["visual_tokens"].tolist() == [144] * 7
    assert shards.columns["text_tokens"].tolist() == [0, 8, 16, 0, 8, 16, 0]
    shards.verify()


def test_visual_tokens_count_groups_of_four_frames() -> None:
    counts = [sample_columns(sample_of("x", frames=10 * s))["visual_tokens"] for s in (1, 4, 5, 8, 9)]
    assert counts == [144, 144, 288, 288, 432]
    assert sample_columns(sample_of("x", frames=40), fps=2.0, tokens_per_group=9)["visual_tokens"] == 18


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.binary(min_size=0, max_size=3000), min_size=1, max_size=12, unique=True),
    st.integers(1, 5),
    st.integers(1, 6000),
)
def test_any_payloads_survive_any_cut(payloads: list[bytes], per_shard: int, size: int) -> None:
    with tempfile.TemporaryDirectory() as tmp:
        first = write(Path(tmp) / "a", payloads, samples_per_shard=per_shard, bytes_per_shard=size)
        second = write(Path(tmp) / "b", payloads, samples_per_shard=per_shard, bytes_per_shard=size)
        assert tree(first) == tree(second)
        shards = ShardFolder(first)
        assert [shards.payload(i) for i in range(len(shards))] == payloads
        manifest = json.loads((first / "shards.json").read_text())
        assert [s["name"] for s in manifest["shards"]] == [f"shard-{i:06d}.tar" for i in range(len(manifest["shards"]))]
        assert max(s["samples"] for s in manifest["shards"]) <= per_shard
        for entry in manifest["shards"]:
            content = (first / entry["name"]).read_bytes()
            assert entry["sha256"] == hashlib.sha256(content).hexdigest()
            assert entry["size"] == len(content)


def test_a_shard_is_closed_once_it_is_large_enough(tmp_path: Path) -> None:
    payloads = [bytes([i]) * 4000 for i in range(6)]
    folder = write(tmp_path / "s", payloads, bytes_per_shard=9000)
    # A sample takes 512 + 512 + 512 + 4096 bytes: two of them pass 9000.
    assert [s["samples"] for s in json.loads((folder / "shards.json").read_text())["shards"]] == [2, 2, 2]


def test_tar_lists_and_extracts_the_members(folder: Path, tmp_path: Path) -> None:
    listed = subprocess.run(
        ["tar", "-tvf", folder / "shard-000000.tar"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    names = [line.split()[-1] for line in listed]
    keys = [content_key(p) for p in PAYLOADS[:3]]
    assert names == [f"{key}.{ext}" for key in keys for ext in ("json", "mp4")]
    assert all("recot/recot" in line and "1970-01-01" in line for line in listed)
    out = tmp_path / "out"
    out.mkdir()
    subprocess.run(["tar", "-xf", folder / "shard-000000.tar", "-C", out], check=True)
    assert [(out / f"{key}.mp4").read_bytes() for key in keys] == PAYLOADS[:3]


@pytest.mark.parametrize("extension", ["mp4", "3gp", "frames.npz"])
def test_plain_webdataset_reads_them_in_secure_mode(tmp_path: Path, extension: str) -> None:
    folder = write(tmp_path / "s", PAYLOADS, extension=extension, samples_per_shard=4)
    script = (
        "import sys, json, webdataset as wds\n"
        "assert wds.utils.enforce_security\n"
        "ds = wds.WebDataset(sys.argv[1], shardshuffle=False)\n"
        "rows = [[s['__key__'], len(s[sys.argv[2]]), json.loads(s['json'])['video_id']] for s in ds]\n"
        "print(json.dumps(rows))\n"
    )
    pattern = f"{folder}/shard-{{000000..000001}}.tar"
    done = subprocess.run(
        [sys.executable, "-c", script, pattern, extension],
        env={**os.environ, "WDS_SECURE": "1"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    expected = [[content_key(p), len(p), f"video {i}"] for i, p in enumerate(PAYLOADS)]
    assert json.loads(done.stdout) == expected


def test_index_points_at_the_payload_bytes(folder: Path) -> None:
    for row in pq.read_table(folder / "index.parquet").to_pylist():
        content = (folder / row["shard"]).read_bytes()
        payload = content[row["offset"] : row["offset"] + row["size"]]
        assert zlib.crc32(payload) == row["crc32"]
        assert content_key(payload) == row["key"] == row["member"].removesuffix(".mp4")
        text = content[row["json_offset"] : row["json_offset"] + row["json_size"]]
        assert zlib.crc32(text) == row["json_crc32"]
        assert json.loads(text)["media"]["frames"] == row["frames"]


def test_payload_slice(folder: Path) -> None:
    shards = ShardFolder(folder)
    i = 4
    for start, length in [(0, 0), (0, 5), (100, 1000), (len(PAYLOADS[i]) - 3, 3)]:
        assert shards.payload_slice(i, start, length) == PAYLOADS[i][start : start + length]
    for start, length in [(-1, 5), (0, len(PAYLOADS[i]) + 1), (5, -1)]:
        with pytest.raises(IndexError):
            shards.payload_slice(i, start, length)


def test_frames_npz_payload_loads_without_pickle(tmp_path: Path) -> None:
    frames = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3)
    path = tmp_path / "x.npz"
    np.savez(path, frames=frames, times_s=np.array([0.0, 0.5]))
    shards = ShardFolder(write(tmp_path / "s", [path.read_bytes()], extension="frames.npz"))
    (tmp_path / "back.npz").write_bytes(shards.payload(0))
    with np.load(tmp_path / "back.npz", allow_pickle=False) as back:
        assert np.array_equal(back["frames"], frames)


def read_all(shards: ShardFolder) -> list[str]:
    return [content_key(shards.payload(i)) for i in range(len(shards))]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_works_in_child_processes(folder: Path, method: str) -> None:
    shards = ShardFolder(folder)
    expected = read_all(shards)
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map(read_all, [shards, shards]) == [expected, expected]
    assert read_all(pickle.loads(pickle.dumps(shards))) == expected


def test_threads_share_a_folder(folder: Path) -> None:
    shards = ShardFolder(folder)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: shards.payload(n % 7), range(200)))
    assert found == [PAYLOADS[n % 7] for n in range(200)]


# What the writer refuses


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
        "from tests.data.test_shards import *\n"
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
