"""Tables of videos, questions and decisions into shards, manifest and audit: nothing lost, equal input, equal bytes."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipelines.audit import AUDIT_SCHEMA, write_audit
from data_pipelines.ingest.locations import file_uri
from data_pipelines.ingest.records import RejectedRow
from data_pipelines.manifest import PLACES, Counts, count, write_manifest
from data_pipelines.parquet_file import ROWS_PER_GROUP, write_parquet
from data_pipelines.writing import (
    Kept,
    KeptVideo,
    explain_full_disk,
    kept_videos,
    original_payload,
    split,
    write_split,
)
from recot.data.schema import content_key
from recot.data.shards import ShardFolder
from recot.errors import DataError
from tests.conftest import REPO

LIST = pa.list_(pa.string())
DECISIONS = pa.schema(
    [
        *(("decision", pa.string()), ("reason_codes", LIST), ("dup_of", pa.string())),
        *(("stratum", pa.string()), ("rank", pa.int64())),
    ]
)
VIDEO = {
    **{"source": "clips", "licence": "CC0-1.0", "extension": "mp4", "container": "mov,mp4", "codec": "h264"},
    **{"width": 64, "height": 48, "fps": 10.0, "is_vfr": False, "media_duration_s": 1.2, "media_frames": 12},
    **{"rotation": 0, "missing_frames": [3], "health": 0.9, "health_status": "ok", "static": None},
    **{"static_status": "na", "frames": 11.0, "frames_status": "ok", "hashes": [1, 2]},
}
QUESTION = {
    **{"task_type": "open", "question": "How?", "answer": "So.", "options": [], "t_start": None, "t_end": None},
    **{"evidence": [[0.5, 1.0]], "blind_right": 0.25, "blind_right_status": "ok"},
}


def content(name: str) -> bytes:
    """Bytes of a file that nobody decodes here."""
    return f"the bytes of {name}".encode() * 30


def tables(
    folder: Path, videos: list[dict[str, Any]], samples: list[dict[str, Any]]
) -> tuple[pa.Table, pa.Table, pa.Table, pa.Table]:
    """Videos, samples and their decisions; what a row doesn't say is as in ``VIDEO`` and ``QUESTION``.

    ``decision`` is keep unless there are ``reasons``; ``copies`` names the video whose content a video has.
    """
    films, texts, decided = [], [], {}
    for video in videos:
        name = video["id"]
        data = content(video.get("copies", name))
        (folder / name).write_bytes(data)
        uri = file_uri(folder / name)
        changes = {key: value for key, value in video.items() if key in VIDEO or key == "key"}
        films.append({**VIDEO, "video_id": name, "uri": uri, "source_uri": uri, "key": content_key(data), **changes})
    for sample in samples:
        changes = {key: value for key, value in sample.items() if key in QUESTION}
        texts.append({**QUESTION, "sample_id": sample["id"], "video_id": sample["video"], **changes})
    for kind, rows in (("videos", videos), ("samples", samples)):
        decided[kind] = [
            {
                "decision": row.get("decision", "drop" if row.get("reasons") else "keep"),
                "reason_codes": row.get("reasons", []),
                "dup_of": row.get("dup_of"),
                "stratum": row.get("stratum"),
                "rank": row.get("rank"),
            }
            for row in rows
        ]
    return (
        pa.Table.from_pylist(films),
        pa.Table.from_pylist(texts),
        pa.Table.from_pylist(decided["videos"], schema=DECISIONS),
        pa.Table.from_pylist(decided["samples"], schema=DECISIONS),
    )


def write(target: Path, kept: Kept, members: np.ndarray, read: Callable[[KeptVideo], tuple[bytes, str]]) -> pa.Table:
    settings = {"config_hash": "c0ffee", "max_samples": 2, "max_bytes": 2**20, "fps": 1.0, "tokens_per_group": 9}
    return write_split(target, kept, members, read, **settings)


def from_disk(scratch: Path) -> Callable[[KeptVideo], tuple[bytes, str]]:
    return lambda video: original_payload(video, scratch=scratch, max_bytes=2**20)


def run(folder: Path, output: Path, videos: Any, samples: Any, val_fraction: float = 0.0) -> tuple[list, Counts]:
    """Shards and manifest of hand-made tables; the manifest's rows."""
    output.mkdir()
    folder.mkdir(exist_ok=True)
    films, texts, decided_films, decided_texts = tables(folder, videos, samples)
    kept = kept_videos(films, texts, decided_films, decided_texts)
    places = [
        write(output / name, kept, members, from_disk(output / "scratch"))
        for name, members in split(kept.keys, val_fraction).items()
    ]
    counts = write_manifest(
        output,
        videos=films,
        samples=texts,
        decided_videos=decided_films,
        decided_samples=decided_texts,
        places=pa.concat_tables(places),
        config_hash="c0ffee",
    )
    table = pq.read_table(output / "manifest.parquet")
    assert table.schema.metadata[b"config_hash"] == b"c0ffee"
    return table.to_pylist(), counts


CORPUS: tuple[list[dict[str, Any]], list[dict[str, Any]]] = (
    [
        {"id": "copy.mp4", "copies": "good.mp4", "reasons": ["duplicate_exact"], "dup_of": "good.mp4"},
        {"id": "dark.mp4", "reasons": ["dark", "blur"]},
        {"id": "bare.mp4", "stratum": "clips/bare", "rank": 0},
        {"id": "good.mp4", "media_frames": 60, "missing_frames": []},
        {"id": "gone.mp4", "decision": "quarantine", "reasons": ["fetch_failed"], "key": None, "container": None},
        {"id": "last.mp4"},
    ],
    [
        {"id": "q0", "video": "copy.mp4", "dup_of": "good.mp4", "stratum": "s", "rank": 4},
        {"id": "q1", "video": "good.mp4", "options": ["a", "b"], "t_start": 0.5, "t_end": 1.0},
        {"id": "q2", "video": "dark.mp4", "reasons": ["dark", "blur", "too_long"]},
        {"id": "q3", "video": "last.mp4"},
        {"id": "q4", "video": "good.mp4", "reasons": ["blind_answerable"]},
        {"id": "q5", "video": "good.mp4"},
        {"id": "q6", "video": "gone.mp4", "decision": "quarantine", "reasons": ["fetch_failed"]},
    ],
)


def test_shards_and_manifest_agree(tmp_path: Path) -> None:
    rows, counts = run(tmp_path / "clips", tmp_path / "out", *CORPUS)
    assert [(row["video_id"], row["sample_id"]) for row in rows] == [
        ("copy.mp4", "q0"),
        ("dark.mp4", "q2"),
        ("bare.mp4", None),
        *(("good.mp4", f"q{i}") for i in (1, 4, 5)),
        ("gone.mp4", "q6"),
        ("last.mp4", "q3"),
    ]
    assert counts == Counts(input=8, kept=5, dropped=2, quarantined=1)
    by_id = {row["sample_id"]: row for row in rows}
    assert by_id["q2"]["reason_codes"] == ["dark", "blur", "too_long"]
    assert (by_id["q2"]["shard"], by_id["q2"]["split"], by_id["q2"]["shard_row"]) == (None, None, None)
    assert (by_id["q6"]["key"], by_id["q6"]["decision"]) == (None, "quarantine")
    assert by_id["q0"]["dup_of"] == "good.mp4"
    assert (by_id["q0"]["stratum"], by_id["q0"]["rank"]) == ("s", 4)
    assert (by_id[None]["stratum"], by_id[None]["rank"], by_id[None]["blind_right"]) == ("clips/bare", 0, None)
    good = by_id["q1"]
    assert (good["health"], good["health_status"], good["static"], good["static_status"]) == (0.9, "ok", None, "na")
    assert (good["blind_right"], good["frames"], good["media_frames"], good["licence"]) == (0.25, 11.0, 60, "CC0-1.0")
    assert (good["cluster_id"], good["leak_text"]) == (None, None)
    assert "hashes" not in good

    shards = ShardFolder(tmp_path / "out" / "train")
    for row in rows:
        if row["decision"] == "keep":
            in_shard = np.flatnonzero(shards.columns["shard"] == row["shard"])
            sample = shards.sample(int(in_shard[row["shard_row"]]))
            home = row["dup_of"] or row["video_id"]
            assert (row["split"], sample.video_id) == ("train", home)
            assert row["sample_id"] is None or row["sample_id"] in [qa.sample_id for qa in sample.qa]
    assert [shards.sample(i).video_id for i in range(3)] == ["bare.mp4", "good.mp4", "last.mp4"]
    assert [[qa.sample_id for qa in shards.sample(i).qa] for i in range(3)] == [[], ["q1", "q5", "q0"], ["q3"]]
    assert [shards.payload(i) for i in range(3)] == [content(n) for n in ("bare.mp4", "good.mp4", "last.mp4")]
    question = shards.sample(1).qa[0]
    assert (question.options, question.t_start, question.evidence) == (["a", "b"], 0.5, [[0.5, 1.0]])
    assert (shards.sample(0).media.frames, shards.sample(0).media.missing_frames) == (12, [3])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["manifest.parquet", "train"]


def test_validation_takes_the_smallest_keys_and_bytes_repeat(tmp_path: Path) -> None:
    for name in ("one", "two"):
        rows, _ = run(tmp_path / "clips", tmp_path / name, *CORPUS, val_fraction=0.34)
    keys = sorted(content_key(content(name)) for name in ("bare.mp4", "good.mp4", "last.mp4"))
    kept = [row for row in rows if row["decision"] == "keep"]
    assert {row["key"] for row in kept if row["split"] == "val"} == set(keys[:2])
    assert {row["key"] for row in kept if row["split"] == "train"} == {keys[2]}
    one, two = (
        {p.relative_to(o): p.read_bytes() for p in o.rglob("*") if p.is_file()}
        for o in (tmp_path / "one", tmp_path / "two")
    )
    assert one == two
    with pytest.raises(DataError, match="leaves none to train"):
        split(keys, 0.99)


# --- nothing is lost


def decisions(*rows: tuple[str, list[str]]) -> pa.Table:
    data = {"decision": [row[0] for row in rows], "reason_codes": pa.array([row[1] for row in rows], LIST)}
    return pa.table(data)


def test_every_decision_is_counted() -> None:
    table = decisions(("keep", []), ("drop", ["a"]), ("drop", ["a", "b"]), ("quarantine", ["c"]))
    assert count(table, 4) == Counts(input=4, kept=1, dropped=2, quarantined=1)
    for broken, expected, message in (
        (table, 5, "lost count: 5 in"),
        (decisions(("keep", []), ("perhaps", ["a"])), 2, "lost count"),
        (decisions(("keep", []), (None, [])), 2, "lost count"),  # type: ignore[arg-type]
        (decisions(("keep", ["a"]), ("drop", ["b"])), 2, "1 decisions contradict"),
        (decisions(("keep", []), ("quarantine", [])), 2, "1 decisions contradict"),
    ):
        with pytest.raises(RuntimeError, match=message):
            count(broken, expected)


def test_shards_must_hold_what_is_kept(tmp_path: Path) -> None:
    films, texts, decided_films, decided_texts = tables(tmp_path, *CORPUS)
    common = {"videos": films, "samples": texts, "decided_videos": decided_films, "decided_samples": decided_texts}
    for keys, message in (([], "5 kept rows are in no shard"), ([*films["key"].drop_null().to_pylist()], "kept rows")):
        rows = [{"key": key, "split": "train", "shard": "shard-000000.tar", "shard_row": 0} for key in keys]
        places = pa.Table.from_pylist(rows, schema=PLACES)
        with pytest.raises(RuntimeError, match=message):
            write_manifest(tmp_path, **common, places=places, config_hash="")
    assert not (tmp_path / "manifest.parquet").exists()
    orphans = decided_films.set_column(0, "decision", pa.array(["drop"] * len(films)))
    with pytest.raises(RuntimeError, match="4 kept questions are of videos that aren't kept"):
        kept_videos(films, texts, orphans, decided_texts)


# --- what happens meanwhile


@pytest.mark.parametrize(("change", "message"), [("new", "has other content now"), ("gone", "can't be read any more")])
def test_a_video_that_changed_or_vanished(tmp_path: Path, change: str, message: str) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    kept = kept_videos(*tables(clips, *CORPUS))
    if change == "new":
        (clips / "last.mp4").write_bytes(b"something else")
    else:
        (clips / "last.mp4").unlink()
    with pytest.raises(DataError, match=f"last.mp4.*{message}"):
        write(tmp_path / "train", kept, np.arange(3), from_disk(tmp_path / "scratch"))
    assert [path.name for path in tmp_path.iterdir()] == ["clips"]


FULL_DISK = """
import resource, sys
from pathlib import Path
import numpy as np
from tests.data_pipelines.test_manifest import CORPUS, from_disk, kept_videos, tables, write
folder, limit = Path(sys.argv[1]), int(sys.argv[2])
kept = kept_videos(*tables(folder / "clips", *CORPUS))
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    write(folder / "out" / "train", kept, np.arange(3), from_disk(folder / "scratch"))
except Exception as error:
    print(type(error).__name__, error)
print("left:", list((folder / "out").iterdir()))
"""


@pytest.mark.parametrize("how", ["limit on files", "small disk"])
def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, how: str) -> None:
    for name in ("clips", "out"):
        (tmp_path / name).mkdir()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPO / "src"), str(REPO)])}
    command, why = [sys.executable, "-c", FULL_DISK, str(tmp_path), "4096"], "File too large"
    if how == "small disk":
        mounted = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o size=8k none "$0/out" && exec "$@"']
        command, why = [*mounted, str(tmp_path), *command[:-1], "0"], "No space left on device"
        if subprocess.run([*mounted, str(tmp_path), "true"], capture_output=True).returncode:
            pytest.skip("mounting a small disk isn't permitted here")
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPO, env=environment)
    assert done.stdout.startswith(f"DataError {tmp_path / 'out' / 'train'} can't be written: {why}. Nothing was left")
    assert done.stdout.endswith("left: []\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clips", "out"]


def test_only_a_full_disk_is_explained(tmp_path: Path) -> None:
    explained = pytest.raises(DataError, match=r"out can't be written: No space left on device.*Make room")
    with explained, explain_full_disk(tmp_path / "out"):
        write_parquet(tmp_path / "a.parquet", full_after_one(), pa.schema([("n", pa.int64())]), {})
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileNotFoundError), explain_full_disk(tmp_path):
        (tmp_path / "nothing").read_bytes()


def full_after_one() -> Any:
    yield pa.table({"n": [1]})
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


# --- audit


def verdicts(names: list[str], signal: str, words: bool) -> pa.Table:
    n = len(names)
    columns = {
        "sample_id": names,
        "stage": ["media"] * n,
        "signal": [signal] * n,
        "value": [i / 2 for i in range(n)],
        "threshold": [0.5] * n,
        "threshold_source": [f"pruning.policy.rules.{signal}.min"] * n,
        "verdict": ["drop"] + ["pass"] * (n - 1),
        "reason_code": [signal] + [None] * (n - 1),
        "error_class": pa.nulls(n, pa.string()),
        "config_hash": ["c0ffee"] * n,
        "detail": pa.nulls(n, pa.string()),
    }
    table = pa.table(columns, schema=AUDIT_SCHEMA)
    if not words:
        return table
    at = AUDIT_SCHEMA.get_field_index("signal")
    return table.set_column(at, "signal", table["signal"].dictionary_encode())


def test_audit_holds_every_check_and_every_rejected_row(tmp_path: Path) -> None:
    rejected = [RejectedRow("a.jsonl:3", "not_json", "the line is not JSON"), RejectedRow("a.jsonl:9", "bad_text", "")]
    names = ["one", "two", "three"]
    given = [verdicts(names, "dark", words=True), verdicts(names, "blur", words=True)]
    assert write_audit(tmp_path, iter(given), rejected, "c0ffee") == 8
    table = pq.read_table(tmp_path / "audit.parquet")
    assert table.schema.equals(AUDIT_SCHEMA)
    rows = table.to_pylist()
    assert [(r["sample_id"], r["signal"], r["verdict"], r["reason_code"]) for r in rows] == [
        ("a.jsonl:3", "annotation_row", "drop", "not_json"),
        ("a.jsonl:9", "annotation_row", "drop", "bad_text"),
        *((n, s, "drop" if n == "one" else "pass", s if n == "one" else None) for s in ("dark", "blur") for n in names),
    ]
    assert {r["config_hash"] for r in rows} == {"c0ffee"}
    assert "elapsed_ms" not in table.schema.names


@given(st.lists(st.integers(1, ROWS_PER_GROUP), min_size=1, max_size=4))
@settings(max_examples=8, deadline=None)
def test_how_rows_are_cut_into_tables_changes_no_byte(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    schema = pa.schema([("n", pa.int64()), ("word", pa.string())])
    n = np.arange(ROWS_PER_GROUP + 5000)
    whole = pa.table({"n": n, "word": [f"w{i % 7}" for i in n]}, schema=schema)
    edges = [0, *sorted({min(cut, len(n)) for cut in cuts}), len(n)]
    parts = [whole.slice(a, b - a) for a, b in pairwise(edges)]
    assert write_parquet(folder / "a", [whole], schema, {"x": "y"}) == len(n)
    assert write_parquet(folder / "b", iter(parts), schema, {"x": "y"}) == len(n)
    assert (folder / "a").read_bytes() == (folder / "b").read_bytes()
    file = pq.ParquetFile(folder / "a")
    assert [file.metadata.row_group(i).num_rows for i in range(2)] == [ROWS_PER_GROUP, 5000]
    assert file.read().equals(whole)
