"""``python -m recot.tiny_world``: plain files whose ground truth belongs to their pixels, and refusals."""

import hashlib
import json
import resource
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import av
import matplotlib.image
import numpy as np
import pytest

from data_pipelines.ingest.locations import local_path
from data_pipelines.ingest.read import read_records
from recot.tiny_world.__main__ import main


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "recot.tiny_world", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def arguments(folder: Path, **changes: object) -> list[str]:
    wanted = {"out": folder, "videos": 3, "frames": 12, "seed": 2, **changes}
    return [f"--{name}={value}" for name, value in wanted.items()]


def test_videos_truth_annotations_and_contact_sheet(tmp_path: Path) -> None:
    out = tmp_path / "made"
    result = run(*arguments(out, size=96, fps=4))
    assert result.returncode == 0, result.stderr
    assert str(out) in result.stdout
    assert sorted(path.name for path in out.iterdir()) == ["annotations.json", "contact_sheet.png", "videos"]
    for i in range(3):
        video = out / f"videos/{i:06d}.mp4"
        truth = json.loads(video.with_suffix(".json").read_text())
        assert truth["video"] == video.name
        assert truth["sha256"] == hashlib.sha256(video.read_bytes()).hexdigest()
        with av.open(str(video)) as container:
            frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
        assert frames.shape == (12, 96, 96, 3)
        for event in truth["events"]:
            if event["kind"] == "sprite":
                left, top, right, bottom = event["box"]
                patch = frames[round(event["t0"] * 4), top:bottom, left:right].astype(int)
                near = np.abs(patch - event["attributes"]["rgb"]).max(axis=2) < 40
                assert near.mean() > 0.25, event
    sheet = matplotlib.image.imread(out / "contact_sheet.png")
    assert sheet.shape[0] > 300
    assert sheet[..., :3].std() > 0.05


def test_the_pruning_pipeline_reads_the_annotations_as_they_were_meant(tmp_path: Path) -> None:
    main(arguments(tmp_path / "made", videos=5))
    records = read_records(str(tmp_path / "made" / "annotations.json"), video_root=None, scratch=tmp_path)
    assert not records.rejected
    assert len(records.videos) == 5
    for record in records.videos:
        path = local_path(record.uri)
        assert path is not None
        assert path.is_file()
        assert record.source == "tiny_world"
        truth = json.loads(path.with_suffix(".json").read_text())
        assert [asdict(qa) for qa in record.qa] == truth["qa"]


def test_the_same_seed_gives_the_same_files(tmp_path: Path) -> None:
    assert run(*arguments(tmp_path / "a")).returncode == 0
    main(arguments(tmp_path / "b"))
    for path in sorted((tmp_path / "a").rglob("*.*")):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes(), path


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"frames": 0}, "frames=0"),
        ({"videos": 0}, "videos=0"),
        ({"videos": -2}, "videos=-2"),
        ({"size": 63}, "size=63"),
        ({"fps": 0}, "fps=0"),
        ({"out": "/proc/nowhere/made"}, "/proc/nowhere/made"),
        ({"out": "/dev/null/made"}, "/dev/null/made"),
    ],
)
def test_impossible_requests_end_with_status_2_and_one_paragraph(
    tmp_path: Path, changes: dict[str, object], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments(tmp_path / "made", **changes))
    printed = capsys.readouterr()
    assert printed.out == ""
    assert named in printed.err
    assert len(printed.err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_an_existing_folder_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    result = run(*arguments(tmp_path))
    assert result.returncode == 2
    assert "already exists" in result.stderr
    assert "Traceback" not in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_an_interrupted_render_goes_on_where_it_stopped(tmp_path: Path) -> None:
    wanted = arguments(tmp_path / "made", videos=120, frames=32)
    child = subprocess.Popen(
        [sys.executable, "-m", "recot.tiny_world", *wanted],
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored where tests run in the background
    )
    deadline = time.monotonic() + 60
    while sum(1 for _ in tmp_path.rglob("*.json")) < 5:
        assert child.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.002)
    child.send_signal(signal.SIGINT)
    said = child.communicate(timeout=60)[1]
    assert child.returncode == 130
    assert b"Traceback" not in said
    assert not (tmp_path / "made").exists()
    done = {p.name: p.stat().st_mtime_ns for p in tmp_path.rglob("*.mp4")}
    assert 5 <= len(done) < 120
    assert run(*wanted).returncode == 0
    made = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "made" / "videos").glob("*.mp4")}
    assert len(made) == 120
    kept = sum(made[name] == at for name, at in done.items())
    assert kept >= len(done) - 1  # the one whose truth was not written yet
    assert sorted(p.name for p in tmp_path.iterdir()) == ["made"]
    assert sorted(p.name for p in (tmp_path / "made").iterdir()) == ["annotations.json", "contact_sheet.png", "videos"]


def test_a_disk_without_room_leaves_no_half_file_and_the_next_call_goes_on(tmp_path: Path) -> None:
    wanted = arguments(tmp_path / "made", frames=64)

    def no_large_files() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    command = [sys.executable, "-B", "-m", "recot.tiny_world", *wanted]
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, preexec_fn=no_large_files
    )
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert str(tmp_path / "made") in result.stderr
    assert not (tmp_path / "made").exists()
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".mp4", ".json")]
    assert run(*wanted).returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made"]


def test_splits_have_no_video_in_common(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        main(arguments(tmp_path / split, split=split))
    keys = [json.loads(path.read_text())["sha256"] for path in tmp_path.rglob("00*.json")]
    assert len(set(keys)) == 9
