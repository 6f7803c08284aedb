"""Questions of the tiny world can't be answered without watching, and the classifiers that say so would notice."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

from recot.errors import DataError
from recot.evaluation.shortcuts.__main__ import main
from recot.evaluation.shortcuts.chance import holm, judge, null_distribution
from recot.evaluation.shortcuts.classifiers import (
    Answerer,
    by_metadata,
    by_options,
    by_question_and_options,
    content_by_question,
    letter_by_question,
)
from recot.evaluation.shortcuts.free_form import free_form
from recot.evaluation.shortcuts.measure import measure
from recot.evaluation.shortcuts.questions import Choice, Metadata, Open, choices_of, read_folder
from recot.tiny_world.export import export
from recot.tiny_world.rendering import ground_truth
from recot.tiny_world.splits import Split
from recot.tiny_world.vocabulary import NOT_SHOWN

FRAMES, TRAIN, TEST = 64, 240, 200
SAME_FILE = Metadata(40_000, 8.0, 40_000.0, 625.0)
Doctor = Callable[[Choice], Choice]
Fit = Callable[[list[Choice]], Answerer]


def asked(name: str, videos: int, *, twins: bool = False) -> list[Choice]:
    """Questions of scenes that nobody rendered."""
    scenes = Split(world=3, name=name, videos=videos, frames=FRAMES, twins=twins)
    return [choice for scene in scenes for choice in choices_of(ground_truth(scene, "", b""), SAME_FILE)]


@pytest.fixture(scope="module")
def words() -> tuple[list[Choice], list[Choice]]:
    """Training and test questions."""
    return asked("train", TRAIN), asked("test", TEST)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Real videos, as ``python -m recot.tiny_world`` makes them."""
    parent = tmp_path_factory.mktemp("videos")
    for name, videos in (("train", 80), ("test", 60)):
        export(parent / name, Split(world=3, name=name, videos=videos, frames=FRAMES))
    return {name: parent / name for name in ("train", "test")}


def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    call = [sys.executable, "-m", "recot.evaluation.shortcuts", *map(str, arguments)]
    return subprocess.run(call, capture_output=True, text=True, timeout=300, check=False)


def accuracy(fit: Fit, train: list[Choice], test: list[Choice], task: str) -> float:
    own = [choice for choice in test if choice.task == task]
    guesses = fit([choice for choice in train if choice.task == task])(own)
    return float(np.mean([guess == choice.right for guess, choice in zip(guesses, own, strict=True)]))


# What chance gives


def test_chance_is_binomial_without_twins() -> None:
    rng = np.random.default_rng(0)
    predicted, right = rng.integers(4, size=(2, 300))
    scenes, tasks = np.repeat(np.arange(50), 6), np.tile(list("abcdef"), 50)
    assert null_distribution(predicted, right, scenes, tasks) == pytest.approx(binom.pmf(np.arange(301), 300, 0.25))
    verdict = judge(predicted, right, scenes, tasks)
    assert verdict.chance_interval == pytest.approx(
        (binom.ppf(0.025, 300, 0.25) / 300, binom.ppf(0.975, 300, 0.25) / 300)
    )
    tails = binom.cdf(verdict.hits, 300, 0.25), binom.sf(verdict.hits - 1, 300, 0.25)
    assert verdict.p_value == pytest.approx(2 * min(tails))
    assert verdict.interval[0] < verdict.accuracy < verdict.interval[1]


def test_chance_with_twins_is_what_turning_both_letters_gives() -> None:
    rng = np.random.default_rng(1)
    first, predicted = rng.integers(4, size=60), rng.integers(4, size=120)
    right = np.stack([first, (first + 2) % 4], axis=1).ravel()
    scenes = np.repeat(np.arange(60), 2)
    turned = (right + np.repeat(rng.integers(4, size=(20_000, 60)), 2, axis=1)) % 4
    drawn = np.bincount((turned == predicted).sum(axis=1), minlength=121) / len(turned)
    expected = null_distribution(predicted, right, scenes, np.zeros(120))
    assert np.cumsum(drawn) == pytest.approx(np.cumsum(expected), abs=0.015)
    # Whoever sees only the text answers twins alike, one of them right at most.
    alike = null_distribution(np.repeat(predicted[::2], 2), right, scenes, np.zeros(120))
    assert alike[:61] == pytest.approx(binom.pmf(np.arange(61), 60, 0.5))


def test_a_classifier_is_outside_when_it_knows_a_little_and_when_it_is_always_wrong() -> None:
    rng = np.random.default_rng(2)
    right, scenes = rng.integers(4, size=1000), np.arange(1000)
    knows = np.where(rng.random(1000) < 0.1, right, rng.integers(4, size=1000))
    for predicted in (knows, (right + 1) % 4):
        verdict = judge(predicted, right, scenes, scenes)
        assert not verdict.inside
        assert verdict.p_value < 0.05


def test_holm() -> None:
    assert holm([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


# The words


@pytest.mark.parametrize("twins", [False, True])
def test_no_classifier_of_words_is_better_or_worse_than_chance(words: tuple, twins: bool) -> None:
    train, test = (asked("train", 120, twins=True), asked("test", TEST, twins=True)) if twins else words
    for name, result in measure(train, test).items():
        assert result["overall"]["questions"] == 6 * TEST
        assert result["overall"]["inside"], (name, result["overall"])
        for task, figures in result["tasks"].items():
            assert figures["holm_p_value"] > 0.05, (name, task, figures)


def always_b(choice: Choice) -> Choice:
    options = list(choice.options)
    options[1], options[choice.right] = options[choice.right], options[1]
    return replace(choice, options=tuple(options), right=1)


def longest_is_right(choice: Choice) -> Choice:
    lengths = np.random.default_rng(choice.scene).permutation(4) + 1
    lengths[choice.right] = 5
    return replace(choice, options=tuple(o + "\u00a0" * n for o, n in zip(choice.options, lengths, strict=True)))


def not_shown_is_right(choice: Choice) -> Choice:
    return replace(choice, right=choice.options.index(NOT_SHOWN) if NOT_SHOWN in choice.options else choice.right)


def colour_tells_the_number(choice: Choice) -> Choice:
    """A red object appears once, a green one twice, ... wherever the number is offered."""
    colours = ("red", "green", "blue", "yellow", "magenta", "cyan", "orange", "white")
    number = str(1 + next(i for i, colour in enumerate(colours) if colour in choice.question) % 4)
    return replace(choice, right=choice.options.index(number) if number in choice.options else choice.right)


def earliest_if_the_object_is_square(choice: Choice) -> Choice:
    """Neither the question nor the options tell it alone."""
    starts = {float(o.split()[1]): i for i, o in enumerate(choice.options) if o != NOT_SHOWN}
    return replace(choice, right=starts[(min if "square" in choice.question else max)(starts)])


@pytest.mark.parametrize(
    ("doctor", "fit", "task", "least"),
    [
        (always_b, letter_by_question, "needle", 1.0),
        (always_b, by_options, "order", 1.0),
        (longest_is_right, by_options, "binding", 0.9),
        (not_shown_is_right, by_options, "multi_hop", 0.45),  # right wherever it is offered, which is in 40 %
        (colour_tells_the_number, content_by_question, "counting", 0.8),
        (colour_tells_the_number, by_question_and_options, "counting", 0.7),
        (earliest_if_the_object_is_square, by_question_and_options, "grounding", 0.8),
    ],
)
def test_a_shortcut_that_was_planted_is_found(words: tuple, doctor: Doctor, fit: Fit, task: str, least: float) -> None:
    train, test = ([doctor(choice) for choice in choices if choice.task == task] for choices in words)
    assert accuracy(fit, train, test, task) >= least


# The files


def test_the_command_on_honest_videos(folders: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    result = command("--train", folders["train"], "--test", folders["test"], "--out", out)
    assert result.returncode == 0, result.stdout + result.stderr
    figures = json.loads(out.read_text())
    assert out.with_suffix(".md").read_text() == result.stdout
    overall = [classifier["overall"] for classifier in figures["classifiers"].values()]
    assert len(overall) == 5
    assert all(one["inside"] and one["questions"] == 360 for one in overall)
    assert [row["task"] for row in figures["free_form"]] == list(next(iter(figures["classifiers"].values()))["tasks"])


def test_a_file_size_that_was_made_to_tell_the_count_is_found(folders: dict[str, Path], tmp_path: Path) -> None:
    """Each video is padded with a ``free`` box, which players skip."""
    for name, folder in folders.items():
        shutil.copytree(folder, tmp_path / name)
        for path in (tmp_path / name / "videos").glob("*.json"):
            (answer,) = [
                qa["answer"]
                for qa in json.loads(path.read_text())["qa"]
                if qa["task_type"] == "counting" and qa["options"]
            ]
            size = 20_000 * (0 if answer == NOT_SHOWN else int(answer)) + 8
            with path.with_suffix(".mp4").open("ab") as file:
                file.write(size.to_bytes(4, "big") + b"free" + bytes(size - 8))
    honest = [list(read_folder(folder).choices) for folder in folders.values()]
    padded = [list(read_folder(tmp_path / name).choices) for name in folders]
    assert accuracy(by_metadata, *padded, "counting") > 0.6
    assert accuracy(by_metadata, *honest, "counting") < 0.45


def test_status_1_when_a_classifier_is_outside(
    folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, folder in folders.items():
        shutil.copytree(folder, tmp_path / name)
        for path in (tmp_path / name / "videos").glob("*.json"):
            truth = json.loads(path.read_text())
            for qa in truth["qa"]:
                if qa["options"]:
                    qa["options"].sort(key=lambda option, right=qa["answer"]: option != right)
            path.write_text(json.dumps(truth))
    with pytest.raises(SystemExit) as ended:
        main(["--train", str(tmp_path / "train"), "--test", str(tmp_path / "test")])
    assert ended.value.code == 1
    assert "**outside**" in capsys.readouterr().out


def test_metadata_is_what_the_file_says(folders: dict[str, Path]) -> None:
    folder = read_folder(folders["test"])
    path = folders["test"] / "videos/000000.mp4"
    size = path.stat().st_size
    assert folder.choices[0].metadata == Metadata(size, 8.0, size * 8 / 8.0, size / 64)
    assert len(folder.scenes) == 60
    assert len(folder.choices) == len(folder.opens) == 360


def test_free_form_baselines() -> None:
    def question(scene: int, answer: str) -> Open:
        return Open(scene, "needle", "Which is shown: red circle, blue cross or red cross?", answer)

    train = [question(0, "red circle"), question(1, "blue cross"), question(2, "red circle"), question(3, NOT_SHOWN)]
    test = [question(4, "red circle"), question(5, "blue cross"), question(6, NOT_SHOWN), question(7, "white cross")]
    (row,) = free_form(train, test)
    assert (row["majority answer"], row["majority"]) == ("red circle", 0.25)
    assert row["uniform over answers"] == pytest.approx((1 / 3) * 3 / 4)
    assert row["uniform over the named"] == pytest.approx((1 / 2) * 2 / 4)  # the red cross was never an answer


# Refusals


def test_what_is_no_folder_of_the_tiny_world_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    result = command("--train", tmp_path, "--test", folders["test"])
    assert result.returncode == 2
    assert result.stderr.startswith(f"error: {tmp_path} has no videos/*.json")
    assert "python -m recot.tiny_world" in result.stderr


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda video, truth: video.unlink(), "can't be read"),
        (lambda video, truth: video.write_bytes(b"no video"), "can't be read"),
        (lambda video, truth: truth.write_text("{"), "000001.json is not the ground truth"),
        (lambda video, truth: truth.write_text("[]"), "000001.json is not the ground truth"),
        (lambda video, truth: truth.write_text(json.dumps({"video": video.name})), "no 'qa'"),
        (
            lambda video, truth: truth.write_text(truth.read_text().replace('"answer": "', '"answer": "x')),
            "one of them",
        ),
    ],
)
def test_a_damaged_file_is_named(
    folders: dict[str, Path], tmp_path: Path, damage: Callable[[Path, Path], object], says: str
) -> None:
    (tmp_path / "videos").mkdir()
    for name in ("000000", "000001"):
        for suffix in (".json", ".mp4"):
            shutil.copy(folders["test"] / f"videos/{name}{suffix}", tmp_path / "videos")
    damage(tmp_path / "videos/000001.mp4", tmp_path / "videos/000001.json")
    with pytest.raises(DataError, match="000001") as refused:
        read_folder(tmp_path)
    assert says in str(refused.value)


def test_videos_too_short_for_questions_are_refused(tmp_path: Path) -> None:
    export(tmp_path / "short", Split(world=3, name="test", videos=1, frames=4))
    with pytest.raises(DataError, match="too short"):
        read_folder(tmp_path / "short")


def test_questions_that_nothing_can_be_said_about_are_refused(words: tuple) -> None:
    train, test = words
    with pytest.raises(DataError, match="scenes in common"):
        measure(train, train)
    with pytest.raises(DataError, match="same --frames"):
        measure([choice for choice in train if choice.task != "order"], test)
    with pytest.raises(DataError, match="classifiers need 40"):
        measure(train[:60], test)


def test_the_place_of_the_report_is_checked_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--train", str(tmp_path), "--test", str(tmp_path), "--out", str(tmp_path / "figures.txt")])
    assert ended.value.code == 2
    assert "--out" in capsys.readouterr().err
