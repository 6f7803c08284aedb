"""An evaluation set is compared, or it is said how much of it isn't."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from data_pipelines.config import PruneConfig
from data_pipelines.pipeline import Models, prune
from data_pipelines.summary import Summary
from recot.errors import DataError

MakeConfig = Callable[..., PruneConfig]


@pytest.fixture
def benchmark_set(tmp_path: Path, clip_bytes: list[bytes]) -> Path:
    """Laid out as MLVU: ``json/1_plotQA.json`` beside ``video/1_plotQA/``."""
    folder = tmp_path / "MLVU"
    (folder / "json").mkdir(parents=True)
    (folder / "video/1_plotQA").mkdir(parents=True)
    rows = [{"video": f"plot_{i}.mp4", "question": "What happens?", "answer": "Rain."} for i in (0, 1)]
    (folder / "json/1_plotQA.json").write_text(json.dumps(rows))
    for i in (0, 1):
        (folder / f"video/1_plotQA/plot_{i}.mp4").write_bytes(clip_bytes[i])
    return folder


def run(make_config: MakeConfig, clips: Path, output: Path, *sets: Path) -> Summary:
    entries = ",".join(str(entry) for entry in sets)
    return prune(make_config(f"source={clips}", f"output={output}", f"evaluation_sets=[{entries}]"), Models())


def test_videos_that_are_not_there_end_the_run_before_the_input_is_measured(
    clips: Path, tmp_path: Path, make_config: MakeConfig, benchmark_set: Path
) -> None:
    rows = benchmark_set / "json/1_plotQA.json"
    with pytest.raises(DataError, match=r"evaluation_sets=.*1_plotQA.json: none .*2 x not_found.*plot_0.mp4.*FOLDER"):
        run(make_config, clips, tmp_path / "out", rows)
    assert not (tmp_path / "out").exists()


def test_the_folder_of_the_videos_as_an_entry_of_its_own(
    clips: Path, tmp_path: Path, make_config: MakeConfig, benchmark_set: Path
) -> None:
    rows, videos = benchmark_set / "json/1_plotQA.json", benchmark_set / "video"
    summary = run(make_config, clips, tmp_path / "out", rows, videos)
    assert summary.video_reasons == {"leaked_video": 2}
    assert [(s.videos, s.compared, s.questions, s.not_compared) for s in summary.evaluation_sets] == [
        (2, 2, 2, {}),
        (2, 2, 0, {}),
    ]
    assert Summary.read(tmp_path / "out") == summary


def test_what_cannot_be_read_is_told_in_terminal_summary_and_report(
    clips: Path, tmp_path: Path, make_config: MakeConfig, benchmark_set: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    videos = benchmark_set / "video/1_plotQA"
    (videos / "plot_1.mp4").write_text("no video at all")
    rows = [{"video": "plot_0.mp4"}, {"video": "plot_1.mp4"}, {"video": "gone.mp4"}, {"video": 7}]
    (videos / "rows.json").write_text(json.dumps(rows))
    run(make_config, clips, tmp_path / "out", videos / "rows.json")
    (found,) = json.loads((tmp_path / "out/summary.json").read_text())["evaluation_sets"]
    assert (found["videos"], found["compared"], found["rejected_rows"]) == (3, 1, {"no_video": 1})
    assert sum(found["not_compared"].values()) == 2
    assert found["not_compared"]["not_found"] == 1
    line = f"warning: compared with {videos / 'rows.json'}: 1 of 3 videos, 0 questions; can't be read: "
    assert line in capsys.readouterr().out
    assert "1 of 3 videos, 0 questions; can" in (tmp_path / "out/report.html").read_text()


def test_a_missing_file_names_its_key(clips: Path, tmp_path: Path, make_config: MakeConfig) -> None:
    with pytest.raises(DataError, match=r"^evaluation_sets=.*gone.json: there is no such file"):
        run(make_config, clips, tmp_path / "out", tmp_path / "gone.json")
