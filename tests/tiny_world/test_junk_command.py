"""A corpus with junk as a user makes it: what it shows to a pipeline, the same files again, refusals."""

import re
import signal
import subprocess
import sys
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from recot.tiny_world.__main__ import main
from tests.conftest import REPO
from tests.tiny_world.junk_corpus import ROWS, VIDEOS, Made, arguments, read


def test_nothing_but_videos_and_words_tells_what_is_junk(made: Made) -> None:
    for part, known in (("corpus", made.truth), ("evaluation", made.evaluated)):
        assert sorted(p.name for p in (made.folder / part).iterdir()) == ["annotations.json", "videos"]
        assert all(re.fullmatch(r"videos/[0-9a-f]{16}\.mp4", video) for video in known)
        rows = read(made.folder / part / "annotations.json")
        assert len({row["id"] for row in rows}) == len(rows)
        assert all(re.fullmatch(r"[0-9a-f]{16}", row["id"]) for row in rows)
        assert {frozenset(row) for row in rows} == {frozenset(rows[0])}
        assert {row["data_source"] for row in rows} == {"tiny_world"}
        assert set(Counter(row["video"] for row in rows).values()) == {ROWS}
        for video in known:
            forms = sorted((row["task_type"], len(row["options"])) for row in rows if row["video"] == video)
            tasks = [task for task, _ in forms if task != "caption"]
            assert forms == sorted([("caption", 0), *((t, n) for t in sorted(set(tasks)) for n in (0, 4))])
        assert {row["task_type"] for row in rows} <= {
            *("caption", "needle", "binding", "counting", "order", "grounding", "multi_hop")
        }
    places = {row["id"]: i / len(made.annotations) for i, row in enumerate(made.annotations)}
    junk = [places[i] for label in made.labels.values() for i in label["sample_ids"]]
    assert abs(np.mean(junk) - 0.5) < 0.05
    in_a_row = sum(a["video"] == b["video"] for a, b in pairwise(made.annotations))
    assert in_a_row < 0.1 * len(made.annotations)
    ranked = sorted(made.truth)
    assert abs(np.mean([ranked.index(video) for video in made.clean]) / VIDEOS - 0.5) < 0.4


def test_the_pruning_pipeline_reads_it_and_drops_what_is_broken(made: Made, tmp_path: Path) -> None:
    command = [sys.executable, str(REPO / "data_pipelines/prune.py"), f"source={made.folder}/corpus/annotations.json"]
    rules = "pruning.policy.rules"
    command += [f"output={tmp_path}/out", f"scores={tmp_path}/scores", "workers=1", "pruning=none"]
    command += [f"+{rules}.low_health={{signal: health, min: 0.95, source: ours}}"]
    command += [f"+{rules}.too_few_frames={{signal: frames, min: 4, source: ours}}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert read(tmp_path / "out" / "summary.json")["rows"]["dropped"] == 0
    audit = pq.read_table(tmp_path / "out" / "audit.parquet").to_pylist()
    dropped: dict[str, set[str]] = {}
    for row in audit:
        if row["reason_code"] and row["sample_id"] in made.truth:
            dropped.setdefault(row["sample_id"], set()).add(row["reason_code"])
    copies = {video for video, reasons in dropped.items() if reasons == {"duplicate_exact"}}
    by_content: dict[str, set[str]] = {}
    for video, truth in made.truth.items():
        by_content.setdefault(truth["sha256"], set()).add(video)
    assert sorted(len(same & copies) for same in by_content.values()) == sorted(len(s) - 1 for s in by_content.values())
    broken = {label["video"] for label in made.of_kind("truncated", "corrupt", "too_short")}
    assert set(dropped) - copies == broken


def test_the_same_seed_gives_the_same_files_also_after_a_kill(tmp_path: Path) -> None:
    main(arguments(tmp_path / "a"))
    wanted = arguments(tmp_path / "b")
    child = subprocess.Popen([sys.executable, "-m", "recot.tiny_world", *wanted], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    truths = tmp_path / ".b.partial" / "truth"
    while sum(1 for _ in truths.rglob("*.json")) < 8:
        assert child.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.002)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not (tmp_path / "b").exists()
    done = {p.name: p.stat().st_mtime_ns for p in truths.rglob("*.json")}
    main(wanted)
    kept = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "b" / "truth").rglob("*.json")}
    assert all(kept[name] == at for name, at in done.items())
    files = [sorted(p.relative_to(tmp_path / x) for p in (tmp_path / x).rglob("*")) for x in "ab"]
    assert files[0] == files[1]
    assert len(files[0]) > 50
    for path in files[0]:
        if (tmp_path / "a" / path).is_file():
            assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes(), path
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"junk": 0.95}, "junk=0.95"),
        ({"junk": -0.1}, "junk=-0.1"),
        ({"junk": "nan"}, "junk=nan"),
        ({"videos": 19}, "15 junk videos, but there are 16 kinds"),
        ({"junk": 0}, "0 junk videos"),
        ({"frames": 16}, "frames=16"),
        ({"split": "test"}, "split test"),
        ({"frames": 0}, "frames=0"),
        ({"out": "/proc/nowhere/made"}, "/proc/nowhere/made"),
    ],
)
def test_impossible_requests(
    tmp_path: Path, changes: dict[str, object], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments(tmp_path / "made", **changes))
    printed = capsys.readouterr()
    assert printed.out == ""
    assert named in printed.err
    assert len(printed.err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())
