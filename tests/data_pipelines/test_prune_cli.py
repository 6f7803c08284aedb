"""``python data_pipelines/prune.py`` as a user runs it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from recot.data.shards import ShardFolder
from recot.video_io import decode, probe
from tests.conftest import REPO

PRUNE = [sys.executable, str(REPO / "data_pipelines" / "prune.py")]


ARGUMENTS = ["source=clips", "val_fraction=0.3", "workers=1"]


def run(cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*PRUNE, *arguments], cwd=cwd, capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, clip_bytes: list[bytes]) -> Path:
    """A folder with ``clips``, 36 videos of which six differ, and what an unbroken run of ``ARGUMENTS`` left there."""
    folder = tmp_path_factory.mktemp("finished")
    for i in range(36):
        path = folder / "clips" / f"{i % 3}" / f"{i:02}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(clip_bytes[i % 6])
    done = run(folder, *ARGUMENTS, "output=deep/er/out")
    assert done.returncode == 0, done.stderr
    assert "media" in done.stderr
    for said in ("videos", "train shards (4 videos): deep/er/out/train", "val shards (2 videos)", "audit.parquet"):
        assert said in done.stdout
    return folder


def test_relative_paths_and_no_litter(finished: Path) -> None:
    assert sorted(p.name for p in finished.iterdir()) == ["clips", "deep", "outputs"]
    output = finished / "deep" / "er" / "out"
    assert sorted(p.name for p in output.iterdir()) == [
        *("audit.parquet", "manifest.parquet", "report.html", "summary.json", "timings.json", "train", "val"),
    ]
    assert [p.name for p in output.parent.iterdir()] == ["out"]
    assert len(ShardFolder(output / "train")) == 4
    again = run(finished, *ARGUMENTS, "output=deep/er/out")
    assert again.returncode == 0
    assert "Nothing to do" in again.stdout


def test_output_and_scores_within_the_source(clips: Path) -> None:
    """What a run writes there is no part of its input, nor are files that aren't read."""
    for said in ("6       6", "Nothing to do"):
        done = run(clips, "source=.", "output=pruned", "workers=1")
        assert done.returncode == 0, done.stderr
        assert said in done.stdout
        assert "files ignored" not in done.stdout
        (clips / "notes.txt").write_text("look at b/3 again")
    sweep = run(clips, "source=.", "output=a/other", "workers=1")
    assert sweep.returncode == 0, sweep.stderr
    assert "files ignored, no video by extension" in sweep.stdout  # the notes, and those of the first output


def test_a_sweep_of_thresholds_measures_nothing_again(finished: Path, tmp_path: Path) -> None:
    """The six videos have 6 to 16 frames; a policy that keeps nothing doesn't end the sweep."""
    scores = {path: path.stat().st_mtime_ns for path in (finished / "outputs").rglob("*.parquet")}
    assert len(scores) == 36
    outputs = f"output={tmp_path}/${{hydra:job.num}}"
    sweep = ["pruning.policy.rules.too_few_frames.min=4,10,1000", "write_shards=false"]
    done = run(finished, "-m", *ARGUMENTS, outputs, *sweep)
    assert done.returncode == 0, done.stderr
    found = [json.loads((tmp_path / str(job) / "summary.json").read_text()) for job in range(3)]
    assert [summary["videos"]["kept"] for summary in found] == [6, 4, 0]
    assert [summary["video_reasons"].get("too_few_frames", 0) for summary in found] == [0, 12, 36]
    assert all((tmp_path / str(job) / "report.html").is_file() for job in range(3))
    assert {path: path.stat().st_mtime_ns for path in (finished / "outputs").rglob("*.parquet")} == scores
    assert sorted(p.name for p in finished.iterdir()) == ["clips", "deep", "outputs"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["output=out"], "source is missing: give source=<path>"),
        (["source=clips"], "output is missing: give output=<path>"),
        (["source=nowhere", "output=out"], "nowhere: there is no such file or folder"),
        (["source=images", "output=out"], "recot compresses videos"),
        (["source=clips", "output=out", "+surprise=1"], "surprise: "),
    ],
)
def test_user_errors_are_one_paragraph(clips: Path, tmp_path: Path, arguments: list[str], said: str) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(b"x")
    done = run(tmp_path, *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert not (tmp_path / "out").exists()


def test_an_unknown_key_is_refused(clips: Path, tmp_path: Path) -> None:
    done = run(tmp_path, "source=clips", "output=out", "wrokers=2")
    assert done.returncode == 1
    assert "Key 'wrokers' is not in struct" in done.stderr
    assert "Traceback" not in done.stderr


KILLED_WHILE_WRITING = """
import os, runpy, signal, sys
import data_pipelines.pipeline as pipeline
pipeline.write_tables = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # the shards are there already
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_a_run_that_is_broken_off_in_any_way_ends_in_the_same_bytes(finished: Path, tmp_path: Path) -> None:
    scores, output = tmp_path / "scores", tmp_path / "out"
    arguments = [*ARGUMENTS, f"scores={scores}", f"output={output}"]

    def broken_off(break_off: Callable[[subprocess.Popen[bytes]], None]) -> tuple[int, str]:
        """Status and messages of a run to which this happens after four more videos; nothing must be there then."""
        before = len(list(scores.glob("media/*/*")))
        process = subprocess.Popen(
            [*PRUNE, *arguments],
            cwd=finished,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored where tests run in background
        )
        while len(list(scores.glob("media/*/*"))) < before + 4:
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        break_off(process)
        said = process.communicate(timeout=300)[0].decode()
        assert not output.exists()
        return process.returncode, said

    status, _ = broken_off(lambda process: process.kill())
    assert status == -signal.SIGKILL
    status, said = broken_off(lambda process: os.kill(worker_of(process.pid), signal.SIGKILL))
    assert (status, "A worker of stage media ended" in said) == (2, True), said
    status, said = broken_off(lambda process: process.send_signal(signal.SIGINT))
    assert (status, "Traceback" in said) == (130, False), said
    code = [sys.executable, "-c", KILLED_WHILE_WRITING, *PRUNE[1:], *arguments]
    writing = subprocess.run(code, cwd=finished, env={**os.environ, "PYTHONPATH": str(REPO)}, capture_output=True)
    assert writing.returncode == -signal.SIGKILL, writing.stderr
    assert not output.exists()

    last = run(finished, *arguments)
    assert last.returncode == 0, last.stderr
    assert files(output) == files(finished / "deep" / "er" / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "scores"]


def test_a_decoding_process_that_the_kernel_kills_loses_no_video(finished: Path, tmp_path: Path) -> None:
    """It need not be the fault of its video that memory ran out."""
    scores, output = tmp_path / "scores", tmp_path / "out"
    command = [*PRUNE, *ARGUMENTS, f"scores={scores}", f"output={output}"]
    process = subprocess.Popen(command, cwd=finished, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while len(list(scores.glob("media/*/*"))) < 4:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    os.kill(child_of(worker_of(process.pid), b"spawn_main"), signal.SIGKILL)
    said = process.communicate(timeout=300)[1]
    assert process.returncode == 0, said
    assert files(output) == files(finished / "deep" / "er" / "out")


def worker_of(driver: int) -> int:
    """The process that Daft started to run a stage."""
    return child_of(driver, b"udf_worker")


def child_of(process: int, mark: bytes) -> int:
    """The child of a process that has ``mark`` in its command line."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == process and mark in (path / "cmdline").read_bytes():
                return int(path.name)
        except OSError:
            continue
    raise AssertionError("there is no such child")


def files(output: Path) -> dict[str, bytes]:
    """All but the two that tell how long it took."""
    paths = (p for p in output.rglob("*") if p.is_file() and p.name not in ("report.html", "timings.json"))
    return {p.relative_to(output).as_posix(): p.read_bytes() for p in paths}


def test_two_runs_into_one_output(clips: Path, tmp_path: Path) -> None:
    both = [
        subprocess.Popen([*PRUNE, "source=clips", "output=out"], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    errors = [process.communicate(timeout=300)[1] for process in both]
    codes = [process.returncode for process in both]
    assert sorted(codes) in ([0, 2], [0, 0])  # [0, 0] if the second one started after the first was done
    assert all("Another process is writing" in error for error, code in zip(errors, codes, strict=True) if code), errors
    assert len(ShardFolder(tmp_path / "out" / "train")) == 6


def test_neither_driver_nor_children_import_torch() -> None:
    """Children import the entry and the module of the function that they run; nor does the driver, to decide."""
    modules = "data_pipelines.prune, data_pipelines.media_stage, data_pipelines.pipeline"
    script = f"import sys, {modules}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True, cwd=REPO)


# Reasons that follow from how each file of broken/ was made, whatever the decoder.
EXPECTED = {
    "chrome_no_streams.webm": {"unreadable_container", "no_video_stream"},
    "d_hls_playlist.mp4": {"unreadable_container"},
    "d_huge_vp8_16383.webm": {"too_large"},
    "d_text.mp4": {"unreadable_container"},
    "d_truncated_half_moovlast.mp4": {"unreadable_container"},
    "d_zero.mp4": {"empty_file"},
    "decord_corrupted.mp4": {"low_health"},
    "media3_ac4_unknown_codec.mp4": {"no_video_stream"},
    "media3_audio_only_15s.mp4": {"no_video_stream"},
    "media3_clearkey_encrypted.mp4": {"encrypted"},
    "media3_full_blocks_subs_only.mkv": {"no_video_stream"},
    "media3_invalid_nalu.mp4": {"low_health"},
    "media3_long_4k_av1_bomb.mp4": {"timeout"},
    "media3_long_editlist_audioonly.mp4": {"no_video_stream"},
    "media3_text_only.mp4": {"no_video_stream"},
    "moviepy_zero_byte.webm": {"empty_file"},
}
GOOD = ["intel_asl_night.mkv", "mdn_flower.webm", "media3_sample_av1.mp4", "media3_sample_birds.avi", "exo_desks.3gp"]


HEALTHY = ["pruning=none", "+pruning.policy.rules.low_health={signal: health, min: 0.95, source: ours}"]


def test_real_clips_and_broken_files(shared_dir: Path, tmp_path: Path) -> None:
    videos = shared_dir / "videos"
    broken = [entry["file"] for entry in json.loads((videos / "broken" / "manifest.json").read_text())]
    rows = [{"id": n, "video": n, "question": "What is shown?", "answer": "People and things."} for n in GOOD]
    rows += [
        {"id": n, "video": f"broken/{n}", "question": "What is shown?", "answer": "People and things."} for n in broken
    ]
    source = tmp_path / "rows.json"
    source.write_text(json.dumps(rows))
    done = run(tmp_path, f"source={source}", f"video_root={videos}", "output=out", "limits.timeout_s=4", *HEALTHY)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr

    reasons: dict[str, set[str]] = {}
    seen = set()
    for row in pq.read_table(tmp_path / "out" / "audit.parquet").to_pylist():
        if row["sample_id"] not in {asked["video"] for asked in rows}:
            continue  # what was checked of questions
        seen.add(row["sample_id"])
        if row["verdict"] == "drop":
            reasons.setdefault(row["sample_id"].removeprefix("broken/"), set()).add(row["reason_code"])
    assert seen == {row["video"] for row in rows}
    for name, expected in EXPECTED.items():
        assert reasons.get(name, set()) & expected, (name, reasons.get(name))
    assert not set(GOOD) & set(reasons)

    shards = ShardFolder(tmp_path / "out" / "train")
    kept = {shards.sample(i).video_id: i for i in range(len(shards))}
    assert len(kept) == len(rows) - len(reasons)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["videos"] == {"input": len(rows), "kept": len(kept), "dropped": len(reasons), "quarantined": 0}
    for name, i in kept.items():
        assert shards.payload(i) == (videos / name).read_bytes()
        sample = shards.sample(i)
        good = sorted(set(range(sample.media.frames)) - set(sample.media.missing_frames))
        some = [good[0], good[len(good) // 2]]
        frames = decode(shards.payload(i), some, (28, 28)).frames
        assert frames.shape == (2, 28, 28, 3)
        assert probe(shards.payload(i)).frames == shards.columns["frames"][i]


def test_make_prune_data_passes_arguments_on() -> None:
    done = subprocess.run(
        ["make", "--no-print-directory", "-n", "-o", "setup", "prune-data", "ARGS=source=a output=b"],
        cwd=REPO,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "MAKEFLAGS": ""},
    )
    assert done.stdout.strip().endswith("python data_pipelines/prune.py source=a output=b")
