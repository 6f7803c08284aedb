"""``benchmarks/prune_real_copies.py`` as a user runs it, on two short clips, and its judgement on made-up clusters."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks/prune_real_copies.py"
CLIPS = ("mdn_stream.mp4", "intel_asl_walk.mkv")


def test_copies_of_two_clips_are_found_and_the_clips_told_apart(shared_dir: Path, tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    for name in CLIPS:
        (clips / name).symlink_to((shared_dir / "videos" / name).resolve())
    out = tmp_path / "result"
    command = [sys.executable, str(BENCHMARK), str(clips), "--out", str(out), "--work", str(tmp_path / "work")]
    subprocess.run([*command, "workers=1"], check=True, stdout=subprocess.DEVNULL)
    found = json.loads(out.with_suffix(".json").read_text())
    assert found["clips"] == 2
    assert found["missed"] == {name: [] for name in ("reencoded", "cropped", "mirrored", "trimmed", "brightened")}
    assert found["false_merges"] == []
    assert len(list((tmp_path / "work/videos").iterdir())) == 12


def test_judgement_counts_missed_copies_and_false_merges() -> None:
    judge = runpy.run_path(str(BENCHMARK))["judge"]
    edits = ("reencoded", "cropped", "mirrored", "trimmed", "brightened")
    copies = {clip: [f"{edit}_{clip}" for edit in edits] for clip in ("a", "b", "mdn_flower.mp4", "mdn_flower.webm")}
    clusters = dict.fromkeys(["a", *copies["a"]], (0, ""))
    clusters |= dict.fromkeys(["b", *copies["b"]], (1, ""))
    flowers = ["mdn_flower.mp4", *copies["mdn_flower.mp4"], "mdn_flower.webm", *copies["mdn_flower.webm"]]
    clusters |= dict.fromkeys(flowers, (2, ""))
    right = judge(copies, clusters)
    assert right["false_merges"] == []
    assert not any(right["missed"].values())
    assert right["same_footage_found"] == [["mdn_flower.mp4", "mdn_flower.webm"]]
    wrong = judge(copies, clusters | {"cropped_a": (1, ""), "trimmed_b": (7, "")})
    assert wrong["false_merges"] == [["a", "b"]]
    assert wrong["missed"] == {"reencoded": [], "cropped": ["a"], "mirrored": [], "trimmed": ["b"], "brightened": []}
