"""Planted junk: every label is true, as the decoded files say, and nothing but the files tells what is junk."""

import hashlib
import io
import json
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow.parquet as pq
import pytest

from recot.errors import VideoError
from recot.tiny_world.__main__ import main
from recot.tiny_world.junk.kinds import KINDS
from recot.tiny_world.junk.scenes import mirrored, one_shot, trimmed
from recot.tiny_world.junk.texts import may_hold
from recot.tiny_world.scene import make_scene
from recot.tiny_world.sprites import movement
from recot.tiny_world.vocabulary import BACKGROUNDS, COLOURS, NOT_SHOWN, OBJECTS
from recot.video_io import check_health, probe
from tests.conftest import REPO

VIDEOS, FRAMES, FPS, JUNK = 54, 64, 8.0, 0.9
ROWS = 7
SAME_VIEW = ("exact_duplicate", "reencoded", "crop", "brightness")


@dataclass(frozen=True)
class Made:
    """A corpus on the disk; its truth and labels by the paths that annotations use."""

    folder: Path

    @cached_property
    def truth(self) -> dict[str, dict[str, Any]]:
        return {f"videos/{t['video']}": t for t in map(read, (self.folder / "truth" / "corpus").iterdir())}

    @cached_property
    def evaluated(self) -> dict[str, dict[str, Any]]:
        return {f"videos/{t['video']}": t for t in map(read, (self.folder / "truth" / "evaluation").iterdir())}

    @cached_property
    def labels(self) -> dict[str, dict[str, Any]]:
        return {label["video"]: label for label in read(self.folder / "truth" / "labels.json")}

    @cached_property
    def annotations(self) -> list[dict[str, Any]]:
        return read(self.folder / "corpus" / "annotations.json")

    @property
    def clean(self) -> list[str]:
        return sorted(set(self.truth) - set(self.labels))

    def of_kind(self, *kinds: str) -> list[dict[str, Any]]:
        found = [label for label in self.labels.values() if label["kind"] in kinds]
        assert len(found) >= 3 * len(kinds)
        return found

    def content(self, video: str, part: str = "corpus") -> bytes:
        return (self.folder / part / video).read_bytes()

    def rows(self, video: str) -> list[dict[str, Any]]:
        return [row for row in self.annotations if row["video"] == video]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("junk") / "made"
    main(arguments(folder, videos=VIDEOS, frames=FRAMES, junk=JUNK))
    return Made(folder)


def arguments(folder: Path, **changes: object) -> list[str]:
    wanted = {"out": folder, "videos": 20, "frames": 32, "seed": 5, "junk": 0.8, **changes}
    return [f"--{name}={value}" for name, value in wanted.items() if value is not None]


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def decode(content: bytes, size: int | None = None) -> np.ndarray:
    with av.open(io.BytesIO(content)) as container:
        shown = container.decode(video=0)
        return np.stack([f.to_ndarray(format="rgb24", width=size, height=size) for f in shown]).astype(int)


def difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).mean())


def said(row: dict[str, Any]) -> tuple[str, str]:
    """Question and answer."""
    human, gpt = row["conversations"]
    return human["value"].removeprefix("<image>\n"), gpt["value"]


# What is true of a video, from the events of its ground truth alone.


@dataclass(frozen=True)
class Shown:
    name: str
    movement: str | None
    t0: float
    t1: float


def sprites(truth: dict[str, Any]) -> list[Shown]:
    events = [event for event in truth["events"] if event["kind"] == "sprite"]
    return [
        Shown(f"{a['colour']} {a['shape']}", a["movement"], event["t0"], event["t1"])
        for event in events
        for a in [event["attributes"]]
    ]


def cuts(truth: dict[str, Any]) -> list[float]:
    return [event["t0"] for event in truth["events"] if event["kind"] == "cut"]


def is_true(row: dict[str, Any], seen: list[Shown], cut: list[float]) -> bool:
    """Whether the answer of a row is right; ``seen`` and ``cut`` are the sprites and the cuts of the video."""
    question, answer = said(row)
    names = [s.name for s in seen]
    listed = row["options"] or [thing for thing in OBJECTS if thing in question]
    found = re.search(r"(?:the|the one with the) (\w+ \w+)(?: move| appear| shown|\?|:)", question)
    listed = [option for option in listed if option != NOT_SHOWN and not (found and option == found[1])]
    asked = [s for s in seen if found and s.name == found[1]]
    answers: set[str]
    if question.startswith("Which of these objects is shown in the video"):
        answers = set(listed) & set(names)
    elif question.startswith("How does"):
        answers = {str(s.movement) for s in asked}
    elif question.startswith("How many times"):
        answers = {str(len(asked))} - {"0"}
    elif question.startswith("When is"):
        answers = {f"from {s.t0:.2f} s to {s.t1:.2f} s" for s in asked}
    elif question.startswith("Which of these objects appears"):
        there = sorted((s for s in seen if s.name in listed), key=lambda s: s.t0, reverse=" last" in question)
        answers = {s.name for s in there[:1]}
    else:
        assert "in the scene right after" in question
        bounds = [0.0, *cut, float("inf")]
        hops = [sum(s.t0 >= start for start in bounds) for s in asked]
        answers = {s.name for s in seen if sum(s.t0 >= start for start in bounds) - 1 in hops} & set(listed)
    return answer in (answers or {NOT_SHOWN})


def swap(text: str) -> str:
    return re.sub(r"\b(left|right)\b", lambda m: {"left": "right", "right": "left"}[m[1]], text)


def asked_rows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    assert len(rows) == ROWS
    asked = [row for row in rows if said(row)[0] != "Describe the video."]
    assert len(asked) == ROWS - 1
    return asked


def caption_of(rows: list[dict[str, Any]]) -> str:
    (row,) = (row for row in rows if said(row)[0] == "Describe the video.")
    return said(row)[1]


# The labels and what they stand on.


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


def test_answers_of_good_videos_are_true_and_no_two_show_the_same(made: Made) -> None:
    for truth in [*(made.truth[video] for video in made.clean), *made.evaluated.values()]:
        for row in asked_rows(truth["rows"]):
            assert is_true(row, sprites(truth), cuts(truth)), said(row)
    films = [decode(made.content(video)) for video in made.clean]
    films += [decode(made.content(video, "evaluation")) for video in made.evaluated]
    for i, film in enumerate(films):
        assert all(difference(film, other) > 10 for other in films[:i])


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


def test_what_is_said_of_copies_is_true(made: Made) -> None:
    for label in made.of_kind(*SAME_VIEW):
        truth = made.truth[label["of"]]
        assert caption_of(made.rows(label["video"])) == truth["caption"]
        assert all(is_true(row, sprites(truth), cuts(truth)) for row in asked_rows(made.rows(label["video"])))
    for label in made.of_kind("mirror"):
        truth, rows = made.truth[label["of"]], made.rows(label["video"])
        assert caption_of(rows) == swap(truth["caption"]) != truth["caption"]
        seen = [Shown(s.name, s.movement and swap(s.movement), s.t0, s.t1) for s in sprites(truth)]
        assert all(is_true(row, seen, cuts(truth)) for row in asked_rows(rows))
    for label in made.of_kind("trimmed"):
        truth, rows = made.truth[label["of"]], made.rows(label["video"])
        start, stop = label["parameters"]["start"] / FPS, label["parameters"]["stop"] / FPS
        seen = [
            Shown(s.name, s.movement, max(s.t0 - start, 0.0), min(s.t1, stop) - start)
            for s in sprites(truth)
            if s.t0 < stop and s.t1 > start
        ]
        kept = [cut - start for cut in cuts(truth) if start < cut < stop]
        assert all(is_true(row, seen, kept) for row in asked_rows(rows))
        assert re.findall(r"At ([\d.]+) s the scene cuts", caption_of(rows)) == [f"{cut:.2f}" for cut in kept]
        assert all(0 <= t0 < t1 <= stop - start for row in rows for t0, t1 in row["evidence"])


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


def test_text_of_another_video_is_false(made: Made) -> None:
    for label in made.of_kind("wrong_text"):
        truth, rows = made.truth[label["video"]], made.rows(label["video"])
        assert caption_of(rows) == made.truth[label["of"]]["caption"] != truth["caption"]
        assert not any(is_true(row, sprites(truth), cuts(truth)) for row in asked_rows(rows))
        assert all(
            is_true(row, sprites(made.truth[label["of"]]), cuts(made.truth[label["of"]])) for row in asked_rows(rows)
        )


def test_blind_questions_hold_their_answer(made: Made) -> None:
    sides = {"circle": "0", "triangle": "3", "square": "4", "diamond": "4", "cross": "12"}
    for label in made.of_kind("blind"):
        rows = made.rows(label["video"])
        assert caption_of(rows) == made.truth[label["video"]]["caption"]
        for row in asked_rows(rows):
            assert row["id"] in label["sample_ids"]
            question, answer = said(row)
            assert answer in question.split() + question[:-1].split() + [sides.get(w, "") for w in question.split()]


def test_any_frame_answers_single_frame_questions(made: Made) -> None:
    for label in made.of_kind("single_frame"):
        truth, rows = made.truth[label["video"]], made.rows(label["video"])
        assert caption_of(rows) == truth["caption"]
        frames = decode(made.content(label["video"]))
        assert not cuts(truth)
        seen = sprites(truth)
        assert all((s.t0, s.t1) == (0, FRAMES / FPS) for s in seen)
        shown = {s.name.split()[0] for s in seen}
        assert len(shown) == len(seen) == len({s.name.split()[1] for s in seen})
        for frame in frames:
            for colour, rgb in COLOURS.items():
                pixels = (np.abs(frame - rgb).max(axis=2) < 45).sum()
                assert (pixels > 15) == (colour in shown), (colour, pixels)
        background = re.match(r"In front of an? (\w+) background", truth["caption"])
        assert background
        for row in asked_rows(rows):
            assert row["id"] in label["sample_ids"]
            question, answer = said(row)
            assert answer in (row["options"] or [answer])
            if "background" in question:
                assert answer == background[1] in BACKGROUNDS
            elif question.startswith("How many"):
                assert int(answer) == len(seen)
            else:
                thing = re.search(r"the (\w+)(?: object)? in the video", question)
                matching = [s.name for s in seen if "these" in question or (thing and thing[1] in s.name.split())]
                assert any(answer in (name, *name.split()) for name in matching)
                assert [option in (" ".join(matching)) for option in row["options"]].count(True) == bool(row["options"])


# What a pipeline may see.


def test_nothing_but_videos_and_words_tells_what_is_junk(made: Made) -> None:
    for part, known in (("corpus", made.truth), ("evaluation", made.evaluated)):
        assert sorted(p.name for p in (made.folder / part).iterdir()) == ["annotations.json", "videos"]
        assert all(re.fullmatch(r"videos/[0-9a-f]{16}\.mp4", video) for video in known)
        rows = read(made.folder / part / "annotations.json")
        assert len({row["id"] for row in rows}) == len(rows)
        assert all(re.fullmatch(r"[0-9a-f]{16}", row["id"]) for row in rows)
        assert {frozenset(row) for row in rows} == {frozenset(rows[0])}
        assert {row["data_source"] for row in rows} == {"tiny_world"}
        assert set(Counter(row["video"] for row in rows).values()) == {ROWS}
        for video in known:
            forms = sorted((row["task_type"], len(row["options"])) for row in rows if row["video"] == video)
            tasks = [task for task, _ in forms if task != "caption"]
            assert forms == sorted([("caption", 0), *((t, n) for t in sorted(set(tasks)) for n in (0, 4))])
        assert {row["task_type"] for row in rows} <= {
            *("caption", "needle", "binding", "counting", "order", "grounding", "multi_hop")
        }
    places = {row["id"]: i / len(made.annotations) for i, row in enumerate(made.annotations)}
    junk = [places[i] for label in made.labels.values() for i in label["sample_ids"]]
    assert abs(np.mean(junk) - 0.5) < 0.05
    in_a_row = sum(a["video"] == b["video"] for a, b in pairwise(made.annotations))
    assert in_a_row < 0.1 * len(made.annotations)
    ranked = sorted(made.truth)
    assert abs(np.mean([ranked.index(video) for video in made.clean]) / VIDEOS - 0.5) < 0.4


def test_the_pruning_pipeline_reads_it_and_drops_what_is_broken(made: Made, tmp_path: Path) -> None:
    command = [sys.executable, str(REPO / "data_pipelines/prune.py"), f"source={made.folder}/corpus/annotations.json"]
    done = subprocess.run(
        [*command, f"output={tmp_path}/out", "workers=1"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert read(tmp_path / "out" / "summary.json")["rows"]["dropped"] == 0
    audit = pq.read_table(tmp_path / "out" / "audit.parquet").to_pylist()
    dropped: dict[str, set[str]] = {}
    for row in audit:
        if row["reason_code"]:
            dropped.setdefault(row["sample_id"], set()).add(row["reason_code"])
    copies = {video for video, reasons in dropped.items() if reasons == {"duplicate_content"}}
    by_content: dict[str, set[str]] = {}
    for video, truth in made.truth.items():
        by_content.setdefault(truth["sha256"], set()).add(video)
    assert sorted(len(same & copies) for same in by_content.values()) == sorted(len(s) - 1 for s in by_content.values())
    # A file that is cut off behind its index passes for healthy where its last frame alone is broken.
    cut = {label["video"] for label in made.of_kind("truncated") if label["parameters"]["index_first"]}
    broken = {label["video"] for label in made.of_kind("truncated", "corrupt", "too_short")}
    assert broken - cut <= set(dropped) - copies <= broken


# The scenes and texts behind it.


def test_mirrored_and_trimmed_scenes_move_as_their_copies_do() -> None:
    compared = Counter[str]()
    for seed in range(40):
        scene = make_scene(seed, frames=64)
        flipped = mirrored(scene)
        rng = np.random.default_rng(seed)
        start = int(rng.integers(20))
        stop = int(rng.integers(start + 40, 65))
        part = trimmed(scene, start, stop)
        assert part.shots[0].start == 0
        assert part.shots[-1].stop == part.frames == stop - start
        for a, b in zip(scene.sprites, flipped.sprites, strict=True):
            for frame in range(a.start, a.stop):
                (ax, ay), (bx, by) = a.centre(frame, FPS), b.centre(frame, FPS)
                assert np.allclose((64 - ax, ay), (bx, by))
            assert movement(b, FPS) == (swap(m) if (m := movement(a, FPS)) else None)
        for frame in range(start, stop):
            before = sorted((s.name, *s.centre(frame, FPS)) for s in scene.sprites if s.shown(frame))
            after = sorted((s.name, *s.centre(frame - start, FPS)) for s in part.sprites if s.shown(frame - start))
            assert [name for name, *_ in before] == [name for name, *_ in after]
            assert np.allclose([c for _, *c in before], [c for _, *c in after])
            compared.update(type(s.motion).__name__ for s in part.sprites)
    assert set(compared) == {"Static", "Linear", "Bouncing", "Circular"}


def test_no_sprite_of_a_scene_of_one_shot_ever_hides_another() -> None:
    for seed in range(30):
        scene = one_shot(make_scene(seed, frames=64), np.random.default_rng(seed))
        for frame in range(64):
            tall = sorted((s.centre(frame, FPS)[1], s.radius) for s in scene.sprites)
            assert all(y1 + r1 + 1 < y2 - r2 for (y1, r1), (y2, r2) in pairwise(tall))


def test_what_is_true_of_a_scene_may_hold() -> None:
    false = 0
    for seed in range(30):
        scene, other = make_scene(seed, frames=64), make_scene(seed + 1000, frames=64)
        assert all(may_hold(planted, scene) for planted in scene.planted)
        false += sum(not may_hold(planted, other) for planted in scene.planted)
    assert false > 60


# The command.


def test_the_same_seed_gives_the_same_files_also_after_a_kill(tmp_path: Path) -> None:
    main(arguments(tmp_path / "a"))
    wanted = arguments(tmp_path / "b")
    child = subprocess.Popen([sys.executable, "-m", "recot.tiny_world", *wanted], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    truths = tmp_path / ".b.partial" / "truth"
    while sum(1 for _ in truths.rglob("*.json")) < 8:
        assert child.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.002)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not (tmp_path / "b").exists()
    done = {p.name: p.stat().st_mtime_ns for p in truths.rglob("*.json")}
    main(wanted)
    kept = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "b" / "truth").rglob("*.json")}
    assert all(kept[name] == at for name, at in done.items())
    files = [sorted(p.relative_to(tmp_path / x) for p in (tmp_path / x).rglob("*")) for x in "ab"]
    assert files[0] == files[1]
    assert len(files[0]) > 50
    for path in files[0]:
        if (tmp_path / "a" / path).is_file():
            assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes(), path
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"junk": 0.95}, "junk=0.95"),
        ({"junk": -0.1}, "junk=-0.1"),
        ({"junk": "nan"}, "junk=nan"),
        ({"videos": 19}, "15 junk videos, but there are 16 kinds"),
        ({"junk": 0}, "0 junk videos"),
        ({"frames": 16}, "frames=16"),
        ({"split": "test"}, "split test"),
        ({"frames": 0}, "frames=0"),
        ({"out": "/proc/nowhere/made"}, "/proc/nowhere/made"),
    ],
)
def test_impossible_requests(
    tmp_path: Path, changes: dict[str, object], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments(tmp_path / "made", **changes))
    printed = capsys.readouterr()
    assert printed.out == ""
    assert named in printed.err
    assert len(printed.err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())
