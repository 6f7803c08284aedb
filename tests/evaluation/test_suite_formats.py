"""What is each benchmark's own: its forms of files, options, answers, subtitles, counts."""

import itertools
import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recot.data.qa_text import question_text
from recot.data.schema import QA
from recot.errors import DataError
from recot.evaluation.answers import judge
from recot.evaluation.controls import CONTROLS, wrong_videos
from recot.evaluation.items import Subtitle
from recot.evaluation.subtitles import read_srt
from recot.evaluation.suites import SUITES
from recot.evaluation.suites.base import Benchmark, missing_videos
from recot.evaluation.suites.tempcompass import families
from recot.tiny_world.rendering import ground_truth
from recot.tiny_world.splits import Split
from recot.tiny_world.truth import questions
from tests.evaluation import benchmark_files as files
from tests.evaluation.benchmark_files import Case, add


def test_mlvu_dev_tasks_and_unanswerable(tmp_path: Path) -> None:
    items = files.mlvu_dev(tmp_path).suite.load()
    assert [item.groups["task"][0] for item in items[:4]] == ["plotQA", "plotQA", "findNeedle", "findNeedle"]
    assert [item.right for item in items].count(None) == 1
    assert items[0].video == tmp_path / "video" / "1_plotQA" / "v0_0.mp4"


def test_mlvu_dev_as_it_was_first_published(tmp_path: Path) -> None:
    """A row without anything, an option without a text, and a video that lies in two tasks' folders."""
    case = files.mlvu_dev(tmp_path)
    nothing = {"question": "", "candidates": ["", "", "", ""], "answer": ""}
    case.edit(lambda rows: rows.append(rows[0] | nothing))
    case.edit(lambda rows: rows[1].update(video="v0_0.mp4", candidates=["2", "5", "", "10"], answer=""))
    files.videos(tmp_path / "video" / "4_count", "v0_0.mp4")
    items = replace(case.suite, counts={"items": [14], "videos": [13]}).load()
    (twice,) = [item for item in items if item.id == "4_count/1"]
    assert (twice.right, twice.video_id) == (2, "v0_0.mp4")
    assert twice.video == tmp_path / "video" / "4_count" / "v0_0.mp4"
    assert judge(twice, "(C)", {}).score == 1
    assert judge(twice, " .", {}).answer is None


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
    rows[0] |= {"candidates": ["C", "B", "A", "D"], "answer": "C"}
    files.write(path, rows)
    assert replace(own, annotations=path, counts=None).load()[0].right == 2
    rows[0]["answer"] = "Red"
    files.write(path, rows)
    with pytest.raises(DataError, match=r"mirror\.json, row 1: the answer 'Red' is none of the letters ABCD"):
        replace(own, annotations=path, counts=None).load()


def test_mlvu_counts_what_is_unanswerable_in_the_authors_files_only(tmp_path: Path) -> None:
    own = files.mlvu_dev(tmp_path).suite
    wanted = replace(own, counts={"items": [14], "unanswerable": [2]})
    with pytest.raises(DataError, match="1 unanswerable, but the benchmark has 2"):
        wanted.load()
    row = {"video_name": "v.mp4", "question": "?", "candidates": ["x", "y"], "answer": "A", "task_type": "ego"}
    path = files.write(tmp_path / "mirror.json", [row] * 14)
    assert len(replace(wanted, annotations=path).load()) == 14
    files.write(path, [row] * 13)
    with pytest.raises(DataError, match="13 items, but the benchmark has 14"):
        replace(wanted, annotations=path).load()


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


@pytest.mark.parametrize(
    "content",
    [
        "1\n00:00:01,000 --> 00:00:02,500\n<i>Hello</i>\nthere.\n\n2\n00:01:10.5 --> 00:01:12,000 X1:2\nTwo\n",
        "1\n00:00:01,000 --> 00:00:02,500\nHello\n  \nthere.\n\n2\n00:01:10,500 --> 00:01:12,000\n\nTwo\n",
        "1\n00:00:01,000 --> 00:00:02,500\nHello\nthere.\n2\n00:01:10,500 --> 00:01:12,000\nTwo",
        "00:00:01,000 --> 00:00:02,500\nHello\nthere.\n00:01:10,500 --> 00:01:12,000\nTwo",
        "\n1\n\n00:00:01,000 --> 00:00:02,500\n\nHello\n\nthere.\n\n\n2\n\n00:01:10,500 --> 00:01:12,000\n\nTwo\n\n",
    ],
    ids=["plain", "empty lines within", "none between", "no numbers", "after every line"],
)
def test_subrip_files_are_read_by_their_times(content: str, tmp_path: Path) -> None:
    path = tmp_path / "x.srt"
    path.write_text(content)
    assert read_srt(path) == (Subtitle(1.0, 2.5, "Hello there."), Subtitle(70.5, 72.0, "Two"))


def test_cues_may_be_empty_numbers_or_none(tmp_path: Path) -> None:
    path = tmp_path / "x.srt"
    path.write_text(
        "1\n00:00:01,000 --> 00:00:02,000\n\n2\n00:00:03,000 --> 00:00:04,000\n7\n\n3\n00:00:05,0 --> 00:00:06,0\n"
    )
    assert [line.text for line in read_srt(path)] == ["", "7", ""]
    path.write_text(" \n")
    assert read_srt(path) == ()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("Hello.\n\n1\n00:00:01,000 --> 00:00:02,000\nThere.\n", r"'Hello\.' has no times"),
        (
            "1\n00:00:01,000 --> 00:00:02,000\nHi.\n\n2\n00:00:03 --> 00:00:04\nThere.\n",
            "start before end, got '00:00:03 ",
        ),
        ("1\n00:00:01,000 --> 00:00:72,000\nHi.\n", "start before end, got '00:00:01"),
        ("1\n00:00:05,000 --> 00:00:04,000\nHi.\n", "start before end, got '00:00:05"),
    ],
)
def test_times_that_can_t_be_are_told(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.srt"
    path.write_text(content)
    with pytest.raises(DataError, match=rf"x\.srt.*{message}"):
        read_srt(path)


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


@pytest.mark.parametrize(
    ("name", "value"),
    [("question_type", 5), ("question_type", ["a", 5]), ("question_type", []), ("time_reference", 12)],
)
def test_lvbench_field_of_another_type_is_told(name: str, value: Any, tmp_path: Path) -> None:
    case = files.lvbench(tmp_path)
    case.edit(add(name, value))
    with pytest.raises(DataError, match=rf"lvbench\.jsonl, row 1: {name}=.* should be a text"):
        case.suite.load()


def test_vnbench_counts_are_numbers(tmp_path: Path) -> None:
    case = files.vnbench(tmp_path)

    def change(rows: list[dict[str, Any]]) -> None:
        for row in rows[8:]:
            row |= {"options": [1 + (i + row["try"]) % 4 for i in range(4)], "gt": 3, "gt_option": "CBAD"[row["try"]]}

    case.edit(change)
    assert {item.options[item.right or 0] for item in case.suite.load()[8:]} == {"3"}


def test_vnbench_question_with_a_try_missing_is_told(tmp_path: Path) -> None:
    case = files.vnbench(tmp_path)
    assert {item.options[item.right or 0] for item in case.suite.load()} == {"Alice"}
    case.edit(lambda rows: rows.pop())
    with pytest.raises(DataError, match="asked 3 times"):
        case.suite.load()


def test_vnbench_question_in_one_order_only_is_told(tmp_path: Path) -> None:
    case = files.vnbench(tmp_path)
    same = {"options": ["Alice", "Bob", "Carl", "Dora"], "gt_option": "A"}
    case.edit(lambda rows: [row.update(same) for row in rows[:3]] and None)
    assert case.suite.load()  # the fourth differs
    case.edit(lambda rows: [row.update(same) for row in rows[:4]] and None)
    with pytest.raises(DataError, match=r"VNBench-main-4try\.json: ret_edit/\S+ .* same order in all 4 tries"):
        case.suite.load()


@pytest.mark.parametrize("value", [4, -1, 0.5])
def test_vnbench_try_that_is_none_is_told(value: float, tmp_path: Path) -> None:
    case = files.vnbench(tmp_path)
    case.edit(add("try", value))
    with pytest.raises(DataError, match=rf"row 1: try={value} should be a whole number from 0 to 3"):
        case.suite.load()


def test_vnbench_options_and_their_letters_agree(tmp_path: Path) -> None:
    case = files.vnbench(tmp_path)
    case.edit(add("gt_option", "B"))
    with pytest.raises(DataError, match="row 1: gt_option='B' is not the option gt='Alice'"):
        case.suite.load()
    case.edit(add("gt_option", 0))
    assert case.suite.load()[0].right == 0
    case.edit(lambda rows: rows[0].update(options=["Bob", "Alice", "Alice", "Dora"], gt_option="C"))
    assert case.suite.load()[0].right == 2
    case.edit(lambda rows: rows[0].pop("gt_option"))
    assert case.suite.load()[0].right == 1  # the first, as the authors' script takes it


def test_tempcompass_forms(tmp_path: Path) -> None:
    items = {item.groups["task"][0]: item for item in files.tempcompass(tmp_path).suite.load()}
    assert (items["multi-choice"].question, items["multi-choice"].right) == ("What runs?", 1)
    assert items["multi-choice"].options == ("a dog", "a cat", "a cow")
    assert (items["yes_no"].options, items["yes_no"].right) == (("yes", "no"), 1)
    assert items["caption_matching"].options == ("Caption A: A dog runs.", "Caption B: A dog sits.")


def test_tempcompass_options_may_have_outer_spaces(tmp_path: Path) -> None:
    case = files.tempcompass(tmp_path)
    case.edit(add("question", "What runs?\nA. a dog\n B. a cat \nC.a cow"))
    assert case.suite.load()[0].options == ("a dog", "a cat", "a cow")


def test_vnbench_videos_of_one_haystack_are_one(tmp_path: Path) -> None:
    case = files.vnbench(tmp_path)
    names = ["video9_ret_edit1.mp4", "video9_cnt_insert2.mp4", "v_Pk_ord_insert2.mp4", "other_ret_edit.mp4"]
    files.videos(tmp_path, *names)
    case.edit(lambda rows: [row.update(video=f"./{names[i // 4]}") for i, row in enumerate(rows)])
    items = replace(case.suite, counts=None).load()
    assert [item.video_id for item in items[::4]] == ["video9", "video9", "v_Pk", "other"]
    assert {item.video.name for item in items} == {*names}
    asked = CONTROLS["wrong_video"].items(items)
    assert all("video9" not in item.video.name for item in asked if item.video_id == "video9")


def test_tempcompass_clips_made_of_another_are_one_video_with_it(tmp_path: Path) -> None:
    suite = files.tempcompass(tmp_path).suite
    for path in (tmp_path / "questions").iterdir():
        path.write_text(path.read_text().replace('"101', '"1034419625'))
    assert {item.video.stem for item in suite.load()} == {"1034419625", "1034419625_reverse"}
    assert {item.video_id for item in suite.load()} == {"1034419625"}
    made = {"1034419625": 0, "1034419625_reverse": 0, "1060403198_1049965795_2": 1, "1049965795": 1, "1094219575": 2}
    made |= {"1091143117_1094219575_0": 2, "1091143117_1049965795_1": 1, "15695290": 3, "x_reverse": 4}
    made |= dict.fromkeys(("1091143117_1094219575_0", "1094219575"), 1)  # by the clip before, of three sources
    for names in (list(made), list(made)[::-1]):
        found = families(names)
        for a, b in itertools.product(made, made):
            assert (found[a] == found[b]) == (made[a] == made[b]), (a, b)


@pytest.mark.parametrize("kind", [files.video_mme, files.tempcompass, files.vstar])
@pytest.mark.parametrize("ending", [".MP4", ".mkv"])
def test_videos_that_no_file_names_may_have_other_endings(
    kind: Callable[..., Case], ending: str, tmp_path: Path
) -> None:
    case = kind(tmp_path)
    renamed = case.suite.load()[0].video
    renamed.rename(renamed.with_suffix(ending))
    items = case.suite.load()
    assert items[0].video == renamed.with_suffix(ending)
    assert not missing_videos(items, case.suite.origin)


def test_lines_may_hold_what_else_ends_lines(tmp_path: Path) -> None:
    case = files.charades_sta(tmp_path)
    rows = [json.loads(line) for line in case.file.read_text().splitlines()]
    rows[0]["caption"] = "a person\u2028sits\u0085."
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    case.file.write_text(text, encoding="utf-8-sig")
    assert [item.question for item in case.suite.load()] == [row["caption"] for row in rows]


@pytest.mark.parametrize("answer", ["(B) a cat", "* a cat", "A. a cat", "B. a dog", "a cat", "D. a cat", ""])
def test_tempcompass_answer_needs_the_letter_and_the_text_of_an_option(answer: str, tmp_path: Path) -> None:
    case = files.tempcompass(tmp_path)
    case.edit(add("answer", answer))
    with pytest.raises(DataError, match=r"multi-choice\.json, 101, action, question 0: .* by both letter and text"):
        case.suite.load()


def test_vstar_finds_videos_in_folders_and_tells_lengths(tmp_path: Path) -> None:
    first, second = files.vstar(tmp_path).suite.load()
    assert first.video == tmp_path / "videos" / "a" / "0.mp4"
    assert (first.groups["duration"], second.groups["duration"]) == (("Short",), ("Long",))
    assert second.duration_s == 240.0


@pytest.mark.parametrize(("name", "value"), [("fps", 0), ("fps", -25.0), ("fps", math.nan), ("frame_count", 0)])
def test_vstar_video_without_a_length_is_told(name: str, value: float, tmp_path: Path) -> None:
    case = files.vstar(tmp_path)
    case.edit(add(name, value))
    with pytest.raises(DataError, match=rf"V_STaR_test\.json, row 1: .*{name}={value}\b.* should be above 0"):
        case.suite.load()


def charades_text(case: Case, *lines: str) -> Benchmark:
    path = case.file.parent / "charades_sta_test.txt"
    path.write_text("".join(f"{line}\n" for line in lines))
    return replace(case.suite, annotations=path)


def test_charades_text_is_the_same_questions(tmp_path: Path) -> None:
    case = files.charades_sta(tmp_path)
    text = charades_text(case, *(f"V{i // 2} 2.5 9.0##a person sits." for i in range(4)))
    assert text.load() == case.suite.load()
    spaced = list(charades_text(case, "V0 2.5 9##a person sits.", "", "V1 0 30.25 ##it is 5 ## 6").read())
    assert [(item.video.name, item.span) for item in spaced] == [("V0.mp4", (2.5, 9.0)), ("V1.mp4", (0.0, 30.25))]
    assert spaced[1].question == "it is 5 ## 6"
    with pytest.raises(DataError, match="1 items, but the benchmark has 4"):
        charades_text(case, "V0 2.5 9.0##a person sits.").load()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        *[
            (line, "expected `")
            for line in ("V0 2.5##runs", "V0 2.5 9.0 runs", "V0 a b##runs", "V0 nan 9##runs", "V0 1:00 1:10##runs")
        ],
        *[(line, "expected [start, end]") for line in ("V0 9 2.5##runs", "V0 -1 9##runs")],
        ("V0 2.5 9.0##", "has no text"),
    ],
)
def test_charades_text_that_is_none_is_told(line: str, message: str, tmp_path: Path) -> None:
    suite = charades_text(files.charades_sta(tmp_path), "V0 2.5 9.0##a person sits.", line)
    where = "question 1" if message == "has no text" else "row 2: "
    with pytest.raises(DataError, match=rf"charades_sta_test\.txt.*{where}.*{re.escape(message)}"):
        suite.load()


def test_charades_text_that_is_absent_or_damaged_is_told(tmp_path: Path) -> None:
    suite = charades_text(files.charades_sta(tmp_path))
    with pytest.raises(DataError, match=r"charades_sta_test\.txt: there are no questions"):
        suite.load()
    Path(suite.annotations).write_bytes(b"V0 2.5 9.0##a person \xff\n")
    with pytest.raises(DataError, match=r"charades_sta_test\.txt is damaged"):
        suite.load()
    Path(suite.annotations).unlink()
    with pytest.raises(DataError, match=r"charades_sta_test\.txt isn't there. Get it from .*TALL"):
        suite.load()


def test_tiny_world_is_asked_as_in_training(tmp_path: Path) -> None:
    suite = files.tiny_world(tmp_path).suite
    asked: list[QA] = [
        qa for scene in Split(world=5, name="test", videos=2, frames=64) for qa in questions(scene) if qa.options
    ]
    assert [suite.prompt(item, []).user for item in suite.load()] == [question_text(qa) for qa in asked]


def test_twins_are_one_video(tmp_path: Path) -> None:
    for number, scene in enumerate(Split(world=5, name="test", videos=4, frames=64, twins=True)):
        files.write(tmp_path / f"{number:06d}.json", ground_truth(scene, f"{number:06d}.mp4", b""))
    items = SUITES["tiny_world"](annotations=tmp_path, videos=tmp_path, counts={"videos": [2]}).load()
    assert len({item.id for item in items}) == len(items)
    pairs = {name: {item.video.stem for item in items if item.video_id == name} for name in {i.video_id for i in items}}
    assert sorted(map(sorted, pairs.values())) == [["000000", "000001"], ["000002", "000003"]]
    for item in wrong_videos(items, 0):
        assert item.video.stem not in pairs[item.video_id], "a twin's is nearly the right video"


@pytest.mark.parametrize("kind", [files.video_mme, files.longvideobench])
def test_a_prompt_knows_how_many_lines_of_subtitles_it_tells(kind: Callable[..., Case], tmp_path: Path) -> None:
    for told in (True, False):
        suite = kind(tmp_path / str(told), subtitles=told).suite
        items = suite.load()
        lines = {line.text for item in items for line in item.subtitles}
        for item in items:
            times = [] if not item.subtitles else [item.subtitles[0].start]
            prompt = suite.prompt(item, times)
            assert prompt.subtitle_lines == sum(text in prompt.user for text in lines)
            assert (prompt.subtitle_lines > 0) == bool(times)
