"""What an evaluation set has too is found, and what only sounds like it isn't."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipelines.decontamination import LeakSettings, text_leaks, video_leaks
from data_pipelines.duplicates import DuplicateSettings
from recot.data.schema import QA
from recot.errors import ConfigError
from recot.tiny_world.junk.pixels import crop, decode_frames, mirror
from recot.tiny_world.render import render, render_frame
from recot.tiny_world.splits import Split
from recot.tiny_world.truth import questions
from recot.tiny_world.video import encode_mp4
from tests.data_pipelines.test_duplicates import EVERY, hash_table, luma, noisy, sequence, table

DEFAULT = DuplicateSettings()
TRAIN = Split(world=5, name="train", videos=120, frames=64)
TEST = Split(world=5, name="test", videos=40, frames=64)


def texts(rows: Sequence[QA], prefix: str) -> pa.Table:
    """Samples named by prefix and number."""
    return pa.table(
        {
            "sample_id": pa.array([f"{prefix}{i}" for i in range(len(rows))], pa.string()),
            "question": pa.array([row.question for row in rows], pa.string()),
            "answer": pa.array([row.answer for row in rows], pa.string()),
            "options": pa.array([row.options for row in rows], pa.list_(pa.string())),
        }
    )


@pytest.fixture(scope="module")
def good() -> list[QA]:
    """Questions and captions of scenes that no evaluation set has."""
    return [qa for scene in TRAIN for qa in questions(scene)]


@pytest.fixture(scope="module")
def evaluation() -> list[QA]:
    return [qa for scene in TEST for qa in questions(scene)]


def test_good_questions_recur_but_count_for_nothing_with_their_options(good: list[QA], evaluation: list[QA]) -> None:
    asked = {qa.question for qa in evaluation}
    assert sum(qa.question in asked for qa in good) > 0.4 * len(good)
    found = text_leaks(texts(good, "g"), texts(evaluation, "e"), LeakSettings())
    values = [value for value in found["leak_text"].to_pylist() if value is not None]
    assert len(values) > 0.5 * len(good)
    assert max(values) < 0.2


def test_leaked_texts_are_found_unless_they_are_too_short_to_tell(evaluation: list[QA]) -> None:
    leaked = evaluation[::7]
    changed = [replace(qa, question=f"  {qa.question.upper()}!", answer=qa.answer.replace(",", " ,")) for qa in leaked]
    found = text_leaks(texts(changed, "c"), texts(evaluation, "e"), LeakSettings()).to_pylist()
    for number, (qa, row) in enumerate(zip(leaked, found, strict=True)):
        short = len(" ".join(qa.options or [qa.answer]).split()) < 8
        if row["leak_text_status"] == "na":
            assert short
            assert row["leak_text"] is row["leak_text_of"] is None
        else:
            assert (row["leak_text"], row["leak_text_of"]) == (1.0, f"e{7 * number}")
        if qa.task_type == "caption" or (qa.options and qa.task_type != "counting"):
            assert row["leak_text_status"] == "ok"


LONG = (
    "the man in the red coat opens the door of the old house walks slowly down the stone stairs into the dark cellar "
    "lights a candle and reads a letter"
)


def test_shares_of_n_grams() -> None:
    """30 words, 19 windows of 12, and with half of the question's words some more; the first 24 of them are known."""
    known = [QA("", "What happens?", LONG), QA("", "Which one?", "", options=["a b c d", "e f g h", "i j k l"])]
    words = LONG.split()
    start = " ".join(words[:24])
    asked = [
        QA("", "Tell me.", LONG),
        QA("", "Tell me.", f"{start} nobody ever saw this"),
        QA("", "Tell me.", " ".join(reversed(words))),
        QA("", LONG, "yes"),
        QA("", "Which one?", "", options=["a b c d", "e f g h", "i j k l"]),
        QA("", "Which one?", "", options=["e f g h", "a b c d", "i j k l"]),
    ]
    found = text_leaks(texts(asked, "a"), texts(known, "k"), LeakSettings()).to_pylist()
    windows = 2 + len(words) - 12 + 1
    assert found[0]["leak_text"] == pytest.approx((windows - 2) / windows)
    assert found[1]["leak_text"] == pytest.approx(13 / (2 + 24 + 4 - 12 + 1))
    assert [row["leak_text_of"] for row in found] == ["k0", "k0", None, None, "k1", None]
    assert [row["leak_text"] for row in found[2:]] == [0.0, 0.0, 1.0, 0.0]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from("abcdef"), min_size=8, max_size=40), st.lists(st.sampled_from("abcdef"), max_size=40))
def test_the_share_is_that_of_sets_of_n_grams(asked: list[str], known: list[str]) -> None:
    """Against Python's own sets, for n = 3."""
    found = text_leaks(
        texts([QA("", "", " ".join(asked))], "a"),
        texts([QA("", "q", " ".join(known))], "k"),
        LeakSettings(ngram=3, telling=1),
    )
    own = {tuple(asked[i : i + 3]) for i in range(len(asked) - 2)}
    theirs = {("q", *known)[i : i + 3] for i in range(len(known) - 1)}
    # Windows with a word that isn't there at all can't be told apart, and each of them counts.
    strange = [w for i in range(len(asked) - 2) if not set(w := asked[i : i + 3]) <= {"q", *known}]
    count = len({w for w in own if set(w) <= {"q", *known}}) + len(strange)
    expected = len(own & theirs) / count if count >= 3 else 0.0
    assert found["leak_text"].to_pylist() == [pytest.approx(expected)]


def test_videos_of_the_evaluation_set_are_found_through_real_files() -> None:
    """The same bytes, other packets, a crop and a mirrored copy, among scenes that aren't there."""
    known = [encode_mp4(render(scene), size=64, fps=8.0) for scene in TEST[:4]]
    frames = [decode_frames(content) for content in known]
    cropped = decode_frames(encode_mp4(crop(frames[2], left=1, top=4, side=58), size=64, fps=8.0))
    turned = decode_frames(encode_mp4(mirror(frames[3])[9:56], size=64, fps=8.0))
    evaluation = table({f"test {i}": (luma(f[::EVERY]), 8.0) for i, f in enumerate(frames)})
    copies = {"same": frames[0], "packets": frames[1], "cropped": cropped, "turned": turned}
    shown = {name: (luma(f[::EVERY]), len(f) / 8) for name, f in copies.items()}
    for i in range(20):
        shown[f"good {i}"] = (luma([render_frame(TRAIN[i], k) for k in range(0, 64, EVERY)]), 8.0)
    videos = table(
        shown,
        key=["test 0", *list(shown)[1:]],
        packet_md5=["test 0", "test 1", *list(shown)[2:]],
    )
    found = video_leaks(videos, evaluation, DEFAULT).to_pylist()
    assert [row["leak_kind"] for row in found[:4]] == ["exact", "packets", "perceptual", "perceptual"]
    assert [row["leak_of"] for row in found[:4]] == ["test 0", "test 1", "test 2", "test 3"]
    assert all(row["leak_kind"] is row["leak_score"] is row["leak_of"] is None for row in found[4:])


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32))
def test_the_order_of_rows_does_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    plain = {f"{i}": sequence(rng, 8) for i in range(12)}
    known = {f"e{i}": noisy(rng, plain[f"{i % 4}"], 0.05) for i in range(8)}
    videos, evaluation = (
        hash_table(hashes, [noisy(rng, h, 0.5) for h in hashes.values()], [len(h) / 2 for h in hashes.values()])
        for hashes in (plain, known)
    )
    found = video_leaks(videos, evaluation, DEFAULT)
    assert [kind is not None for kind in found["leak_kind"].to_pylist()] == [i < 4 for i in range(12)]
    ours, theirs = (pa.array(rng.permutation(len(t))) for t in (videos, evaluation))
    again = video_leaks(videos.take(ours), evaluation.take(theirs), DEFAULT)
    assert again.to_pylist() == found.take(ours).to_pylist()


def test_nothing_on_either_side_and_bad_settings() -> None:
    frame = luma([render_frame(TEST[0], 0)])
    videos = table({"a": (frame, 0.1), "b": (frame[:, ::-1].copy(), 0.1)}, key=[None, "k"], packet_md5=[None, None])
    nothing = hash_table({}, [], [])
    rows = texts([QA("", "What is it?", "a cat")], "s")
    assert video_leaks(videos, nothing, DEFAULT)["leak_of"].to_pylist() == [None, None]
    assert text_leaks(rows, texts([], "e"), LeakSettings())["leak_text_status"].to_pylist() == ["na"]
    assert video_leaks(nothing, videos, DEFAULT).num_rows == 0
    assert text_leaks(texts([], "s"), rows, LeakSettings()).num_rows == 0
    with pytest.raises(ConfigError, match=r"pruning\.decontamination\.ngram is 0"):
        LeakSettings(ngram=0).check("pruning.decontamination")
