"""Frames of videos from anywhere, sampled in child processes: what is stored, what fails, and going on."""

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from data_pipelines.config import PruneConfig
from data_pipelines.frames_media import FramesSetting, FramesTask, sample_frames, store_frames
from data_pipelines.ingest.locations import file_uri
from data_pipelines.pipeline import Models, prune
from data_pipelines.supervised import Failure
from data_pipelines.writing import KeptVideo, frames_payload
from recot.data.frames_payload import FramesPayload
from recot.data.schema import content_key
from recot.data.shards import ShardFolder
from recot.errors import ConfigError, DataError
from recot.video_io import VideoLimits
from tests.video_clips import HEIGHT, WIDTH, make_clip, numbers

SETTING = FramesSetting(fps=4.0, frame_size=(HEIGHT, WIDTH), limits=VideoLimits(), max_bytes=2**20)
POOL: dict[str, Any] = {"workers": 1, "timeout_s": 60.0, "memory_bytes": 2**32, "recycle_after": 8}


def clip(seed: int = 0) -> bytes:
    """2 s at 20 frames a second; each frame carries its number."""
    return make_clip([50 * number + seed for number in range(40)])


def task(path: Path, **changes: Any) -> FramesTask:
    return FramesTask(**{"uri": file_uri(path), "key": content_key(path.read_bytes()), **changes})


def test_the_stored_frames_are_those_on_screen(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(clip())
    payload = FramesPayload(io.BytesIO(sample_frames(path, SETTING)))
    frames = payload.read(np.arange(8), (HEIGHT, WIDTH))
    assert numbers(list(frames)) == list(range(0, 40, 5))
    assert payload.times_s.tolist() == pytest.approx([number / 4 for number in range(8)])
    assert (payload.fps, payload.size) == (4.0, (HEIGHT, WIDTH))
    damaged = FramesPayload(io.BytesIO(sample_frames(path, SETTING, missing_frames=[5, 6, 10])))
    assert numbers(list(damaged.read(np.arange(4), (HEIGHT, WIDTH)))) == [0, 4, 9, 15]


def test_long_videos_are_decoded_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(clip())
    whole = sample_frames(path, SETTING)
    monkeypatch.setattr("data_pipelines.frames_media._CHUNK_BYTES", 3 * HEIGHT * WIDTH * 3)
    assert sample_frames(path, SETTING) == whole


def test_videos_fail_one_by_one_and_a_second_run_goes_on(tmp_path: Path) -> None:
    clips, folder = tmp_path / "clips", tmp_path / "frames"
    clips.mkdir()
    for name, content in (("a.mp4", clip(0)), ("cut.mp4", b"no video" * 99), ("c.mp4", clip(2))):
        (clips / name).write_bytes(content)
    tasks = [task(clips / name) for name in ("a.mp4", "cut.mp4", "c.mp4")]
    failures = store_frames(tasks, SETTING, folder=folder, **POOL)
    assert {key: type(failure) for key, failure in failures.items()} == {tasks[1].key: Failure}
    assert failures[tasks[1].key].reason == "unreadable_container"
    stored = [SETTING.path(folder, tasks[number].key) for number in (0, 2)]
    assert sorted(path for path in folder.rglob("*") if path.is_file()) == sorted(stored)
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in stored}
    (clips / "d.mp4").write_bytes(clip(3))
    more = task(clips / "d.mp4")
    assert store_frames([tasks[0], more, tasks[2]], SETTING, folder=folder, **POOL) == {}
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in stored} == before
    video = KeptVideo(more.uri, more.key, "mp4", None)  # type: ignore[arg-type]
    content, extension = frames_payload(video, folder=folder, setting=SETTING)
    assert (content, extension) == (sample_frames(clips / "d.mp4", SETTING), "frames.npz")
    other = FramesSetting(2.0, SETTING.frame_size, SETTING.limits, SETTING.max_bytes)
    with pytest.raises(DataError, match=r"frames of file:.*d\.mp4"):
        frames_payload(video, folder=folder, setting=other)


@pytest.mark.parametrize(
    ("what", "message"),
    [("changed", r"a\.mp4.* other content"), ("gone", r"a\.mp4.* can't be read"), ("full", "can't be written")],
)
def test_what_is_nothing_of_the_video_ends_the_run(tmp_path: Path, what: str, message: str) -> None:
    path, folder = tmp_path / "a.mp4", tmp_path / "frames"
    path.write_bytes(clip())
    tasks = [task(path)]
    if what == "changed":
        path.write_bytes(clip(1))
    elif what == "gone":
        path.unlink()
    else:
        folder.mkdir()
        (folder / tasks[0].key[:2]).write_text("in the way")
    with pytest.raises(DataError, match=message):
        store_frames(tasks, SETTING, folder=folder, **POOL)
    assert not list(folder.rglob("*.npz"))


def test_a_video_that_cannot_be_sampled_is_lost_alone_and_the_next_best_takes_its_place(
    clips: Path, tmp_path: Path, make_config: Callable[..., PruneConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of six videos four are to be kept; two of these fail, and then one of those that come instead."""
    (clips / "copy.mp4").write_bytes((clips / "a" / "0.mp4").read_bytes())
    keys = {path.relative_to(clips).as_posix(): content_key(path.read_bytes()) for path in clips.rglob("*.mp4")}
    media = ["media.kind=frames", "media.frame_size=[32,32]", "pruning.policy.selection.budget=4"]
    arguments = [f"source={clips}", *media]
    prune(make_config(*arguments, f"output={tmp_path / 'whole'}", "write_shards=false"), Models())
    first = kept(tmp_path / "whole")
    rest = sorted({"a/0.mp4", "a/1.mp4", "a/2.mp4", "b/3.mp4", "b/4.mp4", "b/5.mp4"} - {*first})
    bad = {keys[name] for name in (*first[:2], rest[0])}

    def fail_some(tasks: list[FramesTask], setting: FramesSetting, **pool: Any) -> dict[str, Failure]:
        found = store_frames([task for task in tasks if task.key not in bad], setting, **pool)
        return found | {t.key: Failure("timeout", "VideoError", "took too long") for t in tasks if t.key in bad}

    monkeypatch.setattr("data_pipelines.sharding.store_frames", fail_some)
    summary = prune(make_config(*arguments, f"output={tmp_path / 'out'}"), Models())
    lost = sorted(name for name, key in keys.items() if key in bad)
    assert kept(tmp_path / "out") == sorted({*keys} - {*lost} - {"copy.mp4"})
    assert summary.video_reasons == {"timeout": len(lost)} | ({} if "copy.mp4" in lost else {"duplicate_exact": 1})
    shards = ShardFolder(tmp_path / "out" / "train")
    assert sorted(shards.sample(i).video_id for i in range(len(shards))) == kept(tmp_path / "out")
    rows = pq.read_table(tmp_path / "out" / "audit.parquet").to_pylist()
    told = {row["sample_id"]: row["detail"] for row in rows if row["reason_code"] == "timeout"}
    assert told == dict.fromkeys(lost, "frames can't be sampled: took too long")
    assert "frames can&#39;t be sampled: took too long" in (tmp_path / "out" / "report.html").read_text()
    bad |= {*keys.values()}
    with pytest.raises(DataError, match=r"none of 7 videos is kept \(7 x timeout\).*frames can't be sampled"):
        prune(make_config(*arguments, f"output={tmp_path / 'none'}"), Models())


def kept(output: Path) -> list[str]:
    """Ids of the videos that the manifest keeps."""
    manifest = pq.read_table(output / "manifest.parquet").to_pylist()
    return sorted(row["video_id"] for row in manifest if row["decision"] == "keep")


def test_nothing_to_do_starts_no_process(tmp_path: Path) -> None:
    before = os.times().children_user
    assert store_frames([], SETTING, folder=tmp_path / "frames", **POOL) == {}
    assert os.times().children_user == before


@pytest.mark.parametrize(
    ("fps", "size"), [(0.0, (64, 64)), (float("nan"), (64, 64)), (1.0, (0, 64)), (1.0, (64, 5000))]
)
def test_impossible_settings(fps: float, size: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match=r"fps|frame_size"):
        FramesSetting(fps, size, VideoLimits(), 2**20)
