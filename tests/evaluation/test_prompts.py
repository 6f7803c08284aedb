"""Every letter that a model is told: a changed prompt changes results, so it has to be changed here too."""

import json
from pathlib import Path

import pytest

from recot.evaluation.items import Item
from recot.evaluation.prompts import TEMPLATES
from recot.evaluation.suites.base import fill
from recot.evaluation.suites.needle import QUESTION
from tests.evaluation import benchmark_files as files
from tests.evaluation.benchmark_files import CASES

SNAPSHOTS = json.loads((Path(__file__).parent / "prompt_snapshots.json").read_text())


@pytest.mark.parametrize("kind", sorted(CASES))
def test_prompts_are_as_recorded(kind: str, tmp_path: Path) -> None:
    suite = CASES[kind](tmp_path).suite
    told = {}
    for item in suite.load():
        for times_s in ([], [1.5]):
            lines = suite.prompt(item, times_s)
            key = suite.template(item) + ("_subtitles" if "subtitles are listed" in lines.user else "")
            told.setdefault(key, {"system": lines.system, "user": lines.user, "reply": lines.reply})
    assert told == {key: SNAPSHOTS[key] for key in told}


def test_prompt_of_needles_is_as_recorded() -> None:
    options = ("red circle", "blue cross", "white square", "cyan diamond")
    item = Item(id="i", video_id="v", video=Path("v"), question=QUESTION, form="letter", options=options, right=0)
    told = fill("needle", item)
    assert {"system": told.system, "user": told.user, "reply": told.reply} == SNAPSHOTS["needle"]


def test_every_template_is_recorded() -> None:
    assert set(SNAPSHOTS) == set(TEMPLATES)


def test_braces_and_fields_in_a_question_are_text(tmp_path: Path) -> None:
    case = files.mlvu_test(tmp_path)
    case.edit(lambda rows: rows[0].update(question="Is {options} {0}?"))
    assert "Question: Is {options} {0}?\nOptions:\n(A) one\n" in case.suite.prompt(case.suite.load()[0], []).user
