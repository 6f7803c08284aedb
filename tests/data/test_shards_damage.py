"""Damaged, foreign and unindexed shard folders."""

import hashlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from recot.data.shard_index import encode_index
from recot.data.shards import ShardFolder
from recot.errors import DataError
from tests.data.small_shards import PAYLOADS, read_all, write


def unindex(folder: Path) -> Path:
    (folder / "shards.json").unlink()
    (folder / "index.parquet").unlink()
    return folder


def flip(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 0xFF
    path.write_bytes(content)


def foreign_tar(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def error_of(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        ShardFolder(path)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_missing_folder_names_the_command_that_makes_it(tmp_path: Path) -> None:
    assert f"data_pipelines/prune.py source=<annotations or folder> output={tmp_path}/x" in error_of(
        tmp_path / "x" / "train"
    )
    assert f"output={tmp_path}/y`" in error_of(tmp_path / "y")
    (tmp_path / "empty").mkdir()
    assert "holds no shards" in error_of(tmp_path / "empty")


def test_the_folder_above_the_shards(tmp_path: Path) -> None:
    write(tmp_path / "data" / "train", PAYLOADS)
    assert f"Did you mean {tmp_path}/data/train?" in error_of(tmp_path / "data")


def test_missing_shard(folder: Path) -> None:
    (folder / "shard-000001.tar").unlink()
    assert "shard-000001.tar is missing" in error_of(folder)


def test_missing_shard_without_index(folder: Path) -> None:
    (unindex(folder) / "shard-000001.tar").unlink()
    assert "shard-000001.tar is missing" in error_of(folder)


@pytest.mark.parametrize("keep", [0, 100, 511, 512, 700, 2000, 3584, 5000])
def test_truncated_tar(folder: Path, keep: int) -> None:
    """With an index and without one; within a header, a JSON, a payload, and between members."""
    path = folder / "shard-000002.tar"
    path.write_bytes(path.read_bytes()[:keep])
    assert f"has {keep} bytes" in error_of(folder)
    message = error_of(unindex(folder))
    assert "shard-000002.tar" in message
    assert "truncated" in message
    assert not (folder / "shards.json").exists()


def test_every_truncation_of_an_unindexed_tar_is_noticed(tmp_path: Path) -> None:
    folder = unindex(write(tmp_path / "s", [b"abc", b"d" * 600]))
    whole = (folder / "shard-000000.tar").read_bytes()
    members_end = len(whole.rstrip(b"\0"))  # the rest is padding and the mark at the end
    for keep in range(0, members_end + 1, 97):
        (folder / "shard-000000.tar").write_bytes(whole[:keep])
        assert "truncated" in error_of(folder)


def test_corrupted_bytes_are_noticed_when_read(folder: Path) -> None:
    shards = ShardFolder(folder)
    flip(folder / "shard-000000.tar", int(shards.columns["offset"][1]))
    flip(folder / "shard-000000.tar", int(shards.columns["json_offset"][2]) + 5)
    assert shards.payload(0) == PAYLOADS[0]
    with pytest.raises(DataError, match=r"shard-000000\.tar: .*\.mp4: the bytes are not those"):
        shards.payload(1)
    with pytest.raises(DataError, match=r"\.json: the bytes are not those"):
        shards.sample(2)
    with pytest.raises(DataError, match=r"shard-000000\.tar is not what was written"):
        ShardFolder(folder).verify()


def test_a_shard_that_disappears_or_shrinks_after_opening(folder: Path) -> None:
    shards = ShardFolder(folder)
    (folder / "shard-000000.tar").unlink()
    with pytest.raises(DataError, match="can't be opened"):
        shards.payload(0)
    os.truncate(folder / "shard-000001.tar", 600)
    with pytest.raises(DataError, match="bytes early"):
        shards.payload(3)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"a.jpg": b"x", "a.txt": b"y"}, "not written by recot"),
        ({"a.json": b"{}", "a.mp4": b"y"}, "no schema_version"),
        ({"a.json": b"[1]", "a.mp4": b"y"}, "no schema_version"),
        ({"a.json": b"not json", "a.mp4": b"y"}, "is not JSON"),
        ({"a.json": b'{"schema_version": 99}', "a.mp4": b"y"}, "schema version 99"),
        ({"a.json": b'{"schema_version": 1, "x": 1}', "a.mp4": b"y"}, "does not have the fields"),
        ({"a.json": b"{}"}, "pairs"),
        ({"a.mp4": b"y", "a.json": b"{}"}, "are not <key>.json and"),
        ({"a.json": b"{}", "b.mp4": b"y"}, "are not <key>.json and"),
        ({"a.json": b"{}", "a.pkl": b"y"}, "never unpickles"),
        ({"a.json": b"{}", "a.features.pth": b"y"}, "never unpickles"),
        ({}, "no members"),
    ],
)
def test_tar_that_is_not_ours(tmp_path: Path, members: dict[str, bytes], message: str) -> None:
    foreign_tar(tmp_path / "00000.tar", members)
    found = error_of(tmp_path)
    assert message in found
    assert "00000.tar" in found


def test_files_that_are_no_tar(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"this is text" * 200)
    assert "not a plain tar" in error_of(tmp_path)


def test_links_are_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, kind in (("a.json", tarfile.REGTYPE), ("a.mp4", tarfile.SYMTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info, io.BytesIO(b""))
    assert "not a regular file" in error_of(tmp_path)


def test_index_of_another_schema(folder: Path) -> None:
    manifest = json.loads((folder / "shards.json").read_text())
    manifest["schema_version"] = 99
    (folder / "shards.json").write_text(json.dumps(manifest))
    assert "schema version 99, this recot reads 1" in error_of(folder)


@pytest.mark.parametrize("content", ["", "[]", "{}", "null", '{"schema_version": 1}', "\x00"])
def test_damaged_manifest(folder: Path, content: str) -> None:
    (folder / "shards.json").write_text(content)
    assert "is not a shard manifest" in error_of(folder)


@pytest.mark.parametrize("damage", [lambda p: p.unlink(), lambda p: flip(p, 20), lambda p: p.write_bytes(b"")])
def test_damaged_index_says_how_to_make_it_again(folder: Path, damage: Callable[[Path], None]) -> None:
    expected = read_all(ShardFolder(folder))
    damage(folder / "index.parquet")
    message = error_of(folder)
    assert "index.parquet" in message
    assert "Delete" in message
    (folder / "index.parquet").unlink(missing_ok=True)
    (folder / "shards.json").unlink()
    assert read_all(ShardFolder(folder)) == expected


def rewrite_index(folder: Path, samples: int, **changes: object) -> None:
    """A forged folder: the first row of the index with ``changes``, and a manifest that vouches for it."""
    shards = ShardFolder(folder)
    row = {name: values[0].item() for name, values in shards.columns.items()}
    content = encode_index([{**row, **changes}])
    manifest = json.loads((folder / "shards.json").read_text())
    manifest.update(index_sha256=hashlib.sha256(content).hexdigest(), samples=samples)
    (folder / "index.parquet").write_bytes(content)
    (folder / "shards.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    "changes",
    [
        {"shard": "../../etc/passwd"},
        {"shard": "shard-000009.tar"},
        {"offset": -1},
        {"size": 2**62},
        {"offset": 2**62},
        {"json_size": -5},
        {"json_offset": 10**9},
    ],
)
def test_an_index_that_points_elsewhere_is_refused(folder: Path, changes: dict[str, object]) -> None:
    rewrite_index(folder, 1, **changes)
    assert "doesn't fit the shards" in error_of(folder)


def test_an_index_of_another_length_is_refused(folder: Path) -> None:
    rewrite_index(folder, 7)
    assert "doesn't fit the shards" in error_of(folder)


def test_an_index_that_lists_a_pickle_is_refused(folder: Path) -> None:
    rewrite_index(folder, 1, member="0.pkl")
    assert ".pkl, not a payload" in error_of(folder)


# Folders of tars without an index


def test_index_made_on_first_use_equals_the_written_one(folder: Path) -> None:
    index = (folder / "index.parquet").read_bytes()
    expected = read_all(ShardFolder(folder))
    shards = ShardFolder(unindex(folder))
    assert read_all(shards) == expected
    assert (folder / "index.parquet").read_bytes() == index
    assert shards.config_hash == "unknown"
    shards.verify()
    before = (folder / "shards.json").stat().st_mtime_ns
    assert read_all(ShardFolder(folder)) == expected
    assert (folder / "shards.json").stat().st_mtime_ns == before


def open_and_read(folder: Path) -> list[str]:
    return read_all(ShardFolder(folder))


def test_processes_index_a_folder_at_once(folder: Path) -> None:
    expected = read_all(ShardFolder(folder))
    unindex(folder)
    with ProcessPoolExecutor(4) as pool:
        assert list(pool.map(open_and_read, [folder] * 4)) == [expected] * 4


def test_read_only_folder_is_indexed_in_memory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = read_all(ShardFolder(folder))
    unindex(folder)
    if os.geteuid() == 0:  # root may write anywhere: say what the system says to others
        monkeypatch.setattr(os, "access", lambda path, mode: False)
    folder.chmod(0o555)
    try:
        assert read_all(ShardFolder(folder)) == expected
    finally:
        folder.chmod(0o755)
    assert not (folder / "shards.json").exists()


def test_copied_shard_gives_duplicated_keys(folder: Path) -> None:
    unindex(folder)
    shutil.copy(folder / "shard-000000.tar", folder / "shard-000003.tar")
    message = error_of(folder)
    assert "occurs twice (also in shard-000000.tar)" in message


def test_features_are_found_by_their_extension(tmp_path: Path) -> None:
    folder = write(tmp_path / "f", PAYLOADS, extension="features.safetensors", kind="features")
    assert ShardFolder(unindex(folder)).kind == "features"


def test_videos_and_features_in_one_folder(tmp_path: Path) -> None:
    folder = unindex(write(tmp_path / "f", PAYLOADS[:2], extension="features.safetensors", kind="features"))
    videos = write(tmp_path / "v", PAYLOADS[2:])
    shutil.copy(videos / "shard-000000.tar", folder / "shard-000001.tar")
    assert "mixes" in error_of(folder)
