"""The whole road on small mp4s: what is kept, what is dropped and why, and that the output is whole or absent."""

import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pyarrow.parquet as pq
import pytest

from data_pipelines.audit import AUDIT_SCHEMA
from data_pipelines.config import PruneConfig
from data_pipelines.pipeline import Models, prune
from data_pipelines.summary import Summary
from recot.data.schema import content_key
from recot.data.shards import ShardFolder
from recot.errors import ConfigError, DataError
from recot.video_io import probe
from tests.data_pipelines.conftest import mp4

MakeConfig = Callable[..., PruneConfig]


def run(config: PruneConfig) -> Summary:
    return prune(config, Models())


def audit(output: Path) -> list[dict[str, Any]]:
    table = pq.read_table(output / "audit.parquet")
    assert table.schema.equals(AUDIT_SCHEMA)
    return list(table.to_pylist())


def drops(output: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in audit(output):
        if row["verdict"] == "drop":
            found.setdefault(row["sample_id"], []).append(row["reason_code"])
    return found


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_folder_of_videos(clips: Path, clip_bytes: list[bytes], tmp_path: Path, make_config: MakeConfig) -> None:
    output = tmp_path / "out"
    summary = run(make_config(f"source={clips}", f"output={output}", "licence=CC0-1.0"))
    shards = ShardFolder(output / "train")
    assert [shards.payload(i) for i in range(len(shards))] == clip_bytes
    assert not (output / "val").exists()
    for i, content in enumerate(clip_bytes):
        sample, facts = shards.sample(i), probe(content)
        name = f"{'a' if i < 3 else 'b'}/{i}.mp4"
        assert (sample.video_id, sample.source, sample.licence) == (name, "clips", "CC0-1.0")
        assert sample.source_uri == (clips / name).as_uri()
        media = sample.media
        assert (media.frames, media.codec, media.width, media.height) == (facts.frames, "h264", 32, 32)
        assert media.duration_s == facts.duration_s == pytest.approx((6 + 2 * i) / 10)
        assert media.missing_frames == []
    assert drops(output) == {}
    assert {row["config_hash"] for row in audit(output)} == {shards.config_hash} == {summary.config_hash}
    assert (summary.videos.input, summary.videos.kept) == (6, 6)
    times = (output / "report.html").read_text().partition('<h2 id="time">')[2]
    assert '<td class="n">66</td>' in times  # frames: 6 + 8 + ... + 16
    # 1 frame a second of 0.6 to 1.6 s: one group; at 10 fps 6 to 16 frames: 2, 2, 3, 3, 4, 4 groups
    assert shards.columns["visual_tokens"].tolist() == [144] * 6


def test_annotations_with_bad_rows_and_bad_videos(
    clips: Path, clip_bytes: list[bytes], tmp_path: Path, make_config: MakeConfig
) -> None:
    (clips / "cut.mp4").write_bytes(clip_bytes[0][:300])
    (clips / "short.mp4").write_bytes(mp4(seed=99, frames=3))
    (clips / "text.mp4").write_text("no video at all")
    (clips / "empty.mp4").write_bytes(b"")
    (clips / "copy.mkv").write_bytes(clip_bytes[1])
    names = ["a/0.mp4", "a/1.mp4", "cut.mp4", "short.mp4", "text.mp4", "empty.mp4", "gone.mp4", "copy.mkv", "a/1.mp4"]
    rows = [json.dumps({"id": f"q{i}", "video": v, "question": "How?", "answer": "So."}) for i, v in enumerate(names)]
    rows.insert(3, "{broken")
    source = tmp_path / "questions.jsonl"
    source.write_text("\n".join(rows))
    output = tmp_path / "out"
    sampling = ["sampling.fps=10", "sampling.tokens_per_group=9"]
    summary = run(make_config(f"source={source}", f"output={output}", f"video_root={clips}", *sampling))
    assert drops(output) == {
        "questions.jsonl:4": ["not_json"],
        "cut.mp4": ["unreadable_container"],
        "short.mp4": ["too_few_frames"],
        "text.mp4": ["unreadable_container"],
        "empty.mp4": ["empty_file"],
        "gone.mp4": ["not_found"],
        "copy.mkv": ["duplicate_exact"],  # its question goes to a/1.mp4
        "q2": ["unreadable_container"],
        "q3": ["too_few_frames"],
        "q4": ["unreadable_container"],
        "q5": ["empty_file"],
        "q6": ["not_found"],
    }
    shards = ShardFolder(output / "train")
    asked = {shards.sample(i).video_id: [qa.sample_id for qa in shards.sample(i).qa] for i in range(len(shards))}
    assert asked == {"a/0.mp4": ["q0"], "a/1.mp4": ["q1", "q8", "q7"]}
    assert shards.columns["n_qa"].tolist() == [1, 3]
    assert shards.columns["text_tokens"].tolist() == [2, 6]
    assert shards.columns["visual_tokens"].tolist() == [2 * 9, 2 * 9]  # 6 and 8 frames in groups of 4
    assert vars(summary.videos) == {"input": 8, "kept": 2, "dropped": 6, "quarantined": 0}
    assert vars(summary.rows) == {"input": 10, "kept": 9, "dropped": 1, "quarantined": 0}
    assert vars(summary.questions) == {"input": 9, "kept": 4, "dropped": 5, "quarantined": 0}
    short = {row["signal"]: row for row in audit(output) if row["sample_id"] == "short.mp4"}
    told = ("value", "threshold", "threshold_source", "verdict", "reason_code")
    assert [short["frames"][name] for name in told] == [
        3,
        4,
        "pruning.policy.rules.too_few_frames.min (one group of the Dynamic Token Synthesizer)",
        "drop",
        "too_few_frames",
    ]
    assert [short["health"][name] for name in told] == [
        1,
        0.95,
        "pruning.policy.rules.low_health.min (ours)",
        "pass",
        None,
    ]
    kept = pq.read_table(output / "manifest.parquet").to_pylist()
    assert {row["sample_id"]: row["shard_row"] for row in kept if row["decision"] == "keep"} == {
        "q0": 0,
        "q1": 1,
        "q7": 1,
        "q8": 1,
    }


def test_what_any_evaluation_set_has_is_dropped(
    clips: Path, clip_bytes: list[bytes], tmp_path: Path, make_config: MakeConfig
) -> None:
    """Two sets that name different videos alike; one has a video, the other a question."""
    said = "the man opens the old door and then slowly walks down the stairs into the dark cellar"
    for name, content, answer in (("one", clip_bytes[2], "No."), ("two", mp4(seed=70), said)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.mp4").write_bytes(content)
        row = {"id": f"{name}-q", "video": "0.mp4", "question": "What happens?", "answer": answer}
        (tmp_path / name / "rows.json").write_text(json.dumps([row]))
    answers = {"a/0.mp4": f"{said.upper()}!", "a/1.mp4": "No.", "a/2.mp4": "Nothing."}
    rows = [{"id": v, "video": v, "question": "What happens?", "answer": a} for v, a in answers.items()]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    sets = f"evaluation_sets=[{tmp_path / 'one' / 'rows.json'},{tmp_path / 'two' / 'rows.json'}]"
    arguments = [f"source={tmp_path / 'rows.json'}", f"video_root={clips}", sets]
    run(make_config(*arguments, f"output={tmp_path / 'out'}"))
    manifest = pq.read_table(tmp_path / "out" / "manifest.parquet").to_pylist()
    leaks = {row["sample_id"]: (row["reason_codes"], row["leak_of"], row["leak_text_of"]) for row in manifest}
    assert leaks == {
        "a/0.mp4": (["leaked_text"], None, "two-q"),
        "a/1.mp4": ([], None, None),
        "a/2.mp4": (["leaked_video"], "0.mp4", None),
    }
    longer = "pruning.decontamination.telling=100"  # words, and 24 in all
    run(make_config(*arguments, f"output={tmp_path / 'out2'}", longer))
    assert drops(tmp_path / "out2") == {"a/2.mp4": ["leaked_video", "leaked_video"]}  # the video, and its question


def test_damaged_frames_are_listed_or_drop_the_video(clips: Path, tmp_path: Path, make_config: MakeConfig) -> None:
    content = mp4(seed=7, frames=60)
    (clips / "damaged.mp4").write_bytes(zero_last_frame(content))
    source = f"source={clips}"
    run(make_config(source, f"output={tmp_path / 'strict'}", "pruning.policy.rules.low_health.min=1"))
    assert drops(tmp_path / "strict") == {"damaged.mp4": ["low_health"]}
    run(make_config(source, f"output={tmp_path / 'out'}"))
    assert drops(tmp_path / "out") == {}
    shards = ShardFolder(tmp_path / "out" / "train")
    media = {shards.sample(i).video_id: shards.sample(i).media for i in range(len(shards))}["damaged.mp4"]
    assert (media.frames, media.missing_frames) == (60, [59])


def zero_last_frame(content: bytes) -> bytes:
    """The video with the packet of its last frame overwritten by zeros."""
    with av.open(io.BytesIO(content)) as container:
        last = [packet for packet in container.demux(video=0) if packet.size][-1]
    return content[: last.pos] + bytes(last.size) + content[last.pos + last.size :]


def test_the_number_of_workers_changes_nothing(clips: Path, tmp_path: Path, make_config: MakeConfig) -> None:
    (clips / "empty.mp4").write_bytes(b"")
    outputs = [tmp_path / f"out{workers}" for workers in (1, 3)]
    for workers, output in zip((1, 3), outputs, strict=True):
        run(make_config(f"source={clips}", f"output={output}", f"workers={workers}", "val_fraction=0.3"))
    one, three = (files(output) for output in outputs)
    for timed in ("report.html", "timings.json"):
        one.pop(timed), three.pop(timed)
    assert one == three


def test_validation_takes_the_smallest_keys(
    clips: Path, clip_bytes: list[bytes], tmp_path: Path, make_config: MakeConfig
) -> None:
    output = tmp_path / "out"
    run(make_config(f"source={clips}", f"output={output}", "val_fraction=0.2", "shards.max_samples=2"))
    keys = sorted(content_key(content) for content in clip_bytes)
    val, train = ShardFolder(output / "val"), ShardFolder(output / "train")
    assert sorted(val.columns["key"].tolist()) == keys[:2]  # 0.2 x 6 rounded up
    assert sorted(train.columns["key"].tolist()) == keys[2:]
    assert sorted(p.name for p in (output / "train").glob("*.tar")) == ["shard-000000.tar", "shard-000001.tar"]
    with pytest.raises(DataError, match="leaves none to train"):
        run(make_config(f"source={clips}", f"output={tmp_path / 'out2'}", "val_fraction=0.99"))
    assert not (tmp_path / "out2").exists()


def test_the_same_command_again_does_nothing(
    clips: Path, tmp_path: Path, make_config: MakeConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    arguments = [f"source={clips}", f"output={output}"]
    first = run(make_config(*arguments))
    before = {p: p.stat().st_mtime_ns for p in output.rglob("*")}
    capsys.readouterr()
    assert run(make_config(*arguments, "workers=1")) == first
    assert "is up to date" in capsys.readouterr().out
    assert {p: p.stat().st_mtime_ns for p in output.rglob("*")} == before

    with pytest.raises(DataError, match="another config"):
        run(make_config(*arguments, "licence=MIT"))
    (clips / "new.mp4").write_bytes(mp4(seed=50))
    with pytest.raises(DataError, match=r"another input.*overwrite=true"):
        run(make_config(*arguments))
    assert {p: p.stat().st_mtime_ns for p in output.rglob("*")} == before

    assert run(make_config(*arguments, "overwrite=true")).videos.kept == 7
    assert len(ShardFolder(output / "train")) == 7
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clips", "out", "scores"]


@pytest.mark.parametrize("overwrite", ["true", "false"])
@pytest.mark.parametrize("what", ["folder", "file", "foreign summary"])
def test_what_others_made_is_left_alone(
    clips: Path, tmp_path: Path, make_config: MakeConfig, overwrite: str, what: str
) -> None:
    output = tmp_path / "out"
    if what == "file":
        output.write_text("precious")
    else:
        output.mkdir()
        (output / ("summary.json" if what == "foreign summary" else "thesis.doc")).write_text("precious")
    with pytest.raises(DataError, match=r"not made by prune|not written by prune"):
        run(make_config(f"source={clips}", f"output={output}", f"overwrite={overwrite}"))
    assert "precious" in {p.read_text() for p in [output, *output.glob("*")] if p.is_file()}


def test_no_usable_video(clips: Path, tmp_path: Path, make_config: MakeConfig) -> None:
    shutil.rmtree(clips / "a")
    for path in clips.rglob("*.mp4"):
        path.write_bytes(path.read_bytes()[:100])
    (clips / "b" / "6.mp4").write_bytes(b"")
    with pytest.raises(DataError, match=r"none of 4 videos.*\(3 x unreadable_container, 1 x empty_file\).*b/3\.mp4"):
        run(make_config(f"source={clips}", f"output={tmp_path / 'out'}"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clips", "scores"]


def test_too_short_videos_only(tmp_path: Path, make_config: MakeConfig) -> None:
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "a.mp4").write_bytes(mp4(seed=1, frames=3))
    with pytest.raises(DataError, match=r"1 x too_few_frames.*a\.mp4"):
        run(make_config(f"source={tmp_path / 'clips'}", f"output={tmp_path / 'out'}"))


def test_large_files_are_dropped_with_their_reason(clips: Path, tmp_path: Path, make_config: MakeConfig) -> None:
    os.truncate(clips / "a" / "0.mp4", 3 * 2**20)
    run(make_config(f"source={clips}", f"output={tmp_path / 'out'}", "limits.max_file_mib=2"))
    assert drops(tmp_path / "out") == {"a/0.mp4": ["too_large_file"]}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("val_fraction=1", "val_fraction=1"),
        ("val_fraction=-0.1", "val_fraction=-0.1"),
        ("val_fraction=nan", "val_fraction=nan"),
        ("workers=0", "workers=0"),
        ("workers=many", "workers: Value 'many'"),
        ("pruning.policy.rules.low_health.min=high", "pruning.policy.rules.low_health.min: Value 'high'"),
        ("+pruning.policy.rules.low_health.max=1", "pruning.policy.rules.low_health: expected exactly one of"),
        ("pruning.policy.selection.alpha=2", "pruning.policy.selection.alpha=2"),
        ("media.kind=photos", "media.kind=photos"),
        ("media.frame_size=[0,64]", "media.frame_size=\\[0, 64\\]"),
        ("limits.timeout_s=0", "limits.timeout_s=0"),
        ("sampling.fps=-1", "sampling.fps=-1"),
        ("pruning.decontamination.ngram=0", "pruning.decontamination.ngram is 0"),
        ("shards.max_samples=0", "shards.max_samples=0"),
        ("source=???", "source is missing"),
        ("overwrite=maybe", "overwrite: Value 'maybe'"),
    ],
)
def test_impossible_values(tmp_path: Path, make_config: MakeConfig, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace(".", r"\.")) as caught:
        run(make_config(f"source={tmp_path}", f"output={tmp_path / 'out'}", override))
    assert "\n" not in str(caught.value)
