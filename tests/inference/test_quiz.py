"""Questions of a tiny-world video put to a model, with what would be right."""

import json
from pathlib import Path

import pytest

from recot.quiz import main, questions_of
from recot.tiny_world.export import export
from recot.tiny_world.splits import Split


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("quiz") / "world"
    export(out, Split(world=0, name="test", videos=1, frames=128, size=64, fps=8.0, twins=False))
    return out / "videos/000000.json"


def test_questions_are_of_different_tasks_and_have_evidence(truth: Path) -> None:
    duration = json.loads(truth.read_text())["duration_s"]
    asked = questions_of(truth, 3)
    assert len({qa.task_type for qa in asked}) == 3
    for qa in asked:
        assert qa.answer in qa.options
        assert qa.evidence != [[0.0, duration]]


def test_each_question_is_asked_and_drawn(truth: Path, checkpoint: Path, tmp_path: Path, capfd) -> None:  # type: ignore[no-untyped-def]
    main([str(truth), "--checkpoint", str(checkpoint), "--questions", "2", "--plots", str(tmp_path)])
    said = capfd.readouterr().out
    assert said.count("$ recot ask") == said.count("Right: ") == 2
    for number in (1, 2):
        assert (tmp_path / f"question{number}.png").read_bytes().startswith(b"\x89PNG")


def test_another_file_is_refused(tmp_path: Path, capfd) -> None:  # type: ignore[no-untyped-def]
    other = tmp_path / "other.json"
    other.write_text('{"qa": 1}')
    for path in (other, tmp_path / "absent.json"):
        with pytest.raises(SystemExit) as ended:
            main([str(path)])
        assert ended.value.code == 2
        assert "python -m recot.tiny_world" in capfd.readouterr().err
