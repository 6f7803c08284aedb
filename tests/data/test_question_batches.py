"""Batches of whole videos with questions: what is asked, of which videos, and that a run asks the same again."""

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from recot.data.datamodule import VideoDataModule
from recot.data.schema import QA, Media, VideoSample, content_key
from recot.data.shard_index import sample_columns
from recot.data.shard_writer import ShardWriter
from recot.data.shards import ShardFolder
from recot.errors import ConfigError, DataError
from recot.tiny_world.render import render
from recot.tiny_world.scene import make_scene
from recot.tiny_world.video import encode_mp4
from recot.video_io import FrameSampling
from tests.data.asking import asking, chats_of, qa_of, read, rewrite
from tests.data.clips import FPS, Diary, data, fingerprint, groups_of, trainer
from tests.data.test_cached_features import cache

# --- what comes in batches


def test_batches_ask_what_the_json_says(asked_clips: Path, val_clips: Path) -> None:
    folder = ShardFolder(asked_clips)
    draws = chats_of(read(asking(asked_clips, val_clips, per_video=99)))
    assert Counter(key for key, _ in draws) == Counter(folder.columns["key"].tolist())
    for key, chats in draws:
        number = folder.find(key)
        assert number is not None
        for chat, qa in zip(chats, folder.sample(number).qa, strict=True):
            assert chat.user == f"{qa.question}\nA. a\nB. b"
            assert (chat.reply, chat.options) == ("B", ("a", "b"))
            assert (chat.sample_id, chat.task) == (qa.sample_id, qa.task_type)
            assert chat.spans == (((0.4, 0.8),) if qa.sample_id.endswith("part") else ())


def test_tiny_world_questions_have_their_evidence_and_what_is_nowhere_has_none(clips: Path, val_clips: Path) -> None:
    folder = ShardFolder(val_clips)
    batches = list(asking(clips, val_clips).val_dataloader())
    known = 0
    for key, chats in chats_of(batches):
        number = folder.find(key)
        assert number is not None
        sample = folder.sample(number)
        assert [chat.sample_id for chat in chats] == [qa.sample_id for qa in sample.qa], "all, in fixed order"
        for chat, qa in zip(chats, sample.qa, strict=True):
            whole = qa.evidence == [[0.0, sample.media.duration_s]]
            assert whole == (chat.task == "caption" or "not shown" in qa.answer)
            assert chat.spans == (() if whole else tuple((start, end) for start, end in qa.evidence))
            known += bool(chat.spans)
    assert known


def test_draws_are_without_replacement_and_change_with_the_pass(asked_clips: Path, val_clips: Path) -> None:
    draws = chats_of(read(asking(asked_clips, val_clips, per_video=4), passes=10))
    folder = ShardFolder(asked_clips)
    seen: dict[str, Counter[str]] = {}
    orders: dict[str, set[tuple[str, ...]]] = {}
    for key, chats in draws:
        ids = [chat.sample_id for chat in chats]
        number = folder.find(key)
        assert number is not None
        known = [qa.sample_id for qa in folder.sample(number).qa]
        assert len(set(ids)) == len(ids) == min(4, len(known))
        assert ids == sorted(ids, key=known.index)
        seen.setdefault(key, Counter()).update(ids)
        orders.setdefault(key, set()).add(tuple(ids))
    for i in range(len(folder)):
        counts = seen[folder.key(i)]
        qa = folder.sample(i).qa
        assert set(counts) == {one.sample_id for one in qa}
        if len(qa) > 4:
            assert len(orders[folder.key(i)]) > 5


def test_a_draw_does_not_depend_on_its_batch_or_its_reader(asked_clips: Path, val_clips: Path) -> None:
    one = dict(chats_of(read(asking(asked_clips, val_clips, batch_size=1))))
    for changes in ({"batch_size": 5}, {"num_workers": 2}, {"shuffle_window": 99}):
        assert dict(chats_of(read(asking(asked_clips, val_clips, **changes)))) == one
    assert dict(chats_of(read(asking(asked_clips, val_clips, seed=6)))) != one


def test_videos_are_whole_and_long_ones_thinned_out(clips: Path, val_clips: Path) -> None:
    for most in (None, 8):
        module = asking(clips, val_clips, sampling=FrameSampling(fps=5.0, max_frames=most))
        folder = ShardFolder(clips)
        for batch in read(module):
            for number, key in enumerate(batch.keys):
                i = folder.find(key)
                assert i is not None
                frames = int(folder.columns["frames"][i])
                own = batch.sample == number
                times = batch.times_s[own][batch.valid[own]]
                sampled = -(-frames // 2)
                assert len(times) == (sampled if most is None else min(sampled, most))
                step = 2 / FPS if len(times) == sampled else frames / FPS / len(times)
                expected = torch.arange(len(times)) * step
                assert bool((times - expected).abs().max() <= 1 / FPS), "evenly over the whole video"
                assert int(own.sum()) == (groups_of(frames) if most is None else -(-len(times) // 4))


def test_cached_features_and_frames_ask_the_same(asked_clips: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(asked_clips, tmp_path / "train"))
    cache(folder)
    live, cached = (asking(folder, folder, features=features, tasks=["t1"]) for features in ("live", "cached"))
    assert live.state_dict() == cached.state_dict()
    both = [[*read(module), *module.val_dataloader()] for module in (live, cached)]
    assert chats_of(both[0]) == chats_of(both[1])
    assert all(batch.features is not None for batch in both[1])
    example = cached.example_batch(3)
    assert example.frames is not None
    assert chats_of([example]) == chats_of(list(cached.val_dataloader()))[:3]


def test_moving_a_batch_keeps_its_chats(asked_clips: Path, val_clips: Path) -> None:
    batch = asking(asked_clips, val_clips).example_batch(2)
    assert batch.to("meta").chats == batch.chats
    assert batch.to("meta").valid.device.type == "meta"


def test_without_questions_there_are_no_chats(asked_clips: Path, val_clips: Path) -> None:
    module = data(asked_clips, val_clips)
    module.setup("fit")
    assert {batch.chats for batch in read(module)} == {None}


# --- videos without questions


def test_only_videos_with_a_fitting_question_take_part(asked_clips: Path, tmp_path: Path) -> None:
    """Also the shortest of them, which no other could stand in for."""
    folder = ShardFolder(asked_clips)
    module = asking(asked_clips, asked_clips, tasks=["t2"])
    fitting = {folder.key(i) for i in range(len(folder)) if i % 4 >= 2}
    batches = read(module)
    for draws in (chats_of(batches), chats_of(list(module.val_dataloader()))):
        assert Counter(key for key, _ in draws) == Counter(fitting)
        assert {chat.task for _, chats in draws for chat in chats} == {"t2"}
    assert all(batch.failures == () for batch in batches)
    silent = rewrite(asked_clips, tmp_path / "silent", lambda i: qa_of(i, 1) if i else [])
    assert {key for key, _ in chats_of(read(asking(silent, silent)))} == {folder.key(i) for i in range(1, 10)}


def test_how_many_are_left_out_is_said(asked_clips: Path, val_clips: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        asking(asked_clips, val_clips, tasks=["t2", "caption"])
    assert f"{asked_clips}: only 4 of 10 videos have questions to ask" in caplog.text
    assert f"{val_clips}: only" not in caplog.text


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_folder_without_a_fitting_question_is_refused(asked_clips: Path, tmp_path: Path, split: str) -> None:
    silent = rewrite(asked_clips, tmp_path / "silent", lambda i: [])
    folders = (silent, asked_clips) if split == "train" else (asked_clips, silent)
    with pytest.raises(DataError, match=r"silent: none of its 10 videos has any question.*data\.questions\.tasks"):
        asking(*folders)
    with pytest.raises(DataError, match=r"none of its 10 videos has a question of the types x, y\. Set data\.quest"):
        asking(asked_clips, asked_clips, tasks=["x", "y"])


def test_a_question_that_cannot_be_put_fails_its_draw(asked_clips: Path, val_clips: Path, tmp_path: Path) -> None:
    wrong = [replace(qa_of(9, 1)[0], answer="B")]
    folder = rewrite(asked_clips, tmp_path / "wrong", lambda i: wrong if i == 9 else qa_of(i, 1))
    batches = read(asking(folder, val_clips))
    key = ShardFolder(folder).key(9)
    ((failed, reason),) = [failure for batch in batches for failure in batch.failures]
    assert failed == key
    assert "wrong" in reason
    assert "question '9-0-whole': the answer 'B' is none of the options" in reason
    draws = chats_of(batches)
    assert len(draws) == 10
    assert key not in dict(draws)


def test_a_damaged_json_is_left_to_the_draw(asked_clips: Path, tmp_path: Path) -> None:
    """Nobody knows whether it has a fitting question, so it is not silently left out."""
    target = Path(shutil.copytree(asked_clips, tmp_path / "damaged"))
    folder = ShardFolder(target)
    path = target / str(folder.columns["shard"][3])
    content = bytearray(path.read_bytes())
    content[int(folder.columns["json_offset"][3]) + 5] ^= 0x01
    path.write_bytes(content)
    batches = read(asking(target, asked_clips, tasks=["t1"]))
    ((failed, reason),) = [failure for batch in batches for failure in batch.failures]
    assert failed == folder.key(3)
    assert "CRC-32" in reason


# --- images


@pytest.mark.parametrize("sampling", [FrameSampling(fps=5.0), FrameSampling(count=8), FrameSampling(stride=1)])
@pytest.mark.parametrize("rate", [1.0, 30.0])
def test_an_image_is_a_video_of_one_frame(
    asked_clips: Path, tmp_path: Path, sampling: FrameSampling, rate: float
) -> None:
    """However long it is on screen; alone in a folder, and among videos."""
    target = tmp_path / "images"
    pictures = {}
    with ShardWriter(target, config_hash="test") as writer:
        for seed in range(3):
            scene = make_scene(seed, frames=32, size=32, fps=8.0)
            picture = next(iter(render(scene)))
            payload = encode_mp4([picture], size=32, fps=rate)
            media = Media("mov", "h264", 32, 32, rate, False, 1 / rate, 1, 0)
            sample = VideoSample(f"i{seed}", "images", "", "CC0-1.0", media, [QA(f"{seed}", "", "a scene", "caption")])
            pictures[content_key(payload)] = torch.from_numpy(picture)
            writer.add(content_key(payload), sample.to_json(), payload, "mp4", sample_columns(sample))
    changes = {"sampling": sampling, "frame_size": (32, 32)}
    for train in ([target], [target, asked_clips]):
        batches = read(asking(train, target, **changes))
        images = 0
        for batch in batches:
            assert batch.frames is not None
            for number, key in enumerate(batch.keys):
                own = batch.sample == number
                if key not in pictures:
                    assert int(batch.valid[own].sum()) > 1
                    continue
                images += 1
                assert batch.valid[own].tolist() == [[True, False, False, False]]
                assert batch.times_s[own].tolist() == [[0.0] * 4]
                (frames,) = batch.frames[own]
                assert bool((frames == frames[0]).all())
                assert (frames[0].float() - pictures[key].float()).abs().mean() < 6
                assert batch.chats is not None
                ((chat),) = batch.chats[number]
                assert (chat.user, chat.reply, chat.spans) == ("Describe the video.", "a scene", ())
        assert images == 3
    cache(target, **changes)
    live, cached = (read(asking(target, target, features=features, **changes)) for features in ("live", "cached"))
    assert [batch.valid.tolist() for batch in live] == [batch.valid.tolist() for batch in cached]
    assert chats_of(live) == chats_of(cached)


# --- resuming


def fit(root: Path, module: VideoDataModule, ckpt: Path | None = None, **options: Any) -> Diary:
    model = Diary()
    trainer(root, **options).fit(model, datamodule=module, ckpt_path=ckpt, weights_only=True if ckpt else None)
    return model


def test_a_resumed_run_asks_the_same(asked_clips: Path, tmp_path: Path) -> None:
    def module(**changes: Any) -> VideoDataModule:
        return asking(asked_clips, asked_clips, **({"tasks": ["t0", "t1"], "num_workers": 1} | changes))

    keep = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=1, save_top_k=-1)
    unbroken = fit(tmp_path, module(), max_epochs=2, callbacks=[keep])
    steps = len(unbroken.train_lines)
    assert steps == len(set(unbroken.train_lines)) == 8
    assert [fingerprint(batch) for batch in read(module(), passes=2)] == unbroken.train_lines
    for step in (1, 4, 6):
        resumed = fit(tmp_path, module(num_workers=0), tmp_path / f"step={step}.ckpt", max_epochs=2)
        assert resumed.train_lines == unbroken.train_lines[step:]
    for changes, named in (
        ({"per_video": 3}, "data.questions was {'per_video': 2, 'tasks': ('t0', 't1')}, now {'per_video': 3"),
        ({"tasks": None}, "'tasks': None}"),
    ):
        with pytest.raises(ConfigError, match="batches would be others") as caught:
            fit(tmp_path, module(**changes), tmp_path / "step=1.ckpt", max_epochs=2)
        assert named in str(caught.value)
