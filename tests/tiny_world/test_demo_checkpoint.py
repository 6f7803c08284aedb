"""The committed video language model: what `recot ask` answers with unless it is told another."""

import json
from pathlib import Path

import pytest

from recot import cli
from recot.data.qa_text import LETTERS, question_text
from recot.data.schema import QA, build_typed
from recot.tiny_world.__main__ import main as make_world

CARD = json.loads((cli.DEMO_CHECKPOINT / "card.json").read_text())


@pytest.fixture(scope="module")
def unseen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unseen") / "world"
    make_world(["--out", str(folder), "--videos", "24", "--frames", "64", "--seed", "5", "--split", "test"])
    return folder / "videos"


def test_it_answers_questions_about_unseen_videos(unseen: Path, capsys: pytest.CaptureFixture[str]) -> None:
    right, kept = [], []
    for truth in sorted(unseen.glob("*.json")):
        for told in json.loads(truth.read_text())["qa"]:
            qa = build_typed(QA, told)
            if not qa.options or qa.task_type != "needle":  # what it is best at
                continue
            capsys.readouterr()
            cli.main(["ask", str(truth.with_suffix(".mp4")), question_text(qa), "--json"])
            answer = json.loads(capsys.readouterr().out)
            right.append(answer["answer"].startswith(LETTERS[qa.options.index(qa.answer)]))
            kept.append(answer["tokens_kept"] / answer["tokens_seen"])
    assert len(right) == 24
    assert sum(right) / len(right) >= 0.6, "chance is a quarter"
    assert max(kept) < 0.15, "it reads a tenth of the tokens by default"


def test_its_folder_and_card() -> None:
    assert sum(path.stat().st_size for path in cli.DEMO_CHECKPOINT.iterdir()) < 9 * 2**20
    assert "benchmarks/tiny_world_road.py" in CARD["command"]
    assert len(CARD["data_hash"]) == 64
    text = (cli.DEMO_CHECKPOINT / "README.md").read_text()
    assert f"{CARD['figures']['val/loss']:.4f}" in text
