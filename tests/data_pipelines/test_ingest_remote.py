"""Annotations, folders, tars and videos behind URLs: fsspec's memory, and a web server on this machine."""

import http.server
import io
import json
import os
import re
import resource
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_pipelines.ingest.fetch import local_copy
from data_pipelines.ingest.read import read_records
from data_pipelines.ingest.records import Records
from recot.errors import DataError, VideoError
from tests.data_pipelines.ingest_inputs import error_of

ROWS = [{"video": "v/a b.mp4", "caption": "A cat.", "id": "q"}, {"video": "v/gone.mp4", "question": "?", "answer": "!"}]


def read(source: str, scratch: Path, video_root: str | None = None) -> Records:
    return read_records(source, video_root=video_root, scratch=scratch)


def fetched(uri: str, scratch: Path, max_bytes: int = 1 << 20) -> bytes:
    with local_copy(uri, scratch, max_bytes=max_bytes) as path:
        assert path.suffix in (".mp4", "")
        return path.read_bytes()


def reason(uri: str, scratch: Path, max_bytes: int = 1 << 20) -> str:
    with pytest.raises(VideoError) as caught:
        fetched(uri, scratch, max_bytes)
    assert caught.value.source == uri
    assert not list(scratch.glob("*"))
    return caught.value.reason


def tar_of(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return file.getvalue()


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves files, and parts of files below ``ranges/``; ``broken/`` promises more than it sends."""

    def log_message(self, *arguments: Any) -> None:
        pass

    def end_headers(self) -> None:
        if "/ranges/" not in self.path:
            self.send_header("Accept-Ranges", "none")
        super().end_headers()

    def do_GET(self) -> None:
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if self.path == "/broken/a.mp4" or self.path == "/forbidden.mp4":
            self.send_response(200 if "broken" in self.path else 403)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"x" * (10 if "broken" in self.path else 1000))
        elif "/ranges/" in self.path and wanted:
            content = Path(self.translate_path(self.path)).read_bytes()
            start, end = int(wanted[1]), min(int(wanted[2]) + 1, len(content))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(content)}")
            self.send_header("Content-Length", str(end - start))
            self.end_headers()
            self.wfile.write(content[start:end])
        else:
            super().do_GET()

    def do_HEAD(self) -> None:
        if self.path in ("/broken/a.mp4", "/forbidden.mp4"):
            self.send_error(405)
        else:
            super().do_HEAD()


@pytest.fixture
def web(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The address of a server and the folder that it serves."""
    folder = tmp_path / "served"
    (folder / "v").mkdir(parents=True)
    (folder / "ranges").mkdir()
    (folder / "v" / "a b.mp4").write_bytes(b"video" * 1000)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", folder
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def memory() -> Iterator[Any]:
    system = fsspec.filesystem("memory")
    yield system
    system.rm("/", recursive=True)


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl", "rows.csv", "rows.parquet"])
def test_annotations_and_videos_on_a_web_server(web: tuple[str, Path], tmp_path: Path, name: str) -> None:
    address, folder = web
    if name == "rows.json":
        (folder / name).write_text(json.dumps(ROWS))
    elif name == "rows.jsonl":
        (folder / name).write_text("\n".join(map(json.dumps, ROWS)))
    elif name == "rows.csv":
        (folder / name).write_text("video,caption,id,question,answer\nv/a b.mp4,A cat.,q,,\nv/gone.mp4,,,?,!\n")
    else:
        pq.write_table(
            pa.Table.from_pylist([{**ROWS[1], **ROWS[0]}, {"id": None, **ROWS[1]}])
            .select(["video", "id"])
            .append_column("caption", pa.array(["A cat.", None]))
            .append_column("question", pa.array([None, "?"]))
            .append_column("answer", pa.array([None, "!"])),
            folder / name,
        )
    scratch = tmp_path / "scratch"
    records = read(f"{address}/{name}?version=3", scratch)
    here, gone = records.videos
    assert (here.video_id, here.uri, here.source) == ("v/a b.mp4", f"{address}/v/a%20b.mp4", "rows")
    assert [qa.sample_id for v in records.videos for qa in v.qa] == ["q", "rows-2"]
    assert (here.size, here.mtime_ns) == (None, None)
    assert not list(scratch.iterdir())
    assert fetched(here.uri, scratch) == b"video" * 1000
    assert reason(here.uri, scratch, max_bytes=4999) == "too_large_file"
    assert reason(gone.uri, scratch) == "not_found"


def test_a_server_that_fails_says_nothing_of_the_video(web: tuple[str, Path], tmp_path: Path) -> None:
    address, _ = web
    for uri in (f"{address}/broken/a.mp4", f"{address}/forbidden.mp4", "http://127.0.0.1:1/a.mp4", "nowhere://a.mp4"):
        assert reason(uri, tmp_path / "scratch") == "fetch_failed"


def test_a_folder_on_a_web_server(web: tuple[str, Path], tmp_path: Path) -> None:
    address, _ = web
    records = read(f"{address}/v/", tmp_path / "scratch")
    assert [(v.video_id, v.source) for v in records.videos] == [("a b.mp4", "v")]
    assert fetched(records.videos[0].uri, tmp_path / "scratch") == b"video" * 1000


def test_a_tar_on_a_web_server_is_read_in_parts(web: tuple[str, Path], tmp_path: Path) -> None:
    address, folder = web
    content = tar_of({"0.mp4": b"0" * 3000, "0.json": b'{"caption": "zero"}', "1.mp4": b"1" * 50})
    for name in ("ranges/a.tar", "a.tar"):
        (folder / name).write_bytes(content)
    os.utime(folder / "ranges" / "a.tar", (1_700_000_000, 1_700_000_000))
    records = read(f"{address}/ranges/a.tar", tmp_path / "scratch")
    assert [v.video_id for v in records.videos] == ["a.tar/0.mp4", "a.tar/1.mp4"]
    assert {(v.size, v.mtime_ns) for v in records.videos} == {(len(content), 1_700_000_000 * 10**9)}
    assert [fetched(v.uri, tmp_path / "scratch") for v in records.videos] == [b"0" * 3000, b"1" * 50]
    assert "1 x unreadable_tar" in error_of(f"{address}/a.tar")  # this server gives whole files only
    assert "1 x unreadable_tar" in error_of(f"{address}/none.tar")


def test_a_bucket(memory: Any, tmp_path: Path) -> None:
    memory.pipe(
        {
            "/bucket/x/2.mp4": b"two",
            "/bucket/1.webm": b"one",
            "/bucket/.hidden/3.mp4": b"x",
            "/bucket/notes.txt": b"x",
            "/bucket/rows.json": json.dumps([{"video": "x/2.mp4", "caption": "Two."}, {"video": "../no.mp4"}]).encode(),
        }
    )
    records = read("memory://bucket", tmp_path)
    assert [(v.video_id, v.size, v.source) for v in records.videos] == [
        ("1.webm", 3, "bucket"),
        ("x/2.mp4", 3, "bucket"),
    ]
    assert records.ignored_files == 2
    assert all(v.mtime_ns is not None for v in records.videos)
    (video,) = read("memory://bucket/rows.json", tmp_path / "scratch").videos
    assert fetched(video.uri, tmp_path / "scratch") == b"two"
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"video": "x/2.mp4"}\n{"video": "/etc/passwd"}\n')
    records = read(str(rows), tmp_path, video_root="memory://bucket/")
    assert fetched(records.videos[0].uri, tmp_path / "scratch") == b"two"
    assert [row.reason for row in records.rejected] == ["outside_root"]


def test_tars_in_a_bucket(memory: Any, tmp_path: Path) -> None:
    for i in range(3):
        memory.pipe(f"/tars/{i:02}.tar", tar_of({f"{i}.mp4": b"%d" % i}))
    for source in ("memory://tars", "memory://tars/{00..02}.tar", "memory://tars/*.tar"):
        videos = read(source, tmp_path).videos
        assert [v.video_id for v in videos] == [f"{i:02}.tar/{i}.mp4" for i in range(3)]
        assert {v.source for v in videos} == {"tars"}
        assert [fetched(v.uri, tmp_path) for v in videos] == [b"0", b"1", b"2"]
    video = videos[0]
    memory.pipe("/tars/00.tar", b"shorter now")
    assert reason(video.uri, tmp_path / "scratch") == "fetch_failed"
    memory.rm("/tars/00.tar")
    assert reason(video.uri, tmp_path / "scratch") == "not_found"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("memory://nothing", "there is no such file or folder"),
        ("memory://nothing/*.tar", "matches no file"),
        ("nowhere://x/rows.json", "source=nowhere://x/rows.json"),
        ("s3://user:secret@bucket/rows.json", "password"),
        ("http://127.0.0.1:1/rows.json", "fetch_failed"),
        ("http://127.0.0.1:1/videos/", "can't be listed"),
    ],
)
def test_sources_that_are_not_there(tmp_path: Path, source: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        read(source, tmp_path)
    found = str(caught.value)
    assert message in found
    assert "secret" not in found


@pytest.fixture
def small_files() -> Iterator[None]:
    """This process can't write more than 50 kB into a file, as on a disk that is full then."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_not_the_videos_fault(memory: Any, tmp_path: Path, small_files: None) -> None:
    memory.pipe("/v/a.mp4", b"x" * 100_000)
    with pytest.raises(DataError, match="can't be written there"):
        fetched("memory://v/a.mp4", tmp_path)
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match="can't be written there"):
        fetched("memory://v/a.mp4", tmp_path / "file" / "scratch")
