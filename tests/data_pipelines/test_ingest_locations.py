"""Which file an annotation means, and which files it may not mean."""

import json
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from data_pipelines.ingest.locations import Member, VideoRoot, file_uri, local_path, parse_member
from data_pipelines.ingest.records import Rejection
from tests.data_pipelines.ingest_inputs import error_of, path_of, read


def write_rows(path: Path, *videos: str) -> Path:
    path.write_text("\n".join(json.dumps({"video": video}) for video in videos))
    return path


def test_without_a_root_relative_paths_start_beside_the_annotations_and_absolute_ones_are_taken(tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", "x/a.mp4", "/abs/./b.mp4", "./x//a.mp4", "x/y/../c.mp4", "s3x.mp4")
    records = read(rows)
    assert [v.video_id for v in records.videos] == ["x/a.mp4", "/abs/b.mp4", "x/c.mp4", "s3x.mp4"]
    assert [path_of(v) for v in records.videos] == [
        tmp_path / "x" / "a.mp4",
        Path("/abs/b.mp4"),
        tmp_path / "x" / "c.mp4",
        tmp_path / "s3x.mp4",
    ]


def test_with_a_root_nothing_outside_of_it_is_taken(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    inside = ["x/a.mp4", f"{root}/x/a.mp4", f"{root}/../root/b.mp4", file_uri(root / "c d.mp4")]
    outside = [
        "/abs/b.mp4",
        f"{root}/../c.mp4",
        f"{root}x/d.mp4",
        "https://host/e.mp4",
        "file:///f.mp4",
        "x/../../g.mp4",
    ]
    records = read(write_rows(tmp_path / "rows.jsonl", *inside, *outside), root)
    assert [v.video_id for v in records.videos] == ["x/a.mp4", "b.mp4", "c d.mp4"]
    assert [path_of(v) for v in records.videos] == [root / "x" / "a.mp4", root / "b.mp4", root / "c d.mp4"]
    assert [(r.where, r.reason) for r in records.rejected] == [
        (f"rows.jsonl:{line}", "outside_root") for line in range(len(inside) + 1, len(inside) + len(outside) + 1)
    ]


def test_a_remote_root(tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", "a #1.mp4", "https://host/v/x/b.mp4", "/c.mp4", "https://host/vv/d.mp4")
    records = read(rows, "HTTPS://host/v/")
    assert [(v.video_id, v.uri) for v in records.videos] == [
        ("a #1.mp4", "https://host/v/a%20%231.mp4"),
        ("x/b.mp4", "https://host/v/x/b.mp4"),
    ]
    assert [r.reason for r in records.rejected] == ["outside_root"] * 2


def test_a_root_that_is_not_there(tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", "a.mp4")
    assert "video_root=" in error_of(rows, tmp_path / "nothing")
    assert "video_root=nowhere://x" in error_of(rows, "nowhere://x")


def test_the_same_name_beside_two_annotation_files_is_two_videos(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_rows(tmp_path / name / "rows.jsonl", "a.mp4")
    records = read(tmp_path / "{two,one}" / "*.jsonl")
    assert [v.video_id for v in records.videos] == ["a.mp4", "a.mp4@2"]
    assert [path_of(v) for v in records.videos] == [tmp_path / "two" / "a.mp4", tmp_path / "one" / "a.mp4"]
    assert (records.rows, records.renamed_ids) == (2, 1)


def test_patterns(tmp_path: Path) -> None:
    for i in (8, 9, 10):
        write_rows(tmp_path / f"{i:02}.jsonl", f"{i}.mp4")
    (tmp_path / "[x].jsonl").write_text('{"video": "x.mp4"}')
    assert [v.video_id for v in read(tmp_path / "{08..10}.jsonl").videos] == ["8.mp4", "9.mp4", "10.mp4"]
    assert [v.video_id for v in read(tmp_path / "0[89].jsonl").videos] == ["8.mp4", "9.mp4"]
    assert [v.video_id for v in read(tmp_path / "[x].jsonl").videos] == ["x.mp4"]
    assert "no such file" in error_of(tmp_path / "{08..11}.jsonl")
    assert "matches no file" in error_of(tmp_path / "*.csv")


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)


@settings(max_examples=300, deadline=None)
@given(NAMES | st.lists(st.sampled_from(["..", ".", "a", "", "%2e%2e", "~", "b"]), min_size=1).map("/".join))
@example("..")
@example("//etc/passwd")
def test_what_is_located_lies_below_a_closed_root(name: str) -> None:
    try:
        video_id, uri = VideoRoot("file:///data/videos", closed=True).locate(name)
    except Rejection:
        return
    path = local_path(uri)
    assert path is not None
    assert Path("/data/videos") in path.resolve().parents
    assert str(path) == f"/data/videos/{video_id}"


@given(NAMES, st.integers(0, 2**63), st.integers(0, 2**63))
def test_the_uri_of_a_member_says_where_it_lies(name: str, offset: int, size: int) -> None:
    for tar in ("s3://bucket/a.tar", file_uri(f"/data/{name.replace('/', '_')}.tar")):
        member = Member(tar, offset, size, name)
        assert parse_member(member.uri) == member
        assert parse_member(tar) is None


@pytest.mark.parametrize("name", ["a b", "ä%20ö", "#offset=1&size=2&member=x", "caf\udce9", "?x=1"])
def test_file_uris_name_any_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"here")
    path = local_path(file_uri(tmp_path / name))
    assert path is not None
    assert path.read_bytes() == b"here"
