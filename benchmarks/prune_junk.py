"""What pruning finds of the junk that is planted in a corpus of the tiny world.

    python -m recot.tiny_world --out CORPUS --videos 2000 --frames 64 --seed 2 --junk 0.4
    python benchmarks/prune_junk.py CORPUS [--out FILE] [pruning=strict scorers=tiny ...]

Runs ``data_pipelines/prune.py`` on CORPUS/corpus, with CORPUS/evaluation to be kept out, and judges its manifest by
CORPUS/truth. What is about a file is judged by video, what is about words by question. Writes FILE.md and FILE.json.
"""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from recot.atomic import write_file

REPO = Path(__file__).resolve().parents[1]
COPIES = ("exact_duplicate", "reencoded", "crop", "brightness", "mirror", "trimmed")
WORDS = ("wrong_text", "blind", "single_frame")
ONLY_QUESTIONS = ("blind", "single_frame")  # their videos and captions are good
# Reason code -> the kinds of junk that it is about.
ABOUT = {
    "duplicate_exact": COPIES,
    "duplicate_packets": COPIES,
    "duplicate_perceptual": COPIES,
    "duplicate_semantic": COPIES,
    "leaked_video": ("leaked",),
    "leaked_text": ("leaked",),
    "static": ("static", "black", "blank"),
    "dark": ("black", "blank"),
    "blank": ("black", "blank"),
    "blurred": ("black", "blank"),
    "too_few_frames": ("too_short",),
    "low_health": ("truncated", "corrupt"),
    "caption_irrelevant": ("wrong_text",),
    "irrelevant": ("wrong_text",),
    "blind": ("blind",),
    "single_frame": ("single_frame",),
    "one_frame_enough": ("single_frame",),
}
BROKEN = ("truncated", "corrupt")  # of every other reason that a file can't be decoded for


@dataclass(frozen=True)
class Score:
    """How well one thing is found."""

    name: str
    unit: str
    planted: int
    found: int
    flagged: int
    right: int
    junk: int

    @property
    def recall(self) -> float | None:
        """Found of what was planted."""
        return self.found / self.planted if self.planted else None

    @property
    def precision(self) -> float | None:
        """Right of what was flagged."""
        return self.right / self.flagged if self.flagged else None

    @property
    def precision_any(self) -> float | None:
        """Junk of whatever kind, of what was flagged."""
        return self.junk / self.flagged if self.flagged else None


def judge(rows: list[dict[str, Any]], labels: list[dict[str, Any]]) -> list[Score]:
    """Scores of each kind, of each group of reasons, and of keep or drop in all.

    Args:
        rows: the manifest's: ``sample_id``, ``video_id``, ``decision``, ``reason_codes``, ``dup_of``.
        labels: the corpus's ``labels.json``.
    """
    labels = [_with_roles(label, rows) for label in labels]
    kind_of_video = {label["video"]: label["kind"] for label in labels}
    kind_of_row = {row: label["kind"] for label in labels for row in label["sample_ids"]}
    lost: dict[str, bool] = {}
    reasons_of: dict[str, set[str]] = {}
    for row in rows:
        gone = row["decision"] != "keep" or row["dup_of"] is not None
        lost[row["video_id"]] = lost.get(row["video_id"], True) and gone
        reasons_of.setdefault(row["video_id"], set()).update(row["reason_codes"])
        if row["dup_of"] is not None:
            reasons_of[row["video_id"]].add("duplicate_exact")
    by_row = {row["sample_id"]: row["decision"] != "keep" for row in rows}
    scores = []
    for kind in sorted({label["kind"] for label in labels}):
        if kind in WORDS:
            own = [row for row, of in kind_of_row.items() if of == kind]
            scores.append(_score(kind, "questions", own, [row for row in own if by_row[row]], [], [], []))
        else:
            own = [video for video, of in kind_of_video.items() if of == kind]
            scores.append(_score(kind, "videos", own, [video for video in own if lost[video]], [], [], []))
    scores += _by_reason(rows, reasons_of, lost, kind_of_video, kind_of_row)
    # Questions of exact copies go to the video that stays: neither keeping nor dropping them is right or wrong.
    moved = {row["sample_id"] for row in rows if kind_of_video.get(row["video_id"]) == "exact_duplicate"}
    junk = set(kind_of_row) - moved
    dropped = {row for row, gone in by_row.items() if gone} - moved
    scores.append(_score("keep or drop", "questions", junk, junk & dropped, dropped, junk & dropped, junk & dropped))
    return scores


def _with_roles(label: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Of a video and its copy either may stay: where it is the copy, the other one is the junk."""
    original = label["of"]
    of_original = [row for row in rows if row["video_id"] == original]
    if label["kind"] not in COPIES or not any(row["dup_of"] == label["video"] for row in of_original):
        return label
    return {**label, "video": original, "sample_ids": [row["sample_id"] for row in of_original]}


def _by_reason(
    rows: list[dict[str, Any]],
    reasons_of: dict[str, set[str]],
    lost: dict[str, bool],
    kind_of_video: dict[str, str],
    kind_of_row: dict[str, str],
) -> list[Score]:
    """Precision: of all that has a reason which is about some kinds, how much is of these kinds."""
    groups: dict[tuple[str, ...], tuple[set[str], set[str], str]] = {}
    for row in rows:
        for reason in row["reason_codes"]:
            kinds = ABOUT.get(reason, BROKEN if row["key"] is None else None)
            if kinds is None:
                continue
            words = kinds[0] in WORDS
            flagged, right, _ = groups.setdefault(kinds, (set(), set(), "questions" if words else "videos"))
            name = row["sample_id"] if words else row["video_id"]
            flagged.add(name)
            kind = kind_of_row.get(row["sample_id"]) if words else kind_of_video.get(row["video_id"])
            if kind in kinds:
                right.add(name)
    bad_files = {video for video, kind in kind_of_video.items() if kind not in ONLY_QUESTIONS}
    return [
        _score(f"flagged as {', '.join(kinds)}", unit, [], [], flagged, right, flagged & (bad_files | set(kind_of_row)))
        for kinds, (flagged, right, unit) in sorted(groups.items())
    ]


def _score(
    name: str,
    unit: str,
    planted: Iterable[str],
    found: Iterable[str],
    flagged: Iterable[str],
    right: Iterable[str],
    junk: Iterable[str],
) -> Score:
    return Score(name, unit, *(len(list(values)) for values in (planted, found, flagged, right, junk)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--out", type=Path, default=REPO / "benchmarks/results/prune_junk")
    parser.add_argument("--scores", type=Path, help="folder of scores to use; default: a temporary one")
    parser.add_argument("overrides", nargs="*")
    arguments = parser.parse_intermixed_args()
    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch) / "out"
        command = [sys.executable, str(REPO / "data_pipelines/prune.py")]
        command += [f"source={arguments.corpus}/corpus/annotations.json", f"output={output}", "write_shards=false"]
        command += [f"evaluation_sets=[{arguments.corpus}/evaluation/annotations.json]"]
        command += [f"scores={arguments.scores or scratch + '/scores'}", *arguments.overrides]
        subprocess.run(command, check=True)
        columns = ["sample_id", "video_id", "key", "decision", "reason_codes", "dup_of"]
        rows = pq.read_table(output / "manifest.parquet", columns=columns).to_pylist()
        summary = json.loads((output / "summary.json").read_text())
    scores = judge(rows, json.loads((arguments.corpus / "truth/labels.json").read_text()))
    setting = {
        "command": " ".join(["python benchmarks/prune_junk.py", str(arguments.corpus), *arguments.overrides]),
        "hardware": f"{platform.machine()}",
        "versions": f"python {platform.python_version()}, daft {version('daft')}, av {version('av')}",
        "date": date.today().isoformat(),
    }
    found = {
        "setting": setting,
        "scores": [
            {**asdict(s), "recall": s.recall, "precision": s.precision, "precision_any": s.precision_any}
            for s in scores
        ],
    }
    found["summary"] = summary
    write_file(arguments.out.with_suffix(".json"), (json.dumps(found, indent=2) + "\n").encode())
    write_file(arguments.out.with_suffix(".md"), _table(setting, scores, summary).encode())
    print(_table(setting, scores, summary))


def _table(setting: dict[str, str], scores: list[Score], summary: dict[str, Any]) -> str:
    lines = ["# Planted junk that pruning finds", "", *(f"- {name}: {value}" for name, value in setting.items()), ""]
    lines += [
        "Recall is the share of what was planted that isn't kept, for whatever reason; precision the share of what is "
        "flagged for a group of reasons that is of its kinds, and `any junk` the share that is junk of whatever kind "
        "(the caption of a black video is wrong too). Files are judged by video, words by question. Of a video "
        "and its copy, either may stay. Questions of exact copies go to the video that stays, so they are no loss.",
        "",
        "| kind | unit | planted | recall | flagged | precision | any junk |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for s in scores:
        recall = "" if s.recall is None else f"{s.recall:.3f}"
        precision = "" if s.precision is None else f"{s.precision:.3f}"
        anything = "" if s.precision_any is None else f"{s.precision_any:.3f}"
        lines.append(
            f"| {s.name} | {s.unit} | {s.planted or ''} | {recall} | {s.flagged or ''} | {precision} | {anything} |"
        )
    reasons = ", ".join(f"{name} {count}" for name, count in summary["video_reasons"].items())
    lines += ["", f"Videos: {summary['videos']}. Reasons: {reasons}.", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
