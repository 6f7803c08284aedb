"""Planted junk: every label is true, as the decoded files say."""

import hashlib
from collections import Counter

import numpy as np

from recot.errors import VideoError
from recot.tiny_world.junk.kinds import KINDS
from recot.tiny_world.vocabulary import COLOURS
from recot.video_io import check_health, probe
from tests.tiny_world.junk_corpus import FRAMES, JUNK, SAME_VIEW, VIDEOS, Made, decode, difference, read, said


def test_kinds_are_dealt_evenly_and_labels_name_what_is_there(made: Made) -> None:
    counts = Counter(label["kind"] for label in made.labels.values())
    assert set(counts) == set(KINDS)
    assert sum(counts.values()) == round(VIDEOS * JUNK)
    assert max(counts.values()) - min(counts.values()) <= 1
    assert sorted(p.name for p in made.folder.iterdir()) == ["contact_sheet.png", "corpus", "evaluation", "truth"]
    assert {f"videos/{p.name}" for p in (made.folder / "corpus/videos").iterdir()} == set(made.truth)
    assert len(made.truth) == VIDEOS
    for video, label in made.labels.items():
        truth, ids = made.truth[video], [row["id"] for row in made.rows(video)]
        assert truth["sha256"] == hashlib.sha256(made.content(video)).hexdigest()
        assert set(label["sample_ids"]) <= set(ids)
        spared = 1 if label["kind"] in ("blind", "single_frame") else 0
        assert len(label["sample_ids"]) == len(ids) - spared
        if label["kind"] in (*SAME_VIEW, "mirror", "trimmed", "wrong_text"):
            assert label["of"] in made.clean
        elif label["kind"] == "leaked":
            assert label["of"] in made.evaluated
        else:
            assert label["of"] is None


def test_exact_duplicates(made: Made) -> None:
    for label in made.of_kind("exact_duplicate"):
        assert made.content(label["video"]) == made.content(label["of"])


def test_copies_show_their_source(made: Made) -> None:
    smaller = 0
    for label in made.of_kind("reencoded"):
        content, source = made.content(label["video"]), made.content(label["of"])
        assert content != source
        assert decode(content).shape[1] == label["parameters"]["size"]
        assert difference(decode(content, 64), decode(source)) < 8
        smaller += label["parameters"]["size"] < 64
    assert 0 < smaller < len(made.of_kind("reencoded"))
    for label in made.of_kind("crop"):
        copy, source, p = decode(made.content(label["video"])), decode(made.content(label["of"])), label["parameters"]
        window = source[:, p["top"] : p["top"] + p["side"], p["left"] : p["left"] + p["side"]]
        nearest = (np.arange(64) * p["side"] / 64).astype(int)
        assert difference(copy, window[:, nearest][:, :, nearest]) < min(8, 0.8 * difference(copy, source))
        assert 0.8 * 64 <= p["side"] < 64
    for label in made.of_kind("mirror"):
        copy, source = decode(made.content(label["video"])), decode(made.content(label["of"]))
        assert difference(copy, source[:, :, ::-1]) < 3
        assert difference(copy, source) > 10
    for label in made.of_kind("trimmed"):
        copy, source, p = decode(made.content(label["video"])), decode(made.content(label["of"])), label["parameters"]
        assert 0.6 * FRAMES <= len(copy) == p["stop"] - p["start"] <= 0.9 * FRAMES
        assert difference(copy, source[p["start"] : p["stop"]]) < 3


def test_colours_keep_their_names_in_brighter_and_darker_copies(made: Made) -> None:
    named = np.array(list(COLOURS.values()))
    compared = 0
    for label in made.of_kind("brightness"):
        copy, source = decode(made.content(label["video"])), decode(made.content(label["of"]))
        level = label["parameters"]["levels"]
        assert 16 <= abs(level) <= 32
        unclipped = (source > 40) & (source < 215)
        assert abs((copy - source)[unclipped].mean() - level) < 2
        for i in range(len(named)):
            inside = np.abs(source - named[i]).max(axis=3) < 10
            if inside.sum() > 200:
                compared += 1
                assert np.square(named - copy[inside].mean(axis=0)).sum(axis=1).argmin() == i
    assert compared >= 6


def test_leaks_are_of_the_evaluation_set_with_its_questions(made: Made) -> None:
    for label in made.of_kind("leaked"):
        copy, source = made.content(label["video"]), made.content(label["of"], "evaluation")
        assert (copy == source) == (label["parameters"]["bytes"] == "same")
        assert difference(decode(copy, 64), decode(source)) < 8
        theirs = [said(row) for row in made.evaluated[label["of"]]["rows"]]
        assert sorted(said(row) for row in made.rows(label["video"])) == sorted(theirs)
    listed = read(made.folder / "evaluation" / "annotations.json")
    assert {row["video"] for row in listed} == set(made.evaluated)
    assert all((made.folder / "evaluation" / row["video"]).is_file() for row in listed)
    assert not {t["sha256"] for t in made.evaluated.values()} & {made.truth[v]["sha256"] for v in made.clean}


def motion(frames: np.ndarray) -> float:
    """Mean absolute difference of luma from one half second to the next, 0 to 1."""
    luma = frames[::4] @ (0.299, 0.587, 0.114) / 255
    return float(np.abs(np.diff(luma, axis=0)).mean())


def test_static_black_blank_and_short_ones(made: Made) -> None:
    for label in made.of_kind("static"):
        frames = decode(made.content(label["video"]))
        assert len(frames) == FRAMES
        assert motion(frames) < 0.002
        assert frames[0].std() > 5
    for label in made.of_kind("black", "blank"):
        frames = decode(made.content(label["video"]))
        assert len(frames) == FRAMES
        assert np.ptp(frames, axis=(0, 1, 2)).max() <= 12
        assert (frames.mean() < 14) == (label["kind"] == "black")
    for label in made.of_kind("too_short"):
        assert len(decode(made.content(label["video"]))) == label["parameters"]["frames"] <= 3
    contents = [made.content(label["video"]) for label in made.of_kind("static", "black", "blank", "too_short")]
    assert len(set(contents)) == len(contents)
    moving = [
        video for video in made.truth if made.truth[video]["kind"] in (None, "blind", "wrong_text", "single_frame")
    ]
    assert all(motion(decode(made.content(video))) > 0.004 for video in moving)


def decodable(content: bytes) -> float:
    """Frames that decode, of those that there were."""
    try:
        return check_health(content, probe(content)).decoded / FRAMES
    except VideoError:
        return 0.0


def test_truncated_and_corrupt_files_lose_frames_and_no_others_do(made: Made) -> None:
    for label in made.of_kind("truncated", "corrupt"):
        assert decodable(made.content(label["video"])) < 0.9, label
    healthy = set(made.truth) - {
        label["video"] for label in made.of_kind("truncated", "corrupt", "too_short", "trimmed")
    }
    assert all(decodable(made.content(video)) == 1 for video in healthy)


def test_corrupt_frames_miss_the_health_threshold_of_the_pruning_pipeline(made: Made) -> None:
    damaged = [label for label in made.of_kind("corrupt") if label["parameters"]["damaged"] == "frames"]
    assert damaged
    for label in damaged:
        content = made.content(label["video"])
        assert check_health(content, probe(content)).ratio < 0.9
