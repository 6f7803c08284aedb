"""Pictures in words: they show what the frames of a group show, where it is, as a video's tokens would stand."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recot.data.qa_text import question_text, reply_text
from recot.grouping import time_text
from recot.models.llm import chat_bpe
from recot.models.prompt import build_prompt
from recot.stages.questions import question_turns
from recot.tiny_world.motion import Static
from recot.tiny_world.scene import make_scene
from recot.tiny_world.text_batch import ChatEncoder, Document
from recot.tiny_world.text_data import phrases, sample_texts
from recot.tiny_world.truth import questions
from recot.tiny_world.vocabulary import BACKGROUNDS, MOVEMENTS, OBJECTS
from recot.tiny_world.word_pictures import SIDE, written

TOKENIZER = chat_bpe(sample_texts(scenes=10, frames=64, seed=0), vocab_size=512, phrases=phrases())


def groups(texts: list[str]) -> dict[str, list[str]]:
    """Time -> words, each of which has to be one token."""
    found = {}
    for time, words in zip(texts[::2], texts[1::2], strict=True):
        ids = TOKENIZER(words, add_special_tokens=False)["input_ids"]
        found[time] = [TOKENIZER.decode([i]).strip() for i in ids]
        assert set(found[time]) <= {*BACKGROUNDS, *OBJECTS, *MOVEMENTS, "moves in a circle", "bounces off the edges"}
    return found


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([4, 10, 16, 64]))
def test_each_group_shows_the_objects_of_its_frames(seed: int, frames: int) -> None:
    scene = make_scene(seed, frames=frames)
    shown = groups(written(scene, np.random.default_rng(seed)))
    for start in range(0, frames, 4):
        own = [s for s in scene.sprites if any(s.shown(f) for f in range(start, min(start + 4, frames)))]
        words = shown[time_text(start / scene.fps)]
        assert sorted(word for word in words if word in OBJECTS) == sorted(s.name for s in own)


def test_a_part_of_the_videos_lacks_words_of_background_only() -> None:
    scene = make_scene(1, frames=64)
    drawn = [groups(written(scene, np.random.default_rng(seed))) for seed in range(20)]
    lengths = [sum(len(words) for words in picture.values()) for picture in drawn]
    assert max(lengths) == 16 * SIDE * SIDE
    assert sum(length == max(lengths) for length in lengths) < 20
    named = [sorted(w for words in picture.values() for w in words if w in OBJECTS) for picture in drawn]
    assert all(names == named[0] for names in named)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.sets(st.integers(0, 17), min_size=1))
def test_of_a_long_video_only_what_is_kept_of_some_shots_is_shown(seed: int, shots: set[int]) -> None:
    scene = make_scene(seed, frames=256)
    bare = groups(written(scene, np.random.default_rng(seed), shots=shots, whole=0.0, kept=(0.0, 0.0)))
    some = groups(written(scene, np.random.default_rng(seed), shots=shots, whole=0.0, kept=(0.3, 0.3)))
    frames = {f for i, shot in enumerate(scene.shots) if i in shots for f in range(shot.start, shot.stop)}
    total = 0
    for start in range(0, 256, 4):
        own = sorted(s.name for s in scene.sprites if any(s.shown(f) for f in {*range(start, start + 4)} & frames))
        time = time_text(start / scene.fps)
        words = some.get(time, [])
        assert sorted(word for word in words if word in OBJECTS) == own
        assert bool(own) == (time in bare)
        assert not {*bare.get(time, [])} & {*BACKGROUNDS}
        if frames.isdisjoint(range(start, start + 4)):
            assert time not in some
        total += sum(word in BACKGROUNDS for word in words)
    assert total < 0.5 * len({f // 4 for f in frames}) * SIDE * SIDE


def test_movements_stand_behind_what_moves_or_are_left_out() -> None:
    scene = make_scene(5, frames=8)
    told = [groups(written(scene, np.random.default_rng(seed))) for seed in range(20)]
    moves = {word for picture in told for words in picture.values() for word in words} - {*BACKGROUNDS, *OBJECTS}
    assert moves
    assert any(not moves & {w for words in picture.values() for w in words} for picture in told)
    whole = [words for picture in told for words in picture.values() if len(words) == SIDE * SIDE]
    assert any(a in OBJECTS and b in moves for words in whole for a, b in pairwise(words))


@pytest.mark.parametrize("seed", range(8))
def test_what_stays_still_is_where_it_is_on_the_frame(seed: int) -> None:
    scene = make_scene(seed, frames=64)
    pictures = [groups(written(scene, np.random.default_rng(s))) for s in range(6)]
    whole = next(p for p in pictures if all(len(words) == SIDE * SIDE for words in p.values()))
    alone = [s for shot in scene.shots for s in shot.sprites[:1] if isinstance(s.motion, Static)]
    for sprite in alone:
        start = -(-sprite.start // 4) * 4
        if not sprite.shown(start + 3):  # no group of its own
            continue
        x, y = (int(v * SIDE / scene.size) for v in sprite.centre(start, scene.fps))
        assert whole[time_text(start / scene.fps)][y * SIDE + x] == sprite.name


def test_words_stand_where_a_video_s_tokens_stand() -> None:
    scene = make_scene(2, frames=16)
    picture = written(scene, np.random.default_rng(0))
    qa = questions(scene)[1]
    batch = ChatEncoder(TOKENIZER).batch([Document([], [qa], picture)])
    prompt = build_prompt(TOKENIZER, question_turns(question_text(qa), reply_text(qa)), reply=False)
    place = int((prompt.ids < 0).nonzero())
    words = [i for text in picture for i in TOKENIZER(text, add_special_tokens=False)["input_ids"]]
    expected = torch.cat([prompt.ids[:place], torch.tensor(words), prompt.ids[place + 1 :]])
    assert batch.ids[0].tolist() == expected.tolist()[: batch.ids.shape[1]]
    assert batch.ids.shape[1] == len(expected) - 1  # the line break behind the last turn is nobody's
