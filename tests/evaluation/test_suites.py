"""Benchmarks are read from files of their own schema; whatever isn't that schema is refused by name."""

import contextlib
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recot.errors import ConfigError, DataError
from recot.evaluation.items import data_hash, share, subtitles_hash
from recot.evaluation.suites import SUITES
from recot.evaluation.suites.base import missing_videos
from tests.evaluation import benchmark_files as files
from tests.evaluation.benchmark_files import CASES, Case, add


@pytest.fixture(params=sorted(CASES))
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    """Every benchmark, one after the other."""
    return CASES[request.param](tmp_path)


def test_every_suite_has_a_case() -> None:
    assert set(CASES) | {"needle"} == set(SUITES)  # needles have tests of their own


def test_items_are_whole(case: Case) -> None:
    items = case.suite.load()
    assert len({item.id for item in items}) == len(items)
    for item in items:
        assert item.video.is_file()
        assert (item.span is None) == (item.form not in ("span", "two_times")) == bool(item.options)
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


@pytest.mark.parametrize("value", [None, "new_field", [1]])
def test_ignored_fields_are_a_list(case: Case, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"evaluation\.{case.suite.name}\.ignore_fields=.*give a list"):
        replace(case.suite, ignore_fields=value)


def test_paths_must_be_given(case: Case) -> None:
    for name in ("annotations", "videos"):
        with pytest.raises(ConfigError, match=rf"evaluation\.{case.suite.name}\.{name}=None: give a path"):
            replace(case.suite, **{name: None})


def test_subtitles_are_on_or_off(case: Case) -> None:
    if hasattr(case.suite, "subtitles"):
        with pytest.raises(ConfigError, match=r"subtitles='no': give true or false"):
            replace(case.suite, subtitles="no")


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


NO_SPANS: list[Any] = [
    *([9.0, 2.0], [1.0], [1.0, 2.0, 3.0], "1-2", [-1.0, 2.0], [math.nan, 2.0], [1.0, math.nan], [1.0, math.inf]),
    *([False, 2.0], ["1", "2"], [None, 2.0]),
]


@pytest.mark.parametrize("kind", ["charades_sta", "vstar"])
@pytest.mark.parametrize("value", NO_SPANS, ids=str)
def test_span_that_is_none_is_told(kind: str, value: Any, tmp_path: Path) -> None:
    case = CASES[kind](tmp_path)
    case.edit(add(case.answer, value))
    with pytest.raises(DataError, match=rf"{case.file.name}, row 1\b"):
        case.suite.load()


@pytest.mark.parametrize("value", [[1, 2], [["a", "b"]], [[1.0, 2.0], 3], [[2.0, 1.0]]], ids=str)
def test_evidence_that_is_none_is_told(value: Any, tmp_path: Path) -> None:
    case = files.tiny_world(tmp_path)
    case.edit(add("evidence", value))
    with pytest.raises(DataError, match=r"000000\.json, question \d+, evidence: expected \[start, end\] in seconds"):
        case.suite.load()


def test_whatever_a_field_holds_is_read_or_told(case: Case) -> None:
    document, path = files.read(case.file), case.file
    if path.suffix == ".parquet":  # whose columns hold one type
        path = path.with_suffix(".json")
    suite = replace(case.suite, annotations=path) if path != case.file else case.suite
    files.write(path, document)
    before = suite.load()
    row = case.rows(document)[0]
    for name, kept in list(row.items()):
        for value in (5, "* x", [1, 2], [["a", "b"]], math.nan, {}):
            row[name] = value
            files.write(path, document)
            with contextlib.suppress(DataError):  # any other exception fails
                suite.load()
            row[name] = kept
    files.write(path, document)
    assert suite.load() == before


@pytest.mark.parametrize(
    ("kind", "options"),
    [("video_mme", ["A. B", "B. A", "C. D", "D. C"]), ("lvbench", ["B", "A", "D", "C"])],
)
def test_letter_wins_over_an_option_that_reads_so(kind: str, options: list[str], tmp_path: Path) -> None:
    case = CASES[kind](tmp_path)
    case.edit(lambda rows: rows[0].update({"options" if kind == "video_mme" else "candidates": options, "answer": "D"}))
    item = case.suite.load()[0]
    assert (item.options, item.right) == (("B", "A", "D", "C"), 3)


@pytest.mark.parametrize("kind", ["video_mme", "lvbench", "longvideobench", "tempcompass"])
def test_equal_options_are_kept_where_a_letter_or_number_says_which_is_right(kind: str, tmp_path: Path) -> None:
    case = CASES[kind](tmp_path)
    rows = {
        "video_mme": {"options": ["A. One.", "B. Two.", "C. Two.", "D. Four."], "answer": "C"},
        "lvbench": {"candidates": ["Ann", "Bob", "Bob", "Dan"], "answer": "C"},
        "longvideobench": {"candidates": ["a cup", "a cat", "a cat"], "correct_choice": 2},
        "tempcompass": {"question": "What runs?\nA. a dog\nB. a cat\nC. a cat", "answer": "C. a cat"},
    }
    case.edit(lambda listed: listed[0].update(rows[kind]))
    assert next(item for item in case.suite.load() if len(set(item.options)) < len(item.options)).right == 2


@pytest.mark.parametrize("kind", ["mlvu_dev", "mlvu_test"])
def test_of_equal_candidates_mlvu_takes_the_last(kind: str, tmp_path: Path) -> None:
    case = CASES[kind](tmp_path)
    case.edit(lambda rows: rows[0].update(candidates=["x", "y", "x", "z", "w", "v"], answer="x"))
    assert next(item for item in case.suite.load() if "x" in item.options).right == 2


def test_the_folder_above_a_tiny_world_s_videos_says_which_is_wanted(tmp_path: Path) -> None:
    case = files.tiny_world(tmp_path)
    files.write(tmp_path / "annotations.json", [{"id": "tiny-1", "video": "videos/000000.mp4"}])
    with pytest.raises(DataError, match=r"json isn't the truth of a video. Wanted: annotations: DIR/videos"):
        replace(case.suite, annotations=tmp_path).load()


def test_equal_options_of_a_tiny_world_are_told(tmp_path: Path) -> None:
    case = files.tiny_world(tmp_path)
    case.edit(lambda rows: rows[0].update(options=["red", "blue", "blue"], answer="red"))
    with pytest.raises(DataError, match=r"000000\.json, question \d+: an option occurs twice"):
        case.suite.load()


def test_answer_that_is_two_captions_is_told(tmp_path: Path) -> None:
    suite = files.tempcompass(tmp_path).suite
    path = tmp_path / "questions" / "caption_matching.json"
    asked = files.read(path)
    asked["101"]["speed"][0]["question"] = "Which?\nCaption B: A dog sits.\nCaption B: A dog sits."
    files.write(path, asked)
    with pytest.raises(DataError, match=r"caption_matching\.json, 101, speed, question 0: .* is 2 of the options"):
        suite.load()


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
    assert {failure.id for failure in failed} == {i.id for i in items if i.video == items[0].video}
    assert all(failure.reason == "missing" for failure in failed)
    for item in items:
        item.video.unlink(missing_ok=True)
    with pytest.raises(DataError, match="videos is there") as caught:
        missing_videos(items, case.suite.origin)
    assert case.suite.origin.layout in str(caught.value)


def test_data_hash_knows_questions_but_neither_folders_nor_missing_videos(tmp_path: Path) -> None:
    first, second = (files.charades_sta(tmp_path / name) for name in "ab")
    digest = data_hash(first.suite.load())
    (tmp_path / "b" / "videos" / "V1.mp4").unlink()
    assert data_hash(second.suite.load()) == digest
    first.edit(lambda rows: rows[0].update(caption="a person stands."))
    assert data_hash(first.suite.load()) != digest


@pytest.mark.parametrize("kind", [files.video_mme, files.longvideobench])
def test_subtitles_have_a_hash_of_their_own(kind: Callable[..., Case], tmp_path: Path) -> None:
    told, plain = kind(tmp_path / "told").suite.load(), kind(tmp_path / "plain", subtitles=False).suite.load()
    assert data_hash(told) == data_hash(plain), "with and without them, the questions are the same"
    assert subtitles_hash(told) != subtitles_hash(plain)
    line = replace(next(item for item in told if item.subtitles).subtitles[0], text="Something else.")
    assert subtitles_hash([replace(told[0], subtitles=(line,)), *told[1:]]) != subtitles_hash(told)


@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_processes_share_items_by_video(world: int, tmp_path: Path) -> None:
    items = files.video_mme(tmp_path).suite.load()
    parts = [share(items, rank, world) for rank in range(world)]
    assert sorted(item.id for part in parts for item in part) == sorted(item.id for item in items)
    videos = [{item.video_id for item in part} for part in parts]
    assert sum(map(len, videos)) == 2  # no video is in two parts
