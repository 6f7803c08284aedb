"""CSV and Parquet: equal rows give equal records in every format, and damage costs what it touches."""

import csv
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipelines.ingest.records import Records
from recot.data.schema import QA
from tests.data_pipelines.ingest_inputs import conversation, error_of, read

Row = dict[str, Any]
SCHEMA = pa.schema(
    [
        (name, pa.string())
        for name in ("video", "id", "question", "answer", "caption", "task_type", "data_source", "licence")
    ]
    + [("t_start", pa.float64()), ("t_end", pa.float64())]
    + [("options", pa.list_(pa.string())), ("evidence", pa.list_(pa.list_(pa.float64())))]
    + [("conversations", pa.list_(pa.struct([("from", pa.string()), ("value", pa.string())])))]
    + [("image", pa.string())]
)


def write_list(path: Path, rows: list[Row]) -> Path:
    path = path.with_suffix(".json")
    path.write_text(json.dumps(rows, indent=1))
    return path


def write_lines(path: Path, rows: list[Row]) -> Path:
    path = path.with_suffix(".jsonl")
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def write_csv(path: Path, rows: list[Row]) -> Path:
    path = path.with_suffix(".csv")
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, SCHEMA.names)
        writer.writeheader()
        for row in rows:
            writer.writerow({k: json.dumps(v) if isinstance(v, list) else v for k, v in row.items()})
    return path


def write_parquet(path: Path, rows: list[Row]) -> Path:
    path = path.with_suffix(".parquet")
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), path, row_group_size=3)
    return path


WRITERS = [write_list, write_lines, write_csv, write_parquet]
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
SECONDS = st.floats(-1, 1e8, allow_nan=False)
ROWS = st.fixed_dictionaries(
    {},
    optional={
        "video": st.sampled_from(["a.mp4", "x/b c.mp4", "../c.mp4", "/d.mp4", "https://host/e.mp4"]),
        "id": st.sampled_from(["q", "q@2", "r"]),
        "question": TEXT,
        "answer": TEXT,
        "caption": TEXT,
        "task_type": TEXT,
        "data_source": TEXT,
        "licence": TEXT,
        "t_start": SECONDS,
        "t_end": SECONDS,
        "options": st.lists(TEXT, max_size=3),
        "evidence": st.lists(st.lists(SECONDS, min_size=1, max_size=3), max_size=2),
        "conversations": st.lists(TEXT, min_size=1, max_size=4).map(lambda texts: conversation(*texts)),
        "image": TEXT,
    },
)


def content(records: Records) -> tuple[Any, ...]:
    return records.videos, records.rows, records.renamed_ids, [(r.reason) for r in records.rejected]


@settings(max_examples=60, deadline=None)
@given(st.lists(ROWS, max_size=9))
def test_the_same_rows_are_the_same_in_every_format(tmp_path_factory: pytest.TempPathFactory, rows: list[Row]) -> None:
    path = tmp_path_factory.mktemp("rows") / "rows"
    rows = [{"video": "good.mp4"}, *[row for row in rows if row]]
    expected, *others = [content(read(write(path, rows))) for write in WRITERS]
    assert all(other == expected for other in others)
    assert expected[1] == len(rows)


@pytest.mark.parametrize("write", WRITERS)
def test_a_row_of_a_table(tmp_path: Path, write: Callable[[Path, list[Row]], Path]) -> None:
    row = {
        "video": "a.mp4",
        "id": "q",
        "question": 'Which, "A"\nor B?',
        "answer": "B",
        "options": ["A", "B,\nC"],
        "t_start": 1.5,
        "t_end": 2.0,
        "evidence": [[1.5, 2.0]],
        "data_source": "ours",
        "licence": "CC0-1.0",
    }
    (video,) = read(write(tmp_path / "rows", [row])).videos
    assert (video.video_id, video.source, video.licence) == ("a.mp4", "ours", "CC0-1.0")
    assert video.qa == [
        QA("q", 'Which, "A"\nor B?', "B", "multiple_choice", ["A", "B,\nC"], 1.5, 2.0, [[1.5, 2.0]]),
    ]


def test_spans_are_evidence_and_json_strings_are_lists_in_parquet_too(tmp_path: Path) -> None:
    rows = [{"video": "a.mp4", "question": "?", "answer": "!", "spans": "[[1, 2]]", "options": '["x", "!"]', "id": 7}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    (video,) = read(tmp_path / "rows.parquet").videos
    assert video.qa == [QA("7", "?", "!", "multiple_choice", ["x", "!"], None, None, [[1.0, 2.0]])]


def test_broken_rows_of_a_csv(tmp_path: Path) -> None:
    lines = [
        b"\xef\xbb\xbfvideo,question , answer,t_start,options,extra",
        b"a.mp4,?,!,1,,x",
        b"b.mp4,?,!",
        b"b.mp4,?,!,1,,x,too many",
        b"",
        b'c.mp4,"two\nlines",!,0.5,"[""!""]",',
        b'd.mp4,"quoted" badly,!,1,,',
        b"caf\xe9.mp4,?,!,1,,",
        b"e.mp4,?,!,0:30,,",
        b"f.mp4,?,!,nan,,",
        b"g.mp4,?,!,1e999,,",
        b"h.mp4,?,!,1,A|B,",
        b"h.mp4,?,!,1,[[[,",
        b",?,!,1,,",
        b"i.mp4,?,!,2,,",
        b'j.mp4,"never closed,!,1,,',
        b"k.mp4,?,!,1,,",
    ]
    (tmp_path / "rows.csv").write_bytes(b"\r\n".join(lines))
    records = read(tmp_path / "rows.csv")
    assert [v.video_id for v in records.videos] == ["a.mp4", "c.mp4", "i.mp4"]
    assert [qa for v in records.videos for qa in v.qa] == [
        QA("rows-1", "?", "!", t_start=1.0),
        QA("rows-4", "two\nlines", "!", "multiple_choice", ["!"], 0.5),
        QA("rows-13", "?", "!", t_start=2.0),
    ]
    assert [(r.where, r.reason) for r in records.rejected] == [
        ("rows.csv:3", "bad_csv"),
        ("rows.csv:4", "bad_csv"),
        ("rows.csv:8", "bad_csv"),
        ("rows.csv:9", "not_utf8"),
        ("rows.csv:10", "bad_time"),
        ("rows.csv:11", "bad_time"),
        ("rows.csv:12", "bad_time"),
        ("rows.csv:13", "bad_field"),
        ("rows.csv:14", "bad_field"),
        ("rows.csv:15", "no_video"),
        ("rows.csv:17", "bad_csv"),
    ]


def test_a_quote_that_is_never_closed_costs_no_more_than_a_field_may_hold(tmp_path: Path) -> None:
    rows = ["video,caption", 'a.mp4,"never closed', *[f"{i:06}.mp4,{'x' * 1000}" for i in range(400)]]
    (tmp_path / "rows.csv").write_text("\n".join(rows))
    records = read(tmp_path / "rows.csv")
    assert 260 < len(records.videos) < 280
    assert records.videos[-1].video_id == "000399.mp4"
    assert [r.reason for r in records.rejected] == ["bad_csv"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no column named video among none"),
        (b"path,caption\na.mp4,x\n", "no column named video among path, caption"),
        (b"video,caption,caption\na.mp4,x,y\n", "the column caption occurs twice"),
        (b"video,caption\n", "the file is empty"),
        ("video,caption\na.mp4,x\n".encode("utf-16"), "UTF-16 text, expected UTF-8"),
        (b'"video"x\n', "the first line isn't CSV"),
        (b"\x00\x01\x02\xff" * 100, "no column named video"),
    ],
)
def test_csv_files_that_are_none(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "rows.csv").write_bytes(content)
    found = error_of(tmp_path / "rows.csv")
    assert message in found
    assert str(tmp_path / "rows.csv") in found


@pytest.fixture
def captions(tmp_path: Path) -> Path:
    """A Parquet file of 40 rows in 4 row groups, with checksums of its pages."""
    path = tmp_path / "rows.parquet"
    rows = [{"video": f"{i}.mp4", "caption": f"{i} " * 50} for i in range(40)]
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, path, row_group_size=10, compression="none", use_dictionary=False, write_page_checksum=True)
    return path


def test_a_damaged_row_group_costs_its_rows(captions: Path) -> None:
    column = pq.ParquetFile(captions).metadata.row_group(1).column(1)
    content = bytearray(captions.read_bytes())
    content[column.data_page_offset + column.total_compressed_size // 2] ^= 0xFF
    captions.write_bytes(content)
    records = read(captions)
    assert [v.video_id for v in records.videos] == [f"{i}.mp4" for i in (*range(10), *range(20, 40))]
    assert [(r.where, r.reason) for r in records.rejected] == [
        (f"rows.parquet[{row}]", "damaged_row_group") for row in range(11, 21)
    ]
    assert records.rows == 40


@pytest.mark.parametrize("damage", ["cut", "no footer", "text", "empty"])
def test_parquet_files_that_are_none(captions: Path, damage: str) -> None:
    whole = captions.read_bytes()
    captions.write_bytes(
        {"cut": whole[:-100], "no footer": whole[:1000], "text": b"video\na.mp4\n", "empty": b""}[damage]
    )
    assert f"source={captions} is damaged or no Parquet file" in error_of(captions)


def test_odd_types_in_parquet(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    names = pa.array([b"caf\xe9.mp4", b"b.mp4", b"c.mp4", b"d.mp4"]).cast(pa.binary()).view(pa.string())
    columns = {
        "video": names,
        "caption": pa.array(["x"] * 4),
        "t_start": pa.array([Decimal("1.5")] * 4),
        "t_end": pa.array([2.0, float("nan"), float("inf"), 1e6]),
        "image": pa.array([b"\xff\xd8" * 1000] * 4),
    }
    pq.write_table(pa.table(columns), path)
    records = read(path)
    assert [(v.video_id, v.qa) for v in records.videos] == [
        ("d.mp4", [QA("rows-4", "", "x", "caption", t_start=1.5, t_end=1e6)]),
    ]
    assert [(r.where, r.reason) for r in records.rejected] == [
        ("rows.parquet[1]", "not_utf8"),
        ("rows.parquet[2]", "bad_time"),
        ("rows.parquet[3]", "bad_time"),
    ]
    for odd in ([{"bytes": b"x"}], [[1]], [5], [None]):
        pq.write_table(pa.table({"video": pa.array(odd)}), path)
        assert "1 x no_video" in error_of(path)
    pq.write_table(pa.table({"image": ["a.jpg"]}), path)
    assert "no column named video among image" in error_of(path)


def test_a_column_of_whole_numbers_is_one_of_texts(tmp_path: Path) -> None:
    table = pa.table({"video": ["a.mp4"], "question": ["How many?"], "answer": pa.array([4], pa.int64())})
    pq.write_table(table, tmp_path / "rows.parquet")
    (tmp_path / "rows.csv").write_text("video,question,answer\na.mp4,How many?,4\n")
    for name in ("rows.parquet", "rows.csv"):
        assert [qa.answer for qa in read(tmp_path / name).videos[0].qa] == ["4"]
