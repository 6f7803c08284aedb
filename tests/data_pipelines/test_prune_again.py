"""The same command again: what failed for a passing reason, or is gone from the output, is made good."""

import http.server
import json
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from data_pipelines.config import PruneConfig
from data_pipelines.ingest.fetch import clear_copies, local_copy
from data_pipelines.ledger import Ledger, item_id
from data_pipelines.media import MediaSettings
from data_pipelines.media_rows import ROW_SCHEMA
from data_pipelines.media_stage import MediaWork
from data_pipelines.pipeline import Models, prune
from data_pipelines.scoring import Model
from data_pipelines.summary import Summary
from data_pipelines.supervised import Failure
from recot.data.schema import content_key
from recot.data.shards import ShardFolder
from recot.errors import DataError
from recot.video_io import VideoLimits
from tests.conftest import REPO
from tests.data_pipelines.conftest import mp4

MakeConfig = Callable[..., PruneConfig]


class Server:
    """A web server on this machine for the files of ``folder``; ``trouble`` is the status that a path is answered with.

    ``/stalls.mp4`` never comes to its end.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.trouble: dict[str, int] = {}
        self.closing = threading.Event()
        server = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *arguments: Any) -> None:
                pass

            def send_head(self) -> Any:
                if self.path in server.trouble:
                    self.send_error(server.trouble[self.path])
                    return None
                return super().send_head()

            def do_GET(self) -> None:
                if self.path != "/stalls.mp4":
                    return super().do_GET()
                self.send_response(200)
                self.send_header("Content-Length", "1000000")
                self.end_headers()
                self.wfile.write(bytes(1000))
                server.closing.wait()
                return None

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"


@pytest.fixture
def server(clips: Path) -> Iterator[Server]:
    made = Server(clips)
    thread = threading.Thread(target=made.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.closing.set()
    made.http.shutdown()
    thread.join()
    made.http.server_close()


NAMES = [f"{'a' if i < 3 else 'b'}/{i}.mp4" for i in range(6)]


def remote_rows(server: Server, tmp_path: Path) -> str:
    path = tmp_path / "rows.jsonl"
    rows = [{"video": f"{server.url}/{name}", "caption": "Noise all over the picture."} for name in NAMES]
    path.write_text("\n".join(map(json.dumps, rows)))
    return f"source={path}"


def run(config: PruneConfig) -> Summary:
    return prune(config, Models())


def contents(output: Path) -> list[bytes]:
    shards = ShardFolder(output / "train")
    return [shards.payload(i) for i in range(len(shards))]


def test_videos_that_a_server_does_not_give_are_set_aside_until_it_does(
    server: Server,
    clip_bytes: list[bytes],
    tmp_path: Path,
    make_config: MakeConfig,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "out"
    config = make_config(remote_rows(server, tmp_path), f"output={output}")
    server.trouble = {"/b/4.mp4": 503, "/a/1.mp4": 404}
    for _ in range(2):
        summary = run(config)
        assert vars(summary.videos) == {"input": 6, "kept": 4, "dropped": 1, "quarantined": 1}
        assert summary.video_reasons == {"not_found": 1, "fetch_failed": 1}
        assert contents(output) == [clip_bytes[i] for i in (0, 2, 3, 5)]
        assert (output / "report.html").is_file()
    assert "is made again: videos failed that may be all right by now" in capsys.readouterr().out
    server.trouble = {}
    assert run(config).videos.kept == 6
    assert contents(output) == clip_bytes
    capsys.readouterr()
    run(config)
    assert "Nothing to do" in capsys.readouterr().out


def test_an_evaluation_video_that_a_server_does_not_give_is_compared_once_it_does(
    server: Server, clips: Path, tmp_path: Path, make_config: MakeConfig
) -> None:
    sets = remote_rows(server, tmp_path).replace("source=", "evaluation_sets=[") + "]"
    config = make_config(f"source={clips}", sets, f"output={tmp_path / 'out'}", "write_shards=false")
    server.trouble = {"/b/4.mp4": 503}
    assert run(config).video_reasons == {"leaked_video": 5}
    server.trouble = {}
    assert run(config).video_reasons == {"leaked_video": 6}


@pytest.mark.parametrize("kind", ["original", "frames"])
def test_a_remote_video_that_was_replaced_is_measured_anew(
    server: Server, clips: Path, clip_bytes: list[bytes], tmp_path: Path, make_config: MakeConfig, kind: str
) -> None:
    media = [f"media.kind={kind}", "media.frame_size=[32,32]"]
    arguments = [remote_rows(server, tmp_path), f"output={tmp_path / 'out'}", *media]
    run(make_config(remote_rows(server, tmp_path), f"output={tmp_path / 'before'}", "write_shards=false"))
    new = mp4(seed=80)
    (clips / "a" / "1.mp4").write_bytes(new)
    with pytest.raises(DataError, match=r"a/1\.mp4 changed after it was inspected.*Run the same command again"):
        run(make_config(*arguments))
    assert not (tmp_path / "out").exists()
    assert run(make_config(*arguments)).videos.kept == 6
    expected = [clip_bytes[0], new, *clip_bytes[2:]]
    assert ShardFolder(tmp_path / "out" / "train").columns["key"].tolist() == [content_key(c) for c in expected]


@pytest.mark.parametrize("reason", ["unreadable_file", "exception"])
def test_failures_that_may_pass_are_not_for_good(
    clips: Path, tmp_path: Path, make_config: MakeConfig, reason: str
) -> None:
    config = make_config(f"source={clips}", f"output={tmp_path / 'out'}")
    run(make_config(f"source={clips}", f"output={tmp_path / 'before'}", "write_shards=false"))
    path = next((tmp_path / "scores" / "media").rglob("*.parquet"))
    item, _, config_hash = path.stem.partition("-")
    Ledger(tmp_path / "scores" / "media", config_hash, ROW_SCHEMA).write(item, Failure(reason, "OSError", "no rights"))
    summary = run(config)
    assert (summary.videos.kept, summary.video_reasons) == (5, {reason: 1})
    assert run(config).videos.kept == 6
    assert len(ShardFolder(tmp_path / "out" / "train")) == 6


class MoodyModel:
    """A language model that fails as long as there is no file ``path``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def letter_nll(self, prompts: list[str], letters: str) -> np.ndarray:
        raise AssertionError("no question has options")

    def reply_nll(self, prompt: str, reply: str) -> float:
        if not self.path.exists():
            raise RuntimeError("the GPU is busy")
        return float(len(prompt))


def test_exceptions_of_models_are_not_for_good(clips: Path, tmp_path: Path, make_config: MakeConfig) -> None:
    rows = [{"id": "q", "video": "a/0.mp4", "question": "What is it?", "answer": "It is noise."}]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    output, mood = tmp_path / "out", tmp_path / "good"
    models = Models(language_model=Model(partial(MoodyModel, mood), {"name": "moody"}))
    config = make_config(
        f"source={tmp_path / 'rows.json'}", f"video_root={clips}", f"output={output}", "overwrite=true", "pruning=none"
    )
    for status in ("error", "ok"):
        prune(config, models)
        assert pq.read_table(output / "manifest.parquet")["blind_margin_status"].to_pylist() == [status]
        mood.touch()


def test_a_disk_without_room_for_copies_ends_the_run(clips: Path, tmp_path: Path, make_config: MakeConfig) -> None:
    """It is no fault of the videos, so none of them is set aside for it."""
    with tarfile.open(tmp_path / "clips.tar", "w") as tar:
        for path in sorted(clips.rglob("*.mp4")):
            tar.add(path, path.name)
    (tmp_path / "scores").mkdir()
    (tmp_path / "scores" / "scratch").write_text("in the way")
    config = make_config(f"source={tmp_path / 'clips.tar'}", f"output={tmp_path / 'out'}")
    with pytest.raises(DataError, match=r"scratch: a copy of .* can't be written there.* Make room"):
        run(config)
    assert not list((tmp_path / "scores").rglob("*.parquet"))
    (tmp_path / "scores" / "scratch").unlink()
    assert run(config).videos.kept == 6


HOLD_A_COPY = """
import os, signal, sys
from pathlib import Path
from data_pipelines.ingest.fetch import local_copy
with local_copy(sys.argv[1], Path(sys.argv[2]), max_bytes=2**20):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_copies_of_killed_processes_are_cleared_and_no_others(server: Server, tmp_path: Path) -> None:
    uri, scratch = f"{server.url}/a/0.mp4", tmp_path / "scratch"
    clear_copies(scratch)  # not there yet
    with local_copy(uri, scratch, max_bytes=2**20) as ours:
        done = subprocess.run([sys.executable, "-c", HOLD_A_COPY, uri, scratch], cwd=REPO, capture_output=True)
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert len(list(scratch.iterdir())) == 2
        clear_copies(scratch)
        assert list(scratch.iterdir()) == [ours]
        assert ours.read_bytes() == (server.folder / "a" / "0.mp4").read_bytes()
    assert not list(scratch.iterdir())


def test_the_copy_of_a_child_that_is_ended_goes_at_once(server: Server, tmp_path: Path) -> None:
    """Else one run over many such videos fills the disk."""
    (server.folder / "stalls.mp4").write_bytes(bytes(1_000_000))
    scratch = tmp_path / "scratch"
    work = MediaWork(MediaSettings(32), VideoLimits(timeout_s=6), 2**20, 2**32, 8, scratch)
    uri = f"{server.url}/stalls.mp4"
    with work() as look:
        (outcome,) = look([{"id": item_id(uri), "uri": uri}])
    assert outcome.failure is not None
    assert outcome.failure.reason == "timeout"
    assert scratch.is_dir()
    assert not list(scratch.iterdir())


def test_an_output_with_a_part_gone_is_made_again(
    clips: Path, tmp_path: Path, make_config: MakeConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    config = make_config(f"source={clips}", f"output={output}", "val_fraction=0.3")
    run(config)
    before = written(output)

    def cut() -> None:
        shard = output / "val" / "shard-000000.tar"
        shard.write_bytes(shard.read_bytes()[:-512])

    parts = (lambda: shutil.rmtree(output / "train"), cut, (output / "manifest.parquet").unlink)
    for lose in parts:
        lose()
        run(config)
        assert "files of it are gone" in capsys.readouterr().out
        assert written(output) == before
    run(config)
    assert "Nothing to do" in capsys.readouterr().out


def test_overwrite_makes_what_is_there_again(clips: Path, tmp_path: Path, make_config: MakeConfig) -> None:
    output = tmp_path / "out"
    run(make_config(f"source={clips}", f"output={output}"))
    before = written(output)
    (output / "mine.txt").write_text("gone with the rest")
    run(make_config(f"source={clips}", f"output={output}", "overwrite=true"))
    assert not (output / "mine.txt").exists()
    assert written(output) == before


def written(output: Path) -> dict[str, bytes]:
    """All but the two files that tell how long it took."""
    paths = (p for p in output.rglob("*") if p.is_file() and p.name not in ("report.html", "timings.json"))
    return {p.relative_to(output).as_posix(): p.read_bytes() for p in paths}
