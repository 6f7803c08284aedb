"""What is wrong with an input is counted, a full disk is said, and nothing is left half-written or elsewhere."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from data_pipelines.config import PruneConfig
from data_pipelines.pipeline import Models, prune
from recot.data.shards import ShardFolder
from tests.conftest import REPO
from tests.data_pipelines.conftest import mp4

MakeConfig = Callable[..., PruneConfig]
GOOD = {"question": "How?", "answer": "So."}


def test_every_kind_of_bad_annotation_is_counted_and_nothing_leaves_the_output(
    clips: Path, tmp_path: Path, make_config: MakeConfig
) -> None:
    outside = tmp_path / "outside.mp4"
    outside.write_bytes(mp4(seed=80))
    rows = [
        {"id": "same", "video": "a/0.mp4", **GOOD},
        {"id": "same", "video": "a/0.mp4", **GOOD},
        {"id": "../../up", "video": "a/1.mp4", "data_source": "../../up", "licence": "/etc/passwd", **GOOD},
        {"id": "/absolute", "video": str(clips / "a" / "2.mp4"), **GOOD},
        {"id": "no video", **GOOD},
        {"id": "no answer", "video": "a/0.mp4", "question": "How?"},
        {"id": "gone", "video": "a/gone.mp4", **GOOD},
        {"id": "dots", "video": "../outside.mp4", **GOOD},
        {"id": "away", "video": str(outside), **GOOD},
    ]
    source = tmp_path / "rows.json"
    source.write_text(json.dumps(rows))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    summary = prune(make_config(f"source={source}", f"video_root={clips}", f"output={tmp_path / 'out'}"), Models())
    assert summary.row_reasons == {"no_video": 1, "bad_text": 1, "outside_root": 2}
    assert summary.video_reasons == {"not_found": 1}
    assert (summary.rows.input, summary.rows.kept, summary.renamed_ids) == (9, 5, 1)
    shards = ShardFolder(tmp_path / "out" / "train")
    asked = {qa.sample_id for i in range(len(shards)) for qa in shards.sample(i).qa}
    assert asked == {"same", "same@2", "../../up", "/absolute"}
    audit = pq.read_table(tmp_path / "out" / "audit.parquet").to_pylist()
    told = {row["sample_id"]: row["reason_code"] for row in audit if row["stage"] == "read"}
    assert told == {
        "rows.json[5]": "no_video",
        "rows.json[6]": "bad_text",
        "rows.json[8]": "outside_root",
        "rows.json[9]": "outside_root",
    }
    assert {path: path.read_bytes() for path in before} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clips", "out", "outside.mp4", "rows.json", "scores"]


def test_a_disk_that_is_full_at_the_end_is_said_in_one_paragraph(
    clips: Path, tmp_path: Path, make_config: MakeConfig
) -> None:
    """The shards fit on it, what is written after them doesn't; then there is room, and nothing is measured anew."""
    small = tmp_path / "small"
    small.mkdir()
    config = make_config(f"source={clips}", f"output={small / 'first'}")
    prune(config, Models())
    shards = sum(path.stat().st_size for path in (small / "first" / "train").iterdir())
    (small / "first").rename(tmp_path / "first")
    mounted = ["unshare", "--mount", "sh", "-c", f'mount -t tmpfs -o size={shards + 16384} none "$0" && exec "$@"']
    if subprocess.run([*mounted, str(small), "true"], capture_output=True).returncode:
        pytest.skip("mounting a small disk isn't permitted here")
    command = [sys.executable, str(REPO / "data_pipelines" / "prune.py"), f"source={clips}", f"output={small / 'out'}"]
    command.append(f"scores={config.scores}")
    listed = [*mounted, str(small), "sh", "-c", '"$@"; echo "status $?"; ls -A "$0"', str(small), *command]
    done = subprocess.run(listed, capture_output=True, text=True, timeout=300)
    assert f"{small / 'out'} can't be written: No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == "status 2\n"
    before = {path: path.stat().st_mtime_ns for path in Path(config.scores).rglob("*.parquet")}
    prune(make_config(f"source={clips}", f"output={small / 'out'}"), Models())
    assert {path: path.stat().st_mtime_ns for path in Path(config.scores).rglob("*.parquet")} == before
    tars = [(folder / "train" / "shard-000000.tar").read_bytes() for folder in (tmp_path / "first", small / "out")]
    assert tars[0] == tars[1]
