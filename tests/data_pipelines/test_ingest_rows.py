"""Annotations as people write them, and as they damage them."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipelines.ingest.records import Records
from recot.data.schema import QA
from tests.data_pipelines.ingest_inputs import conversation, error_of, path_of, read


def read_lines(folder: Path, *rows: Any, name: str = "rows.jsonl") -> Records:
    path = folder / name
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return read(path)


LLAVA = {
    "id": "q7",
    "video": "ytb/x.mp4",
    "data_source": "0_30_s_youtube",
    "conversations": conversation("<image>\nWhat is shown?", "A dog.", "Where <video> then?", "Outside."),
}


@pytest.mark.parametrize("layout", ["list", "lines", "lines named json"])
def test_llava_video_rows(tmp_path: Path, layout: str) -> None:
    path = tmp_path / ("rows.jsonl" if layout == "lines" else "rows.json")
    path.write_text(json.dumps([LLAVA], indent=1) if layout == "list" else json.dumps(LLAVA) + "\n")
    records = read(path)
    (video,) = records.videos
    assert (video.video_id, video.source) == ("ytb/x.mp4", "0_30_s_youtube")
    assert path_of(video) == tmp_path / "ytb" / "x.mp4"
    assert video.qa == [QA("q7#0", "What is shown?", "A dog."), QA("q7#1", "Where\nthen?", "Outside.")]
    assert (records.rows, records.rejected) == (1, [])


def test_plain_questions_and_captions(tmp_path: Path) -> None:
    records = read_lines(
        tmp_path,
        {"video": "a.mp4", "question": "Which?", "answer": "B", "options": ["A", "B"], "t_start": 1, "t_end": 2.5},
        {"video": "b.mp4", "caption": "A cat sleeps.", "id": 12},
        {"video": "a.mp4", "question": "Why?", "answer": "So.", "task_type": "causal"},
        {"video": "c.mp4"},
    )
    assert {v.video_id: v.qa for v in records.videos} == {
        "a.mp4": [
            QA("rows-1", "Which?", "B", "multiple_choice", ["A", "B"], 1.0, 2.5),
            QA("rows-3", "Why?", "So.", "causal"),
        ],
        "b.mp4": [QA("12", "", "A cat sleeps.", "caption")],
        "c.mp4": [],
    }
    assert {v.source for v in records.videos} == {"rows"}


def test_repeated_ids_are_made_unique(tmp_path: Path) -> None:
    row = {"id": "v", "video": "a.mp4", "question": "?", "answer": "!"}
    records = read_lines(tmp_path, row, row, {**row, "id": "v@2"}, {**row, "video": "b.mp4"})
    ids = [qa.sample_id for video in records.videos for qa in video.qa]
    assert ids[:2] == ["v", "v@2"]
    assert len(set(ids)) == 4
    assert records.renamed_ids == 3


BAD_ROWS: list[tuple[Any, str]] = [
    ("{not json", "not_json"),
    ([1], "not_an_object"),
    ("[" * 100_000, "not_json"),
    ({"video": "../a.mp4"}, "outside_root"),
    ({"video": "x/../../a.mp4"}, "outside_root"),
    ({"video": "."}, "no_video"),
    ({"video": "nowhere://a.mp4"}, "unsupported_url"),
    ({"video": "ftp://me:secret@host/a.mp4"}, "password_in_url"),
    ({"video": "zip://a.mp4::https://host/x.zip"}, "unsupported_url"),
    ({"video": "https://host/%2e%2E/a.mp4"}, "outside_root"),
    ({"video": "file://host/a.mp4"}, "unsupported_url"),
    ({"video": "file:///a%00.mp4"}, "unsupported_url"),
    ({"video": "a.mp4", "id": 1.5}, "bad_field"),
    ({"video": "a.mp4", "id": True}, "bad_field"),
    ('{"video": "a.mp4", "id": 1' + "0" * 5000 + "}", "bad_field"),
    ({"video": "a.mp4", "licence": ["CC0"]}, "bad_field"),
    ({"question": "?", "answer": "!"}, "no_video"),
    ({"video": 3}, "no_video"),
    ({"video": " "}, "no_video"),
    ({"video": "a\0b.mp4"}, "no_video"),
    ({"image": "a.jpg", "conversations": conversation("<image>", "x")}, "image_only"),
    ({"video": "a.mp4", "conversations": []}, "bad_conversation"),
    ({"video": "a.mp4", "conversations": "hello"}, "bad_conversation"),
    ({"video": "a.mp4", "conversations": conversation("question without answer")}, "bad_conversation"),
    ({"video": "a.mp4", "conversations": conversation("q", "a")[::-1]}, "bad_conversation"),
    ({"video": "a.mp4", "conversations": [{"from": "human", "value": []}, {"from": "gpt", "value": "x"}]}, "bad_text"),
    ({"video": "a.mp4", "conversations": conversation("q", "<video>")}, "bad_text"),
    ({"video": "a.mp4", "question": "?"}, "bad_text"),
    ({"video": "a.mp4", "question": "?", "answer": "\ud800"}, "bad_text"),
    ({"video": "\udcff.mp4"}, "bad_text"),
    ({"video": "a.mp4", "question": "?", "answer": "!", "options": [1, 2.5]}, "bad_text"),
    ({"video": "a.mp4", "question": "?", "answer": True}, "bad_text"),
    ({"video": "a.mp4", "question": "?", "answer": 4.5}, "bad_text"),
    ({"video": "a.mp4", "question": "?", "answer": "!", "options": "AB"}, "bad_field"),
    ({"video": "a.mp4", "data_source": 5}, "bad_field"),
    ({"video": "a.mp4", "question": "?", "answer": "!", "t_start": 3, "t_end": 2}, "bad_time"),
    ({"video": "a.mp4", "question": "?", "answer": "!", "t_start": "0:30"}, "bad_time"),
    ({"video": "a.mp4", "question": "?", "answer": "!", "evidence": [1, 2]}, "bad_time"),
    ({"video": "a.mp4", "question": "?", "answer": "!", "evidence": [[2, 1]]}, "bad_time"),
    ({"video": "a.mp4", "question": "?", "answer": "!", "evidence": [[0, None]]}, "bad_time"),
    ('{"video": "a.mp4", "question": "?", "answer": "!", "t_end": NaN}', "bad_time"),
    ('{"video": "a.mp4", "question": "?", "answer": "!", "t_end": 1' + "0" * 400 + "}", "bad_time"),
]


def test_malformed_rows_are_rejected_with_reason_and_line(tmp_path: Path) -> None:
    good = {"video": "good.mp4", "question": "?", "answer": "!"}
    rows: list[Any] = [good]
    for row, _ in BAD_ROWS:
        rows += ["", row]  # an empty line counts as a line and not as a row
    records = read_lines(tmp_path, *rows, good)
    assert [(r.where, r.reason) for r in records.rejected] == [
        (f"rows.jsonl:{3 + 2 * i}", reason) for i, (_, reason) in enumerate(BAD_ROWS)
    ]
    assert all(r.message for r in records.rejected)
    assert records.rows == len(BAD_ROWS) + 2
    assert [(v.video_id, len(v.qa)) for v in records.videos] == [("good.mp4", 2)]


def test_whole_numbers_are_texts(tmp_path: Path) -> None:
    asked = {"video": "a.mp4", "question": "How many?"}
    turns = [{"from": "human", "value": "How many?"}, {"from": "gpt", "value": 4}]
    rows = [
        {**asked, "answer": 4},
        {**asked, "answer": 0, "options": [0, -1]},
        {"video": "a.mp4", "conversations": turns},
    ]
    (video,) = read_lines(tmp_path, *rows).videos
    assert [(qa.answer, qa.options) for qa in video.qa] == [("4", []), ("0", ["0", "-1"]), ("4", [])]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
FIELDS = (
    "id",
    "video",
    "data_source",
    "conversations",
    "question",
    "answer",
    "caption",
    "options",
    "t_start",
    "t_end",
    "evidence",
    "licence",
)
ROW = JSON | st.dictionaries(st.sampled_from(FIELDS), JSON | st.just("a.mp4"), max_size=7)


@settings(max_examples=80, deadline=None)
@given(st.lists(ROW, max_size=5))
def test_any_row_is_either_used_or_rejected(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> None:
    folder = tmp_path_factory.mktemp("rows")
    records = read_lines(folder, *[json.dumps(row) for row in [{"video": "good.mp4"}, *rows]])
    assert records.rows == len(rows) + 1
    used = records.rows - len(records.rejected)
    assert 1 <= len(records.videos) <= used
    for video in records.videos:
        json.dumps([video.video_id, video.source, [vars(qa) for qa in video.qa]], allow_nan=False).encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"[]", "the file is empty"),
        (b'[{"video": "a.mp4"', "not valid JSON"),
        (b'[{"video": "a.mp4"}', "not valid JSON"),
        (b'[{"video": "a.mp4"} {"video": "b.mp4"}]', "not valid JSON"),
        (b'[{"video": "a.mp4"},]', "not valid JSON"),
        (b'[{"video": "a.mp4"}] x', "Extra data"),
        (b'[{"video": "caf\xe9.mp4"}]', "UTF-8"),
        (b"[" * 100_000, "not valid JSON"),
        (b"\xff\xfe\x00binary", "UTF-16 text, expected UTF-8"),
        (b"\x80\x00binary", "1 x not_utf8"),
        (b'{"video": 1}\n{"video": 2}', "2 x no_video"),
        (b'{"image": "a.jpg"}\n{"image": "b.jpg"}', "all 2 rows are about images. recot compresses videos"),
        (b"id,video\n1,a.mp4\n", "2 x not_json"),
    ],
)
def test_files_without_a_usable_row(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "rows.json"
    path.write_bytes(content)
    found = error_of(path)
    assert message in found
    assert str(path) in found


def test_byte_order_mark_and_windows_lines(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"video": "a.mp4"}\r\n{"video": "b.mp4"}\r\n')
    assert [v.video_id for v in read(path).videos] == ["a.mp4", "b.mp4"]


def test_a_line_of_another_encoding_is_left_out_alone(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"video": "a.mp4"}\n{"video": "caf\xe9.mp4"}\n{"video": "b.mp4"}\n')
    records = read(path)
    assert [v.video_id for v in records.videos] == ["a.mp4", "b.mp4"]
    assert [(r.where, r.reason) for r in records.rejected] == [("rows.jsonl:2", "not_utf8")]


def test_null_counts_as_missing(tmp_path: Path) -> None:
    nothing = dict.fromkeys(
        ("id", "data_source", "conversations", "question", "options", "t_start", "licence", "image")
    )
    records = read_lines(tmp_path, {"video": "a.mp4", "caption": "A cat.", **nothing})
    assert records.videos[0].qa == [QA("rows-1", "", "A cat.", "caption")]
    assert (records.videos[0].source, records.videos[0].licence) == ("rows", None)


def test_a_video_with_two_licences_is_under_both(tmp_path: Path) -> None:
    licences = [{"licence": "CC-BY-4.0"}, {}, {"license": "CC-BY-NC-4.0"}, {"licence": "CC-BY-4.0"}]
    records = read_lines(tmp_path, *[{"video": "a.mp4", **given} for given in licences], {"video": "b.mp4"})
    assert [v.licence for v in records.videos] == ["CC-BY-4.0 AND CC-BY-NC-4.0", None]


def test_size_and_time_of_a_local_file_are_known_and_of_a_missing_one_are_not(tmp_path: Path) -> None:
    (tmp_path / "a b%.mp4").write_bytes(b"12345")
    os.utime(tmp_path / "a b%.mp4", ns=(5, 1_700_000_000_123_456_789))
    here, gone = read_lines(tmp_path, {"video": "a b%.mp4"}, {"video": "gone.mp4"}).videos
    assert (here.size, here.mtime_ns) == (5, 1_700_000_000_123_456_789)
    assert (gone.size, gone.mtime_ns) == (None, None)
    assert here.uri == here.source_uri == (tmp_path / "a b%.mp4").as_uri()


def test_the_hash_changes_with_what_was_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    hashes = []
    for content in ('{"video": "a.mp4"}', '{"video": "a.mp4", "caption": "x"}', '{"video": "a.mp4"}\n{}'):
        path.write_text(content)
        hashes.append(read(path).hash())
        assert read(path).hash() == hashes[-1]
    path.write_text('{"video": "a.mp4"}')
    (tmp_path / "a.mp4").write_bytes(b"x")
    hashes.append(read(path).hash())
    assert len(set(hashes)) == 4


def test_missing_source(tmp_path: Path) -> None:
    assert "there is no such file or folder" in error_of(tmp_path / "nothing")


def test_a_folder_is_searched_and_sorted(tmp_path: Path) -> None:
    for name in ("b/2.MKV", "b/1.mp4", "a.webm", "notes.txt", ".hidden.mp4", ".git/x.mp4", "b/._1.mp4", "cover.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    records = read(tmp_path)
    assert [v.video_id for v in records.videos] == ["a.webm", "b/1.mp4", "b/2.MKV"]
    assert [path_of(v) for v in records.videos] == [tmp_path / v.video_id for v in records.videos]
    assert records.ignored_files == 2
    assert {v.source for v in records.videos} == {tmp_path.name}


def test_a_file_name_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "caf\udce9.mp4"
    path.write_bytes(b"x")
    (video,) = read(tmp_path).videos
    assert path_of(video).read_bytes() == b"x"
    assert video.video_id.encode() == b"caf\\udce9.mp4"


def test_folders_without_videos(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "a.txt").write_text("x")
    assert "holds no videos" in error_of(tmp_path)
    (tmp_path / "x" / "a.csv").write_text("x")
    assert f"give source='{tmp_path}/*.csv'" in error_of(tmp_path)
    (tmp_path / "x" / "a.JPG").write_text("x")
    assert "holds images but no videos" in error_of(tmp_path)


def test_a_link_to_nothing_and_a_pipe_are_no_videos(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"x")
    (tmp_path / "b.mp4").symlink_to(tmp_path / "nothing")
    os.mkfifo(tmp_path / "c.mp4")
    assert [v.video_id for v in read(tmp_path).videos] == ["a.mp4"]


def test_one_video_is_not_a_source(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"x")
    assert "is a video. Give the folder" in error_of(tmp_path / "a.mp4")
