"""The page about runs, from results folders that are written here."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from recot.errors import DataError
from recot.evaluation.controls import CONTROLS
from recot.evaluation.costs import costs, write_costs
from recot.evaluation.evidence import with_evidence
from recot.evaluation.items import Failure, Item, Result
from recot.evaluation.report import charts
from recot.evaluation.report.__main__ import main
from recot.evaluation.report.page import write_report
from recot.evaluation.report.runs import gains, read_runs
from recot.evaluation.results import ResultsFolder, read_samples
from recot.evaluation.runner import ModelUse, evaluate
from recot.evaluation.suites import SUITES, TinyWorld
from recot.models.selection import KeepRule
from tests.evaluation.conftest import INFERENCE

CONTROL = {"video": "own", "frames": "all", "options": "given", "selector": "model", "seed": 0}
NASTY = "<script>alert('x')</script>"


def result(number: int, groups: dict[str, Sequence[str]], *, right: bool, **saw: Any) -> Result:
    return Result(
        id=f"q{number}",
        video_id=f"v{number // 2}",
        groups={name: tuple(own) for name, own in groups.items()},
        reply="A" if number else NASTY,
        answer=0 if number else None,
        score=float(right),
        saw={
            "frames": 32,
            "tokens_seen": 128,
            "tokens_kept": 32,
            "seconds": {"decode": 1.0, "generate": 2.0, "own": 1.0},
            "peak_memory_mib": {"process_so_far": 100.0 + number},
            **saw,
        },
    )


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def go(
        name: str,
        suite: str,
        samples: Sequence[Result | Failure],
        *,
        finish: bool = True,
        data: str = "d",
        checkpoint: str = "c",
        **control: Any,
    ) -> Path:
        settings = {"control": {**CONTROL, **control}, "subtitles": None}
        run = {"suite": suite, "data_hash": data, "checkpoint": checkpoint, "settings": settings}
        folder = ResultsFolder(tmp_path / "eval/model" / name / suite, run)
        for sample in samples:
            folder.add(sample)
        if finish:
            first = next(own.groups for own in samples if isinstance(own, Result))
            asked = [
                Item(
                    id=own.id,
                    video_id=own.video_id,
                    video=Path("x"),
                    question="?",
                    form="letter",
                    groups=own.groups if isinstance(own, Result) else first,
                )
                for own in samples
            ]
            folder.finish(asked, with_evidence(SUITES[suite].summary), {})
            write_costs(folder.folder, list(folder.read().results.values()))
        return folder.folder

    return go


def world(found: float, right: Sequence[int]) -> list[Result | Failure]:
    """Eight questions about four videos, and one that failed."""
    own: list[Result | Failure] = [
        result(
            i,
            {"task": [("needle", "order")[i % 2]]},
            right=i in right,
            evidence_recall=found,
            timeline=[0.1] * 60,
            shown_span=[0.0, 8.0],
            evidence=[[2.0, 3.0]],
        )
        for i in range(8)
    ]
    return [*own, Failure("q8", "v9", "decode_failed", f"damaged {NASTY}")]


def plain(**saw: Any) -> list[Result | Failure]:
    """Four questions, half of them right."""
    return [result(i, {"task": ["needle"]}, right=i < 2, **saw) for i in range(4)]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, Figure]:
    """The pictures that are written, by the names of their files."""
    figures: dict[str, Figure] = {}
    write_png = charts.write_png

    def keep(figure: Figure, path: Path) -> None:
        figures[path.name] = figure
        write_png(figure, path)

    monkeypatch.setattr(charts, "write_png", keep)
    return figures


def lines(figure: Figure) -> dict[str, tuple[list[float], str, str]]:
    """Of a chart of budgets: what it says of a line -> what its runs saw, its colour and its marker."""
    (axes,) = figure.axes
    handles, names = axes.get_legend_handles_labels()
    shown = [handle.lines[0] for handle in handles]
    assert len(set(names)) == len(names)
    return {
        name: (line.get_xdata().tolist(), line.get_color(), line.get_marker())
        for name, line in zip(names, shown, strict=True)
    }


def table_rows(page: str) -> dict[str, list[str]]:
    """Of the tables with a run in each row: the first cell -> the others, in order of the tables."""
    rows: dict[str, list[str]] = {}
    for row in re.findall(r"<tr><td>(.*?)</tr>", page, re.DOTALL):
        name, *cells = re.split(r"</td>\s*<td[^>]*>", row.removesuffix("</td>"))
        rows.setdefault(name, []).extend(cells)
    return rows


def test_page_of_runs_side_by_side(write: Callable[..., Path], tmp_path: Path) -> None:
    write("keep=0.25", "tiny_world", world(0.6, range(6)))
    write("keep=0.25,control=random_selector", "tiny_world", world(0.2, range(2)), selector="random")
    write("keep=0.25,control=oracle_selector", "tiny_world", world(1.0, range(8)), selector="oracle")
    write("keep=0.25,control=blind", "tiny_world", world(0.0, range(2)), video="none")
    write("half", "tiny_world", world(0.0, range(2)), finish=False)
    runs, unfinished = read_runs([tmp_path / "eval"])
    assert [told.label for told in runs] == [
        "keep=0.25",
        "keep=0.25,control=blind",
        "keep=0.25,control=oracle_selector",
        "keep=0.25,control=random_selector",
    ]
    assert [folder.parent.name for folder in unfinished] == ["half"]
    page = write_report(tmp_path / "out", runs, unfinished).read_text()
    assert NASTY not in page
    assert page.count("&lt;script&gt;") == 8, "the failure and the unread reply of each run"
    assert "0.750<br><small>" in page
    assert "half" in page
    assert page.count("process so far 107") == 4
    assert {path.name for path in (tmp_path / "out/pictures").iterdir()} == {
        "tiny_world_tokens_kept.png",
        "tiny_world_frames.png",
        "tiny_world_task.png",
        "tiny_world_timelines_0.png",
        "tiny_world_timelines_1.png",  # blind here, but its lines say that something was kept
    }
    assert page.count("data:image/png;base64,") == 5
    found = {name: gain.value for _, name, gain in gains(runs)}
    assert found == pytest.approx({"macro": (6 / 8 - 2 / 8) / (1 - 2 / 8), "evidence_recall": 0.5})


def test_three_runs_of_a_checkpoint_show_the_selector_s_gain(world: Path, checkpoint: Path, tmp_path: Path) -> None:
    """Real runs of the trained, the random and the oracle selector, and the page that the command writes."""
    suite = TinyWorld(annotations=world, videos=world, counts=None)
    few = replace(INFERENCE, keep=KeepRule(budget=8))  # of more, a random choice finds all evidence too
    recall = {}
    for name in ("none", "random_selector", "oracle_selector"):
        use = ModelUse(folder=checkpoint, digest="x", inference=few, control=CONTROLS[name], scoring="generate")
        folder = tmp_path / "eval/model" / name
        evaluate({"tiny_world": suite}, use, folder, processes=1)
        seen = read_samples(folder / "tiny_world/samples.jsonl").results.values()
        values = [own.saw["evidence_recall"] for own in seen]
        assert len(values) == len(suite.load())
        recall[name] = sum(values) / len(values)  # type: ignore[arg-type]
    main([str(tmp_path / "eval"), "--out", str(tmp_path / "out")])
    page = (tmp_path / "out/report.html").read_text()
    (row,) = re.findall(r"<tr><td>tiny_world</td><td>none</td><td>evidence_recall</td>(.*?)</tr>", page, re.DOTALL)
    selector, random, oracle = recall.values()
    gain = (selector - random) / (oracle - random)
    shown = [float(cell) for cell in re.findall(r'<td class="n">(-?[0-9.]+)', row)]
    assert shown == pytest.approx([selector, random, oracle, gain], abs=6e-4)


def test_needles_have_a_map(write: Callable[..., Path], tmp_path: Path) -> None:
    samples = [
        result(
            number,
            {"length": [length], "depth": [depth], "phase": ["0"], "cell": [f"{length}, {depth}"]},
            right=depth == "0%",
        )
        for number, (length, depth) in enumerate([(a, b) for a in ("64", "128") for b in ("0%", "50%", "100%")])
    ]
    write("plain", "needle", samples)
    runs, _ = read_runs([tmp_path / "eval"])
    page = write_report(tmp_path / "out", runs, []).read_text()
    assert (tmp_path / "out/pictures/needle_map_0.png").read_bytes().startswith(b"\x89PNG")
    assert "needle: plain" in page
    assert "cell=" not in page, "cells are in the map, not in the table"


def test_a_run_without_the_headline_figure_is_in_the_table_only(write: Callable[..., Path], tmp_path: Path) -> None:
    """VNBench where one try of every question failed: none counts, but its single tries do."""

    def tries(question: int, count: int) -> list[Result | Failure]:
        groups: dict[str, Sequence[str]] = {"type": ["ret"], "question": [f"q{question}"]}
        own: list[Result | Failure] = [result(4 * question + n, groups, right=True) for n in range(count)]
        return [*own, *(Failure(f"q{4 * question + n}", "v", "decode_failed", "damaged") for n in range(count, 4))]

    part = [sample for question in range(4) for sample in tries(question, 3)]
    folder = write("a", "vnbench", part)
    runs, _ = read_runs([folder])
    assert "circular" not in runs[0].figures
    page = write_report(tmp_path / "one", runs, []).read_text()
    assert page.count("data:image/png;base64,") == 0
    write("b", "vnbench", [sample for question in range(4) for sample in tries(question, 4)])
    runs, _ = read_runs([tmp_path / "eval"])
    page = write_report(tmp_path / "both", runs, []).read_text()
    assert {path.name for path in (tmp_path / "both/pictures").iterdir()} == {
        *("vnbench_tokens_kept.png", "vnbench_frames.png", "vnbench_type.png")
    }
    (row,) = re.findall(r"<tr><td>a</td>(.*?)</tr>", page.split("By group")[0], re.DOTALL)
    cells = re.findall(r'<td class="n">(.*?)</td>', row)
    assert len(cells) == 11
    assert "" in cells[:4], "it has no circular figure"


def test_groups_that_a_mean_lacks_are_told(write: Callable[..., Path], tmp_path: Path) -> None:
    whole: list[Result | Failure] = [result(i, {"task": [("needle", "order")[i % 2]]}, right=True) for i in range(8)]
    write("whole", "tiny_world", whole)
    folder = write("part", "tiny_world", whole[::2])
    results = json.loads((folder / "results.json").read_text())
    (folder / "results.json").write_text(json.dumps({**results, "unscored": {"macro": ["order", "a<b"]}}))
    page = write_report(tmp_path / "out", read_runs([tmp_path / "eval"])[0], []).read_text()
    assert "<p>part: macro leaves out order, a&lt;b: no score there.</p>" in page
    assert page.count("leaves out") == 1


def test_labels_don_t_depend_on_where_the_command_is_given(
    write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write("keep=0.25", "tiny_world", world(0.6, range(6)))
    for inside in (tmp_path, folder.parent, folder):
        monkeypatch.chdir(inside)
        runs, _ = read_runs([Path()])
        assert [(told.label, told.folder) for told in runs] == [("keep=0.25", folder)]
        assert read_runs([Path(), folder])[0] == runs, "none is there twice"


def test_what_a_model_doesn_t_tell_is_empty(
    write: Callable[..., Path], drawn: dict[str, Figure], tmp_path: Path
) -> None:
    """A run of ours beside one that tells frames alone, and one that tells nothing."""
    unknown = {"tokens_seen": None, "tokens_kept": None, "seconds": {"own": 2.0}}
    write("frames_alone", "tiny_world", plain(**unknown))
    nothing = write("nothing", "tiny_world", plain(**unknown, frames=None))
    write("ours", "tiny_world", plain(pixels=1000))
    page = write_report(tmp_path / "out", read_runs([tmp_path / "eval"])[0], []).read_text()
    rows = table_rows(page)
    assert [rows[name][-5:-1] for name in ("ours", "frames_alone", "nothing")] == [
        ["32", "1000", "128", "32"],
        ["32", "", "", ""],
        ["", "", "", ""],
    ]
    costs = re.findall(r'<td>own [\d.]+</td>\s*<td class="n">(.*?)</td>', page)
    assert costs == ["", ""], "their own seconds are the model's too"
    assert page.count("25.0 %") == 1, "ours tells them"
    assert lines(drawn["tiny_world_tokens_kept.png"]).keys() == {"ours"}
    assert lines(drawn["tiny_world_frames.png"]).keys() == {"ours", "frames_alone"}
    assert page.count(", of the runs that tell it") == 4, "two pictures, each with a text in its place"
    write_report(tmp_path / "one", read_runs([nothing])[0], [])
    assert {path.name for path in (tmp_path / "one/pictures").iterdir()} == {"tiny_world_task.png"}


def test_runs_of_the_same_names_can_be_told_apart(
    write: Callable[..., Path], drawn: dict[str, Figure], tmp_path: Path
) -> None:
    for name in ("r1/model-1/plain", "r2/model-1/plain", "r2/model-1/keep=0.25"):
        write(name, "tiny_world", plain(tokens_kept=64 if name.endswith("plain") else 16))
    runs, _ = read_runs([tmp_path / "eval"])
    assert [told.label for told in runs] == ["r1 model-1 plain", "r2 model-1 keep=0.25", "r2 model-1 plain"]
    write_report(tmp_path / "out", runs, [])
    seen = {name: x for name, (x, _, _) in lines(drawn["tiny_world_tokens_kept.png"]).items()}
    assert seen == {"r1 model-1 plain": [64], "r2 model-1 plain": [16, 64]}
    assert [told.label for told in read_runs([tmp_path / "eval/model/r2"])[0]] == ["keep=0.25", "plain"]


def test_two_folders_of_a_suite_in_a_run_can_be_told_apart(write: Callable[..., Path], tmp_path: Path) -> None:
    part = write("plain", "tiny_world", plain(), data="of a part")
    part.rename(part.with_name("part"))
    write("plain", "tiny_world", plain())
    write("plain", "mlvu_dev", plain())
    labels = [(told.suite, told.label) for told in read_runs([tmp_path / "eval"])[0]]
    assert labels == [("mlvu_dev", "plain"), ("tiny_world", "plain part"), ("tiny_world", "plain tiny_world")]


def test_lines_are_of_the_same_data_and_checkpoint(
    write: Callable[..., Path], drawn: dict[str, Figure], tmp_path: Path
) -> None:
    for kept, data, checkpoint in ((10, "a", "c"), (20, "b", "c"), (30, "a", "c"), (40, "a", "e")):
        samples = plain(tokens_kept=kept)
        write(f"keep=0.{kept}", "tiny_world", samples, data=data * 64, checkpoint=checkpoint)
    page = write_report(tmp_path / "out", read_runs([tmp_path / "eval"])[0], []).read_text()
    seen = {name: x for name, (x, _, _) in lines(drawn["tiny_world_tokens_kept.png"]).items()}
    assert seen == {"keep=0.10 to keep=0.30": [10, 30], "keep=0.20": [20], "keep=0.40": [40]}
    (told,) = re.findall(r"<p>These runs aren't of the same questions.*?</p>", page, re.DOTALL)
    assert " ".join(told.split()).endswith(
        "4 questions of data <code>aaaaaaaa</code>: keep=0.10, keep=0.30, keep=0.40; "
        "4 questions of data <code>bbbbbbbb</code>: keep=0.20.</p>"
    )
    one = [told for told in read_runs([tmp_path / "eval"])[0] if told.run["data_hash"] == "a" * 64]
    assert "aren't of the same questions" not in write_report(tmp_path / "one", one, []).read_text()


def test_runs_of_which_one_was_asked_less_are_told(write: Callable[..., Path], tmp_path: Path) -> None:
    write("plain", "tiny_world", plain())
    failed = Failure("q3", "v1", "missing", "no such file")
    write("failed", "tiny_world", [*plain()[:3], failed])
    turns = [
        replace(own, id=f"{own.id}#turn{turn}", groups={**own.groups, "circular": (own.id,), "turns": ("2",)})
        for own in plain()
        for turn in range(2)
    ]
    write("circular", "tiny_world", turns, options="circular")
    page = write_report(tmp_path / "same", read_runs([tmp_path / "eval"])[0], []).read_text()
    assert "aren't of the same questions" not in page
    write("evidence", "tiny_world", plain()[:3], frames="evidence_only")
    page = write_report(tmp_path / "fewer", read_runs([tmp_path / "eval"])[0], []).read_text()
    (told,) = re.findall(r"<p>These runs aren't of the same questions.*?</p>", page, re.DOTALL)
    assert "3 questions of data <code>d</code>: evidence" in told
    assert "4 questions of data <code>d</code>: failed, plain, circular" in told


def test_runs_that_read_other_times_are_other_lines(
    write: Callable[..., Path], drawn: dict[str, Figure], tmp_path: Path
) -> None:
    for name, tokens in (("keep=0.1", 900), ("keep=0.1,times=kept", 300), ("keep=0.2,times=kept", 400)):
        write(name, "tiny_world", plain(prompt_tokens=tokens))
    page = write_report(tmp_path / "out", read_runs([tmp_path / "eval"])[0], []).read_text()
    assert set(lines(drawn["tiny_world_tokens_kept.png"])) == {"plain", "times=kept"}
    assert '<td class="n">900</td></tr>' in page


def test_a_sweep_of_frames_and_tokens_is_a_line_for_each_of_the_other(
    write: Callable[..., Path], drawn: dict[str, Figure], tmp_path: Path
) -> None:
    for frames in (16, 64):
        for keep in (1, 2):
            samples = plain(tokens_kept=frames * keep, frames=frames)
            write(f"keep=0.{keep},frames={frames}", "tiny_world", samples)
    write_report(tmp_path / "out", read_runs([tmp_path / "eval"])[0], [])
    tokens, frames_seen = (
        {name: x for name, (x, _, _) in lines(drawn[f"tiny_world_{by}.png"]).items()}
        for by in ("tokens_kept", "frames")
    )
    assert tokens == {"frames=16": [16, 32], "frames=64": [64, 128]}
    assert frames_seen == {"keep=0.1": [16, 64], "keep=0.2": [16, 64]}


def test_of_many_controls_the_run_without_is_drawn_first(write: Callable[..., Path], tmp_path: Path) -> None:
    for number in range(9):
        write(f"control={number}", "tiny_world", world(0.0, range(2)), seed=number + 1)
    write("plain", "tiny_world", world(0.0, range(2)))
    page = write_report(tmp_path / "out", read_runs([tmp_path / "eval"])[0], []).read_text()
    titles = [title for title in re.findall(r"<figcaption>(.*?)</figcaption>", page) if "kept over time" in title]
    assert len(titles) == 6
    assert titles[0] == "kept over time (blue), evidence (red), the first 6 runs: plain"


def test_many_lines_look_different(write: Callable[..., Path], drawn: dict[str, Figure], tmp_path: Path) -> None:
    for number in range(21):
        write(f"run{number}", "tiny_world", plain())
    write_report(tmp_path / "out", read_runs([tmp_path / "eval"])[0], [])
    looks = [(colour, marker) for _, colour, marker in lines(drawn["tiny_world_frames.png"]).values()]
    assert len(set(looks)) == len(looks) == 21


def test_costs_by_hand() -> None:
    told = costs([result(i, {}, right=True) for i in range(1, 3)])
    assert told == {
        "seconds": {"decode": 2.0, "generate": 4.0, "own": 2.0},
        "own_share": 0.25,
        "mean": {"frames": 32, "tokens_seen": 128, "tokens_kept": 32},
        "peak_memory_mib": {"process_so_far": 102.0},
    }


def test_nothing_to_report(write: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write("half", "tiny_world", world(0.0, ()), finish=False)
    with pytest.raises(DataError, match="no finished results in there, 1 unfinished ones"):
        read_runs([tmp_path])
    done = write("done", "tiny_world", world(0.0, ()))
    (done / "costs.json").unlink()
    with pytest.raises(SystemExit) as ended:
        main([str(tmp_path)])
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert "can't be reported" in told
    assert json.loads((done / "results.json").read_text())["samples"]["failed"] == 1
