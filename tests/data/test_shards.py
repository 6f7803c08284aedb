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

from recot.data.schema import content_key
from recot.data.shard_index import sample_columns
from recot.data.shards import ShardFolder
from tests.data.small_shards import PAYLOADS, read_all, sample_of, tree, write


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
