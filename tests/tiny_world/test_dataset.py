"""TinyWorld: whole or not at all, made once, the same bytes for the same spec."""

import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from recot.data.schema import content_key
from recot.data.shards import ShardFolder
from recot.errors import ConfigError, DataError
from recot.tiny_world import TinyWorld
from recot.tiny_world.splits import check_disjoint
from recot.tiny_world.truth import caption
from recot.video_io import probe

PREPARE = """
import sys
from recot.tiny_world import TinyWorld
TinyWorld(root=sys.argv[1], train_videos=int(sys.argv[2]), val_videos=2, frames=16, seed=1).prepare()
"""


def world(root: Path, **changes: object) -> TinyWorld:
    return replace(TinyWorld(root=root, train_videos=5, val_videos=3, frames=9, seed=4), **changes)  # type: ignore[arg-type]


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_shards_hold_the_videos_of_their_seeds_with_their_truth(tmp_path: Path) -> None:
    made = world(tmp_path / "world", size=48, fps=5.0)
    made.prepare()
    keys = {}
    for split, count in (("train", 5), ("val", 3)):
        shards = ShardFolder(tmp_path / "world" / split)
        assert len(shards) == count
        shards.verify()
        keys[split] = {shards.key(i) for i in range(count)}
        scenes = next(s for s in made.splits() if s.name == split)
        for i, scene in enumerate(scenes):
            sample, payload = shards.sample(i), shards.payload(i)
            assert shards.key(i) == content_key(payload)
            assert sample.qa[0].answer == caption(scene)
            assert sample.media.frames == shards.columns["frames"][i] == 9
            seen = probe(payload)
            assert not seen.has_edit_list
            for fact in ("container", "codec", "width", "height", "fps", "is_vfr", "duration_s", "frames", "rotation"):
                assert getattr(seen, fact) == getattr(sample.media, fact), fact
    assert len(keys["train"]) == 5
    assert len(keys["val"]) == 3
    assert not keys["train"] & keys["val"]


def test_equal_specs_give_equal_bytes_and_another_seed_gives_others(tmp_path: Path) -> None:
    world(tmp_path / "a").prepare()
    world(tmp_path / "b").prepare()
    world(tmp_path / "c", seed=5).prepare()
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    a, c = (set(ShardFolder(tmp_path / name / "train").columns["key"]) for name in "ac")
    assert not a & c


def test_a_second_call_touches_nothing(tmp_path: Path) -> None:
    root = tmp_path / "not" / "there" / "yet"
    world(root).prepare()
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    started = time.process_time()
    world(root).prepare()
    assert time.process_time() - started < 0.5
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "world").mkdir()
    world(tmp_path / "world").prepare()
    assert len(ShardFolder(tmp_path / "world" / "val")) == 3


def test_another_spec_is_not_overwritten(tmp_path: Path) -> None:
    world(tmp_path / "world").prepare()
    before = contents(tmp_path / "world")
    with pytest.raises(DataError, match=r"other settings(?s:.)*Delete it"):
        world(tmp_path / "world", frames=10).prepare()
    assert contents(tmp_path / "world") == before


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(DataError, match="holds other files than a tiny world"):
        world(tmp_path).prepare()
    assert contents(tmp_path) == {"thesis.txt": b"years of work"}


def test_a_damaged_world_is_reported_not_trained_on(tmp_path: Path) -> None:
    world(tmp_path / "world").prepare()
    shard = tmp_path / "world" / "train" / "shard-000000.tar"
    shard.chmod(0o644)
    shard.write_bytes(shard.read_bytes()[:-1000])
    with pytest.raises(DataError, match=r"damaged(?s:.)*shard-000000.tar(?s:.)*Delete it"):
        world(tmp_path / "world").prepare()


def test_an_unwritable_root_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"file/world(?s:.)*may write to"):
        world(tmp_path / "file" / "world").prepare()


@pytest.mark.parametrize("changes", [{"train_videos": 0}, {"val_videos": -1}, {"frames": 0}, {"size": 65}])
def test_impossible_worlds_are_refused_before_anything_is_written(tmp_path: Path, changes: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=r"tiny world: .*Set "):
        world(tmp_path / "world", **changes).prepare()
    assert not list(tmp_path.iterdir())


def test_a_killed_run_leaves_no_half_file_and_the_next_one_goes_on_where_it_stopped(tmp_path: Path) -> None:
    root = tmp_path / "world"
    child = subprocess.Popen([sys.executable, "-c", PREPARE, str(root), "100"], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while sum(1 for _ in tmp_path.rglob("*.json")) < 5:
        assert child.poll() is None, "the child ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    child.kill()
    assert child.wait() == -signal.SIGKILL
    assert not root.exists()
    files = tmp_path / ".world.partial" / "files" / "train"
    done = {path.with_suffix(".mp4"): path.stat().st_mtime_ns for path in files.glob("[!.]*.json")}
    assert len(done) >= 5
    for video in done:
        assert probe(video).frames == 16
    first = min(done)
    marker = b"kept as it is"
    kept, _ = first.read_bytes(), first.write_bytes(marker)

    world = TinyWorld(root=root, train_videos=100, val_videos=2, frames=16, seed=1)
    world.prepare()
    payloads = [ShardFolder(root / "train").payload(i) for i in range(100)]
    assert payloads[0] == marker, "the finished video was rendered again"
    replace(world, root=tmp_path / "undisturbed").prepare()
    whole = [ShardFolder(tmp_path / "undisturbed" / "train").payload(i) for i in range(100)]
    assert [kept, *payloads[1:]] == whole
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["undisturbed", "world"]


def test_another_spec_does_not_go_on_with_what_was_left(tmp_path: Path) -> None:
    left = tmp_path / ".world.partial"
    (left / "files" / "train").mkdir(parents=True)
    (left / ".work").write_text(world(tmp_path / "world", seed=5).spec_hash())
    (left / "files" / "train" / "000000.json").write_text("{}")
    world(tmp_path / "world").prepare()
    assert len(ShardFolder(tmp_path / "world" / "train")) == 5


def test_twins_answer_the_same_questions_otherwise(tmp_path: Path) -> None:
    world(tmp_path / "world", train_videos=4, val_videos=2, twins=True).prepare()
    shards = ShardFolder(tmp_path / "world" / "train")
    for i in (0, 2):
        a, b = (shards.sample(j).qa[1:] for j in (i, i + 1))
        assert [(x.question, x.options) for x in a] == [(x.question, x.options) for x in b]
        assert all(x.answer != y.answer for x, y in zip(a, b, strict=True))
    with pytest.raises(ConfigError, match="pairs"):
        world(tmp_path / "odd", twins=True).prepare()


def test_splits_with_a_scene_in_common_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    train, val = world(Path("unused")).splits()
    check_disjoint([train, val, replace(train, name="test", videos=50)])
    monkeypatch.setattr("recot.tiny_world.splits.derive_seed", lambda *key: key[-1])
    with pytest.raises(DataError, match="both train and val"):
        check_disjoint([train, val])


def test_processes_that_start_together_make_it_once(tmp_path: Path) -> None:
    root = tmp_path / "world"
    command = [sys.executable, "-c", PREPARE, str(root), "20"]
    children = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    logs = [child.communicate(timeout=60)[1] for child in children]
    assert [child.returncode for child in children] == [0, 0], logs
    assert sum("rendering tiny world" in log for log in logs) == 1
    assert len(ShardFolder(root / "train")) == 20
