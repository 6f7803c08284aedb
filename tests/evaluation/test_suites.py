"""Benchmarks are read from files of their own schema; whatever isn't that schema is refused by name."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recot.data.qa_text import question_text
from recot.data.schema import QA
from recot.errors import DataError
from recot.evaluation.items import data_hash, share
from recot.evaluation.suites import SUITES
from recot.evaluation.suites.base import missing_videos
from recot.tiny_world.splits import Split
from recot.tiny_world.truth import questions
from tests.evaluation import benchmark_files as files
from tests.evaluation.benchmark_files import CASES, Case


@pytest.fixture(params=sorted(CASES))
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    """Every benchmark, one after the other."""
    return CASES[request.param](tmp_path)


def add(name: str, value: Any) -> Callable[[list[dict[str, Any]]], None]:
    return lambda rows: rows[0].update({name: value})


def test_every_suite_has_a_case() -> None:
    assert set(CASES) | {"needle"} == set(SUITES)  # needles have tests of their own


def test_items_are_whole(case: Case) -> None:
    items = case.suite.load()
    assert len({item.id for item in items}) == len(items)
    for item in items:
        assert item.video.is_file()
        assert (item.span is None) == (item.form != "span") == bool(item.options)
        assert item.right is None or 0 <= item.right < len(item.options)
        assert set(case.suite.summary.tables) <= set(item.groups)
        assert case.suite.prompt(item, [1.0]).user
    assert missing_videos(items, case.suite.origin) == []


def test_missing_field_is_named(case: Case) -> None:
    case.edit(lambda rows: rows[0].pop(case.question))
    with pytest.raises(DataError, match=rf"{case.file.name}.*{case.question}.*missing"):
        case.suite.load()


def test_field_of_another_type_is_named(case: Case) -> None:
    case.edit(lambda rows: [row.update({case.question: 7}) for row in rows] and None)
    with pytest.raises(DataError, match=rf"{case.file.name}.*{case.question}=7 should be of the type"):
        case.suite.load()


def test_question_without_text_is_told(case: Case) -> None:
    case.edit(lambda rows: rows[0].update({case.question: " "}))
    with pytest.raises(DataError, match=r"has no text|no options|asked 1 times"):
        case.suite.load()


def test_extra_field_is_named_and_can_be_ignored(case: Case) -> None:
    def change(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            row["new_field"] = "x"

    case.edit(change)
    with pytest.raises(DataError, match=rf"{case.file.name}.*new_field.*unknown"):
        case.suite.load()
    assert replace(case.suite, ignore_fields=["new_field"]).load()


def test_wrong_count_is_told(case: Case) -> None:
    assert case.suite.counts is not None
    name = next(iter(case.suite.counts))
    wrong = replace(case.suite, counts={**case.suite.counts, name: [99, 100]})
    with pytest.raises(DataError, match=rf"{name}, but the benchmark has 99 or 100"):
        wrong.load()
    assert replace(case.suite, counts=None).load()


@pytest.mark.parametrize("kind", ["tiny_world", "mlvu_test", "video_mme", "longvideobench", "vnbench"])
def test_duplicate_id_is_told(kind: str, tmp_path: Path) -> None:
    case = CASES[kind](tmp_path)
    case.edit(lambda rows: rows[1].update(rows[0]))
    with pytest.raises(DataError, match="ids occur twice"):
        case.suite.load()


@pytest.mark.parametrize("kind", sorted(set(CASES) - {"charades_sta", "vstar"}))
def test_answer_that_is_no_option_is_told(kind: str, tmp_path: Path) -> None:
    case = CASES[kind](tmp_path)
    case.edit(add(case.answer, 7 if kind == "longvideobench" else "Z. zebra"))
    with pytest.raises(DataError, match=rf"{case.file.name}.*(is none of|should begin)"):
        case.suite.load()


@pytest.mark.parametrize("kind", ["charades_sta", "vstar"])
@pytest.mark.parametrize("value", [[9.0, 2.0], [1.0], "1-2"])
def test_span_that_is_none_is_told(kind: str, value: Any, tmp_path: Path) -> None:
    case = CASES[kind](tmp_path)

    def change(rows: list[dict[str, Any]]) -> None:
        rows[0][case.answer] = value

    case.edit(change)
    with pytest.raises(DataError, match=case.file.name):
        case.suite.load()


def test_absent_data_says_what_to_get(case: Case) -> None:
    folder = case.file.parent
    shutil.rmtree(folder)
    with pytest.raises(DataError) as caught:
        case.suite.load()
    for part in (case.suite.origin.source, case.suite.origin.licence, case.suite.origin.layout):
        assert part in str(caught.value)


def test_damaged_file_is_told(case: Case) -> None:
    case.file.write_bytes(case.file.read_bytes()[:-20])
    with pytest.raises(DataError, match=case.file.name):
        case.suite.load()


def test_missing_video_is_listed_and_only_all_of_them_are_fatal(case: Case) -> None:
    items = case.suite.load()
    items[0].video.unlink()
    failed = missing_videos(items, case.suite.origin)
    assert {failure.id for failure in failed} == {i.id for i in items if i.video_id == items[0].video_id}
    assert all(failure.reason == "missing" for failure in failed)
    for item in items:
        item.video.unlink(missing_ok=True)
    with pytest.raises(DataError, match="videos is there") as caught:
        missing_videos(items, case.suite.origin)
    assert case.suite.origin.layout in str(caught.value)


def test_mlvu_dev_tasks_and_unanswerable(tmp_path: Path) -> None:
    items = files.mlvu_dev(tmp_path).suite.load()
    assert [item.groups["task"][0] for item in items[:4]] == ["plotQA", "plotQA", "findNeedle", "findNeedle"]
    assert [item.right for item in items].count(None) == 1
    assert items[0].video == tmp_path / "video" / "1_plotQA" / "v0_0.mp4"


def test_mlvu_mirror_is_the_same_questions(tmp_path: Path) -> None:
    own = files.mlvu_dev(tmp_path).suite
    rows = [
        {
            "video_name": item.video.name,
            "duration": item.duration_s,
            "question": item.question + "\n(A) Red\n(B) Green\n(C) Blue\n(D) Grey\n",
            "candidates": list(item.options),
            "answer": "C",
            "task_type": item.groups["task"][0],
        }
        for item in own.load()
    ]
    path = files.write(tmp_path / "mirror.json", rows)
    mirror = replace(own, annotations=path, videos=tmp_path / "video", counts={"items": [14]}).load()
    for a, b in zip(own.load(), mirror, strict=True):
        assert (b.question, b.options, b.groups) == (a.question, a.options, a.groups)
        assert b.right == 2
        assert own.prompt(a, []) == own.prompt(b, [])


def test_mlvu_test_letters_go_to_f(tmp_path: Path) -> None:
    case = files.mlvu_test(tmp_path)
    assert {item.right for item in case.suite.load()} == {5}
    case.edit(add("answer", "F"))
    assert case.suite.load()[0].right == 5
    case.edit(add("candidates", ["one", "two"]))
    with pytest.raises(DataError, match="2 candidates"):
        case.suite.load()


def test_video_mme_subtitles_are_those_at_the_frames(tmp_path: Path) -> None:
    suite = files.video_mme(tmp_path).suite
    with_lines, without_file = suite.load()[0], suite.load()[3]
    assert suite.prompt(with_lines, [0.0, 1.5, 11.0]).user.startswith(
        "This video's subtitles are listed below:\nHello there.\nTwo lines.\nSelect"
    )
    assert "Hello" not in suite.prompt(with_lines, [11.0]).user
    for prompt in (suite.prompt(with_lines, [5.0]), suite.prompt(without_file, [1.5])):
        assert "subtitle" not in prompt.user  # none is shown: none is spoken of
    plain = files.video_mme(tmp_path / "plain", subtitles=False).suite
    assert not plain.tells_subtitles
    assert "subtitle" not in plain.prompt(plain.load()[0], [1.5]).user


@pytest.mark.parametrize("kind", [files.video_mme, files.longvideobench])
def test_subtitles_that_are_wanted_must_be_there(kind: Callable[..., Case], tmp_path: Path) -> None:
    suite = replace(kind(tmp_path).suite, subtitle_folder=tmp_path / "nowhere", counts=None)
    with pytest.raises(DataError, match=r"nowhere\S* isn't there"):
        suite.load()
    assert not any(item.subtitles for item in replace(suite, subtitles=False).load())


def test_subtitles_that_are_damaged_are_told(tmp_path: Path) -> None:
    case = files.video_mme(tmp_path)
    (tmp_path / "subtitle" / "aB-1.srt").write_text("1\nno times here\nHello.\n")
    with pytest.raises(DataError, match=r"aB-1\.srt is no SubRip file"):
        case.suite.load()
    case = files.longvideobench(tmp_path / "lvb")
    (tmp_path / "lvb" / "subtitles" / "v1_en.json").write_text('[{"timestamp": [1]}]')
    with pytest.raises(DataError, match=r"v1_en\.json is no subtitle file"):
        case.suite.load()


def test_video_mme_option_without_its_letter_is_told(tmp_path: Path) -> None:
    case = files.video_mme(tmp_path)
    case.edit(add("options", ["One.", "Two.", "Three.", "Four."]))
    with pytest.raises(DataError, match="should begin with"):
        case.suite.load()


def test_longvideobench_subtitles_begin_with_the_video(tmp_path: Path) -> None:
    first, second = files.longvideobench(tmp_path).suite.load()
    assert [(line.start, line.end, line.text) for line in first.subtitles] == [(1.0, 4.0, "Clocked.")]
    short, open_end = second.subtitles
    assert (short.start, short.end) == pytest.approx((0.6, 1.6))  # a line shorter than a second is shown for one
    assert (open_end.start, open_end.end) == (8.0, 12.5)


def test_longvideobench_mirror_is_padded(tmp_path: Path) -> None:
    case = files.longvideobench(tmp_path, subtitles=False)
    rows = files.read(case.file)
    for row in rows:
        options = row.pop("candidates")[:3]
        row |= {f"option{i}": options[i] if i < 3 else "N/A" for i in range(5)} | {"correct_choice": 2}
    suite = replace(case.suite, annotations=files.write(tmp_path / "val.parquet", rows))
    assert suite.load()[0].options == ("a cup", "a book", "a cat")
    rows[0]["option1"] = "N/A"
    files.write(tmp_path / "val.parquet", rows)
    with pytest.raises(DataError, match="pad the end"):
        suite.load()


def test_lvbench_own_file_is_the_same_questions(tmp_path: Path) -> None:
    case = files.lvbench(tmp_path)
    own = [
        {
            "key": f"v{i}",
            "type": row["type"],
            "video_info": {"fps": 30},
            "qa": [
                {
                    "uid": str(i),
                    "question": row["question"] + "\n(A) Ann\n(B) Bob\n(C) Cid\n(D) Dan",
                    "answer": row["answer"],
                    "question_type": row["question_type"],
                    "time_reference": row["time_reference"],
                }
            ],
        }
        for i, row in enumerate(files.read(case.file))
    ]
    path = files.write(tmp_path / "video_info.meta.jsonl", own)
    assert replace(case.suite, annotations=path).load() == case.suite.load()
    mirror = [{**row, "video_path": row["video"], "options": row["candidates"]} for row in files.read(case.file)]
    for row in mirror:
        del row["video"], row["candidates"]
    path = files.write(tmp_path / "mirror.parquet", mirror)
    assert replace(case.suite, annotations=path).load() == case.suite.load()
    assert case.suite.load()[0].evidence == ((15.0, 79.0),)
    with_letters = files.read(case.file)
    for row in with_letters:
        row["video"] = row["video"].removesuffix(".mp4")
        row["candidates"] = [f"({'ABCD'[i]}) {option}" for i, option in enumerate(row["candidates"])]
        row["answer"] = row["candidates"][2]
    path = files.write(tmp_path / "letters.json", with_letters)
    assert replace(case.suite, annotations=path).load() == case.suite.load()
    own[0]["qa"][0]["question"] = "Who?\n(A) Ann\n(C) Cid"
    path = files.write(tmp_path / "video_info.meta.jsonl", own)
    with pytest.raises(DataError, match="no options"):
        replace(case.suite, annotations=path).load()


def test_lvbench_without_a_time_has_no_evidence(tmp_path: Path) -> None:
    case = files.lvbench(tmp_path)
    case.edit(
        lambda rows: [row.update(time_reference=t) for row, t in zip(rows, (None, "whole"), strict=True)] and None
    )
    assert [item.evidence for item in case.suite.load()] == [(), ()]


def test_vnbench_counts_are_numbers(tmp_path: Path) -> None:
    case = files.vnbench(tmp_path)

    def change(rows: list[dict[str, Any]]) -> None:
        for row in rows[8:]:
            row |= {"options": [1 + (i + row["try"]) % 4 for i in range(4)], "gt": 3}

    case.edit(change)
    assert {item.options[item.right or 0] for item in case.suite.load()[8:]} == {"3"}


def test_vnbench_question_with_a_try_missing_is_told(tmp_path: Path) -> None:
    case = files.vnbench(tmp_path)
    assert {item.options[item.right or 0] for item in case.suite.load()} == {"Alice"}
    case.edit(lambda rows: rows.pop())
    with pytest.raises(DataError, match="asked 3 times"):
        case.suite.load()


def test_tempcompass_forms(tmp_path: Path) -> None:
    items = {item.groups["task"][0]: item for item in files.tempcompass(tmp_path).suite.load()}
    assert (items["multi-choice"].question, items["multi-choice"].right) == ("What runs?", 1)
    assert items["multi-choice"].options == ("a dog", "a cat", "a cow")
    assert (items["yes_no"].options, items["yes_no"].right) == (("yes", "no"), 1)
    assert items["caption_matching"].options == ("Caption A: A dog runs.", "Caption B: A dog sits.")


def test_vstar_finds_videos_in_folders_and_tells_lengths(tmp_path: Path) -> None:
    first, second = files.vstar(tmp_path).suite.load()
    assert first.video == tmp_path / "videos" / "a" / "0.mp4"
    assert (first.groups["duration"], second.groups["duration"]) == (("Short",), ("Long",))
    assert second.duration_s == 240.0


def test_tiny_world_is_asked_as_in_training(tmp_path: Path) -> None:
    suite = files.tiny_world(tmp_path).suite
    asked: list[QA] = [
        qa for scene in Split(world=5, name="test", videos=2, frames=64) for qa in questions(scene) if qa.options
    ]
    assert [suite.prompt(item, []).user for item in suite.load()] == [question_text(qa) for qa in asked]


def test_data_hash_knows_questions_but_neither_folders_nor_missing_videos(tmp_path: Path) -> None:
    first, second = (files.charades_sta(tmp_path / name) for name in "ab")
    digest = data_hash(first.suite.load())
    (tmp_path / "b" / "videos" / "V1.mp4").unlink()
    assert data_hash(second.suite.load()) == digest
    first.edit(lambda rows: rows[0].update(caption="a person stands."))
    assert data_hash(first.suite.load()) != digest


@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_processes_share_items_by_video(world: int, tmp_path: Path) -> None:
    items = files.video_mme(tmp_path).suite.load()
    parts = [share(items, rank, world) for rank in range(world)]
    assert sorted(item.id for part in parts for item in part) == sorted(item.id for item in items)
    videos = [{item.video_id for item in part} for part in parts]
    assert sum(map(len, videos)) == 2  # no video is in two parts
