"""Annotations as people write them, and as they damage them."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipelines.records import Records, read_records
from recot.data.schema import QA
from recot.errors import DataError


def read_lines(folder: Path, *rows: Any, name: str = "rows.jsonl") -> Records:
    path = folder / name
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return read_records(path, None)


def conversation(*texts: str) -> list[dict[str, str]]:
    return [{"from": "human" if i % 2 == 0 else "gpt", "value": text} for i, text in enumerate(texts)]


LLAVA = {
    "id": "q7",
    "video": "ytb/x.mp4",
    "data_source": "0_30_s_youtube",
    "conversations": conversation("<image>\nWhat is shown?", "A dog.", "Where <video> then?", "Outside."),
}


def error_of(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_records(path, None)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("layout", ["list", "lines", "lines named json"])
def test_llava_video_rows(tmp_path: Path, layout: str) -> None:
    path = tmp_path / ("rows.jsonl" if layout == "lines" else "rows.json")
    path.write_text(json.dumps([LLAVA], indent=1) if layout == "list" else json.dumps(LLAVA) + "\n")
    records = read_records(path, None)
    (video,) = records.videos
    assert (video.video_id, video.source) == ("ytb/x.mp4", "0_30_s_youtube")
    assert video.path == tmp_path / "ytb" / "x.mp4"
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


def test_relative_and_absolute_paths(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"video": "x/a.mp4"}\n{"video": "/abs/b.mp4"}\n{"video": "./x/a.mp4"}\n')
    records = read_records(path, tmp_path / "root")
    assert [v.path for v in records.videos] == [tmp_path / "root" / "x" / "a.mp4", Path("/abs/b.mp4")]


def test_repeated_ids_are_made_unique(tmp_path: Path) -> None:
    row = {"id": "v", "video": "a.mp4", "question": "?", "answer": "!"}
    records = read_lines(tmp_path, row, row, {**row, "id": "v@2"}, {**row, "video": "b.mp4"})
    ids = [qa.sample_id for video in records.videos for qa in video.qa]
    assert ids[:2] == ["v", "v@2"]
    assert len(set(ids)) == 4


BAD_ROWS: list[tuple[Any, str]] = [
    ("{not json", "not_json"),
    ([1], "not_an_object"),
    ("[" * 100_000, "not_json"),
    ({"question": "?", "answer": "!"}, "no_video"),
    ({"video": 3}, "no_video"),
    ({"video": " "}, "no_video"),
    ({"video": "a\0b.mp4"}, "no_video"),
    ({"image": "a.jpg", "conversations": conversation("<image>", "x")}, "image_only"),
    ({"video": "a.mp4", "conversations": []}, "bad_conversation"),
    ({"video": "a.mp4", "conversations": "hello"}, "bad_conversation"),
    ({"video": "a.mp4", "conversations": conversation("question without answer")}, "bad_conversation"),
    ({"video": "a.mp4", "conversations": conversation("q", "a")[::-1]}, "bad_conversation"),
    ({"video": "a.mp4", "conversations": [{"from": "human", "value": 1}, {"from": "gpt", "value": "x"}]}, "bad_text"),
    ({"video": "a.mp4", "conversations": conversation("q", "<video>")}, "bad_text"),
    ({"video": "a.mp4", "question": "?"}, "bad_text"),
    ({"video": "a.mp4", "question": "?", "answer": "\ud800"}, "bad_text"),
    ({"video": "\udcff.mp4"}, "bad_text"),
    ({"video": "a.mp4", "question": "?", "answer": "!", "options": [1, 2]}, "bad_text"),
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
        (b"[" * 100_000, "not valid JSON"),
        (b"\xff\xfe\x00binary", "UTF-8"),
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
    assert [v.video_id for v in read_records(path, None).videos] == ["a.mp4", "b.mp4"]


def test_missing_source(tmp_path: Path) -> None:
    assert "there is no such file or folder" in error_of(tmp_path / "nothing")


def test_a_folder_is_searched_and_sorted(tmp_path: Path) -> None:
    for name in ("b/2.MKV", "b/1.mp4", "a.webm", "notes.txt", ".hidden.mp4", ".git/x.mp4", "b/._1.mp4", "cover.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    records = read_records(tmp_path, None)
    assert [v.video_id for v in records.videos] == ["a.webm", "b/1.mp4", "b/2.MKV"]
    assert [v.path for v in records.videos] == [tmp_path / v.video_id for v in records.videos]
    assert records.ignored_files == 2
    assert {v.source for v in records.videos} == {tmp_path.name}


def test_a_file_name_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "caf\udce9.mp4"
    path.write_bytes(b"x")
    (video,) = read_records(tmp_path, None).videos
    assert video.path.read_bytes() == b"x"
    assert video.video_id.encode() == b"caf\\udce9.mp4"


def test_folders_without_videos(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "a.txt").write_text("x")
    assert "holds no videos" in error_of(tmp_path)
    (tmp_path / "x" / "a.JPG").write_text("x")
    assert "holds images but no videos" in error_of(tmp_path)
