"""Small benchmarks in the exact layout and schema of the real ones. Videos are files with a few bytes."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from recot.evaluation.suites import SUITES
from recot.evaluation.suites.base import Benchmark
from recot.evaluation.suites.mlvu import DEV_FILES
from recot.tiny_world.rendering import ground_truth
from recot.tiny_world.splits import Split


@dataclass(frozen=True)
class Case:
    """A benchmark on disk.

    Attributes:
        suite: reads it.
        file: one of its annotation files.
        rows: the questions of a parsed ``file``, which can be changed in place.
        question, answer: names of fields of a row.
    """

    suite: Benchmark
    file: Path
    rows: Callable[[Any], list[dict[str, Any]]]
    question: str = "question"
    answer: str = "answer"

    def edit(self, change: Callable[[list[dict[str, Any]]], None]) -> None:
        """Change the questions of ``file``."""
        document = read(self.file)
        change(self.rows(document))
        write(self.file, document)


def add(name: str, value: Any) -> Callable[[list[dict[str, Any]]], None]:
    """A change of the first question, for ``Case.edit``."""
    return lambda rows: rows[0].update({name: value})


def read(path: Path) -> Any:
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    return json.loads(path.read_text())


def write(path: Path, document: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(document), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in document))
    else:
        path.write_text(json.dumps(document))
    return path


def videos(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


def tiny_world(root: Path) -> Case:
    scenes = Split(world=5, name="test", videos=2, frames=64)
    for number, scene in enumerate(scenes):
        write(root / "videos" / f"{number:06d}.json", ground_truth(scene, f"{number:06d}.mp4", b""))
    folder = videos(root / "videos", "000000.mp4", "000001.mp4")
    suite = SUITES["tiny_world"](annotations=folder, videos=folder, counts={"items": [12], "videos": [2]})
    return Case(suite, folder / "000000.json", lambda truth: [qa for qa in truth["qa"] if qa["options"]])


def mlvu_dev(root: Path) -> Case:
    for number, name in enumerate(DEV_FILES):
        rows = [
            {
                "video": f"v{number}_{i}.mp4",
                "duration": 480.5,
                "question": f"What is it in {name}?",
                "candidates": ["Red", "Green", "Blue", "Grey"],
                "answer": "Blue",
                "question_type": "findNeedle" if name == "2_needle" else name[2:],
            }
            for i in range(2)
        ]
        if name == "2_needle":
            rows[1]["answer"] = "Purple"
        write(root / "json" / f"{name}.json", rows)
        videos(root / "video" / name, f"v{number}_0.mp4", f"v{number}_1.mp4")
    counts = {"items": [14, 15], "videos": [14], "unanswerable": [1], "task=findNeedle": [2]}
    suite = SUITES["mlvu_dev"](annotations=root / "json", videos=root / "video", counts=counts)
    return Case(suite, root / "json" / "4_count.json", list_of_rows)


def mlvu_test(root: Path) -> Case:
    rows = [
        {
            "video": f"test_{i // 2}.mp4",
            "duration": 480.5,
            "question": "Which one?",
            "candidates": ["one", "two", "three", "four", "five", "six"],
            "answer": "six",
            "question_type": ("order", "count")[i % 2],
            "question_id": f"AO_{i}",
        }
        for i in range(4)
    ]
    path = write(root / "test_mcq_gt.json", rows)
    folder = videos(root / "video", "test_0.mp4", "test_1.mp4")
    suite = SUITES["mlvu_test"](annotations=path, videos=folder, counts={"items": [4], "videos": [2]})
    return Case(suite, path, list_of_rows)


SRT = (
    '1\n00:00:01,000 --> 00:00:02,500\n<font color="white" size=".72c">Hello there.</font>\n\n'
    "2\n00:00:10,000 --> 00:00:12,000\nTwo\nlines.\n"
)


def video_mme(root: Path, *, subtitles: bool = True) -> Case:
    rows = [
        {
            "video_id": f"{i // 3:03d}",
            "duration": ("short", "long")[i // 3],
            "domain": "Knowledge",
            "sub_category": "Law",
            "url": "https://www.youtube.com/watch?v=x",
            "videoID": ("aB-1", "cD_2")[i // 3],
            "question_id": f"{i // 3:03d}-{i % 3 + 1}",
            "task_type": "Counting Problem",
            "question": "How many?",
            "options": ["A. One.", "B. Two.", "C. Three.", "D. Four."],
            "answer": "D",
        }
        for i in range(6)
    ]
    path = write(root / "videomme" / "test-00000-of-00001.parquet", rows)
    (root / "subtitle").mkdir()
    (root / "subtitle" / "aB-1.srt").write_text(SRT)
    suite = SUITES["video_mme"](
        annotations=path,
        videos=videos(root / "data", "aB-1.mp4", "cD_2.mp4"),
        counts={"items": [6], "videos": [2], "duration=short": [3], "subtitled": [int(subtitles)]},
        subtitles=subtitles,
        subtitle_folder=root / "subtitle",
    )
    return Case(suite, path, list_of_rows)


def longvideobench(root: Path, *, subtitles: bool = True) -> Case:
    rows = [
        {
            "video_id": f"v{i}",
            "question": "At the lamp, what is on the table?",
            "question_wo_referring_query": "what is on the table?",
            "candidates": ["a cup", "a book", "a cat", "a hat", "a key"],
            "correct_choice": 4,
            "position": [120, 300],
            "topic_category": "KH-Knowledge-History",
            "question_category": "S2E",
            "level": "L1-Perception",
            "id": f"v{i}_0",
            "video_path": f"v{i}.mp4",
            "subtitle_path": f"v{i}_en.json",
            "duration_group": (15, 3600)[i],
            "starting_timestamp_for_subtitles": 100,
            "duration": 12.5,
        }
        for i in range(2)
    ]
    path = write(root / "lvb_val.json", rows)
    clock = [{"start": "00:01:41.000", "end": "00:01:44.000", "line": "Clocked."}]
    stamped = [{"timestamp": [101.0, 101.2], "text": "Short."}, {"timestamp": [108.0, None], "text": "Open end."}]
    write(root / "subtitles" / "v0_en.json", clock)
    write(root / "subtitles" / "v1_en.json", stamped)
    suite = SUITES["longvideobench"](
        annotations=path,
        videos=videos(root / "videos", "v0.mp4", "v1.mp4"),
        counts={"items": [2], "duration=15": [1]},
        subtitles=subtitles,
        subtitle_folder=root / "subtitles",
    )
    return Case(suite, path, list_of_rows, answer="correct_choice")


def lvbench(root: Path) -> Case:
    rows = [
        {
            "video": f"v{i}.mp4",
            "type": "cartoon",
            "question": "Who runs first?",
            "candidates": ["Ann", "Bob", "Cid", "Dan"],
            "answer": "C",
            "question_type": ["entity recognition", "reasoning"][: i + 1],
            "time_reference": "00:15-01:19",
        }
        for i in range(2)
    ]
    path = write(root / "lvbench.jsonl", rows)
    suite = SUITES["lvbench"](
        annotations=path, videos=videos(root / "videos", "v0.mp4", "v1.mp4"), counts={"items": [2, 3], "videos": [2]}
    )
    return Case(suite, path, list_of_rows)


def vnbench(root: Path) -> Case:
    rows = [
        {
            "video": f"/VNBench_new/{kind}_{i}.mp4",
            "question": "What is the secret word?",
            "options": [["Alice", "Bob", "Carl", "Dora"][(j + turn) % 4] for j in range(4)],
            "needle_time": [12.5],
            "gt": "Alice",
            "gt_option": "ADCB"[turn],
            "length": 30.1,
            "type": kind,
            "try": turn,
        }
        for kind in ("ret_edit", "cnt_insert")
        for i in range(2)
        for turn in range(4)
    ]
    path = write(root / "VNBench-main-4try.json", rows)
    names = [f"VNBench_new/{kind}_{i}.mp4" for kind in ("ret_edit", "cnt_insert") for i in range(2)]
    suite = SUITES["vnbench"](annotations=path, videos=videos(root, *names), counts={"items": [16], "videos": [4]})
    return Case(suite, path, list_of_rows, answer="gt")


def tempcompass(root: Path) -> Case:
    choice = {"question": "What runs?\nA. a dog\nB. a cat\nC. a cow", "answer": "B. a cat"}
    yes_no = {"question": "Is the dog running?", "answer": "no"}
    captions = "Which caption matches the video better?\nCaption A: A dog runs.\nCaption B: A dog sits."
    named = {"question": captions, "answer": "Caption B: A dog sits."}
    for task, row in (("multi-choice", choice), ("yes_no", yes_no), ("caption_matching", named)):
        asked = {"101": {"action": [row, row], "speed": [row]}, "101_reverse": {"direction": [row]}}
        write(root / "questions" / f"{task}.json", asked)
    suite = SUITES["tempcompass"](
        annotations=root / "questions",
        videos=videos(root / "videos", "101.mp4", "101_reverse.mp4"),
        counts={"task=multi-choice": [4], "task=yes_no": [4], "task=caption_matching": [4]},
    )
    return Case(suite, root / "questions" / "multi-choice.json", lambda asked: asked["101"]["action"])


def charades_sta(root: Path) -> Case:
    rows = [{"video": f"V{i // 2}.mp4", "caption": "a person sits.", "timestamp": [2.5, 9.0]} for i in range(4)]
    path = write(root / "charades_test.jsonl", rows)
    suite = SUITES["charades_sta"](
        annotations=path, videos=videos(root / "videos", "V0.mp4", "V1.mp4"), counts={"items": [4], "videos": [2]}
    )
    return Case(suite, path, list_of_rows, question="caption", answer="timestamp")


def vstar(root: Path) -> Case:
    rows = [
        {
            "vid": f"{i}",
            "domain": "Sports",
            "fps": 25.0,
            "width": 640,
            "height": 360,
            "frame_count": (500, 6000)[i],
            "question": "Who throws?",
            "chain": "who, when, where",
            "object": "man",
            "answer": "a man",
            "temporal_question": "When does the man throw?",
            "timestamps": [1.5, 4.5],
            "bboxes": [],
        }
        for i in range(2)
    ]
    path = write(root / "V_STaR_test.json", rows)
    suite = SUITES["vstar"](
        annotations=path, videos=videos(root / "videos", "a/0.mp4", "b/1.mp4"), counts={"items": [2], "videos": [2]}
    )
    return Case(suite, path, list_of_rows, question="temporal_question", answer="timestamps")


def list_of_rows(document: Any) -> list[dict[str, Any]]:
    return document


CASES: dict[str, Callable[[Path], Case]] = {
    case.__name__: case
    for case in (
        *(tiny_world, mlvu_dev, mlvu_test, video_mme, longvideobench, lvbench, vnbench, tempcompass, charades_sta),
        vstar,
    )
}
