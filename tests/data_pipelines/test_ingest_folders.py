"""What is in a folder: behind links too, and what can't be listed is said."""

import os
from pathlib import Path
from typing import Any

import pytest

from tests.data_pipelines.ingest_inputs import error_of, path_of, read


def put(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(path.name.encode())


def test_links_to_folders_are_followed_and_no_folder_is_listed_twice(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    put(root / "z/own.mp4", elsewhere / "deep/far.mp4", elsewhere / ".hidden/no.mp4")
    (root / "a").symlink_to(root / "z")
    (root / "b").symlink_to(elsewhere)
    (root / "z/loop").symlink_to(root)
    (elsewhere / "deep/back").symlink_to(root)
    (root / "gone").symlink_to(tmp_path / "nothing")
    records = read(root)
    assert [video.video_id for video in records.videos] == ["b/deep/far.mp4", "z/own.mp4"]
    assert [path_of(video).read_bytes() for video in records.videos] == [b"far.mp4", b"own.mp4"]
    assert records.rejected == []


def test_a_subfolder_that_cannot_be_listed_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "good/a.mp4", tmp_path / "locked/b.mp4")
    forbidden, scandir = {tmp_path / "locked"}, os.scandir

    def scan(path: Any) -> Any:
        if Path(path) in forbidden:
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", scan)  # the permission itself wouldn't stop root
    records = read(tmp_path)
    assert [video.video_id for video in records.videos] == ["good/a.mp4"]
    assert [(row.where, row.reason) for row in records.rejected] == [("locked", "unreadable_folder")]
    assert "Permission denied" in records.rejected[0].message
    forbidden.add(tmp_path)
    assert "can't be listed: Permission denied" in error_of(tmp_path)
