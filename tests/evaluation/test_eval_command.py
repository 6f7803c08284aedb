"""``python src/eval.py evaluation=...`` as a user runs it: real processes, kills, sweeps, mistakes."""

import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate

from recot.evaluation.budgets import BUDGETS, settings_name
from recot.evaluation.controls import CONTROLS, Control
from recot.evaluation.report.__main__ import main as report
from recot.evaluation.results import ResultsFolder, read_samples
from recot.evaluation.runner import folder_hash

REPO = Path(__file__).parents[2]
CONTROL_FILES = sorted(path.stem for path in (REPO / "conf/control").glob("*.yaml"))


def arguments(world: Path, checkpoint: Path, *more: str) -> list[str]:
    places = [f"evaluation.tiny_world.{name}={world}" for name in ("annotations", "videos")]
    return ["evaluation=tiny_world", f"checkpoint={checkpoint}", *places, *more]


def environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if k != "HYDRA_FULL_ERROR"} | {"OMP_NUM_THREADS": "1"}


def command(folder: Path, *given: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(REPO / "src/eval.py"), *given],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


def one_process(monkeypatch: pytest.MonkeyPatch, folder: Path, *given: str) -> None:
    """The command in this process, which saves the seconds that imports take."""
    monkeypatch.chdir(folder)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    monkeypatch.setattr(sys, "argv", ["eval.py", *given])
    GlobalHydra.instance().clear()
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)  # the command sets it: other tests must not see that
    runpy.run_path(str(REPO / "src/eval.py"), run_name="__main__")


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.is_file() else 0


def test_a_killed_run_goes_on_where_it_was(world: Path, checkpoint: Path, tmp_path: Path) -> None:
    """SIGKILL in mid-run, a video that goes in between, and the same command again: nothing twice, status 3."""
    videos = tmp_path / "videos"
    videos.mkdir()
    for path in world.iterdir():
        (videos / path.name).symlink_to(path)
    given = arguments(videos, checkpoint, "max_new_tokens=1", f"results={tmp_path / 'results'}")
    # Each question in every rotation of its options: enough of them for a kill to come in between.
    killed = subprocess.Popen(
        [sys.executable, str(REPO / "src/eval.py"), *given, "control=circular_options"],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 900
    samples = None
    while samples is None or lines(samples) < 3:
        assert killed.poll() is None, "it ended before it was killed"
        assert time.monotonic() < deadline
        samples = next(tmp_path.glob("results/*/*/tiny_world/samples.jsonl"), None)
        time.sleep(0.01)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    done = [line for line in samples.read_text().splitlines(keepends=True) if line.endswith("\n")]
    assert not (samples.parent / "results.json").exists()
    (videos / "000001.mp4").unlink()
    again = command(tmp_path, *given, "control=circular_options")
    assert again.returncode == 3, again.stderr
    assert "samples failed and have no score" in again.stderr
    assert "tiny_world: " in again.stdout
    written = samples.read_text().splitlines(keepends=True)
    assert set(done) <= set(written), "what was finished stays as it was"
    ids = [json.loads(line)["id"] for line in written]
    assert len(ids) == len(set(ids))
    found = read_samples(samples)
    assert {failure.reason for failure in found.failures.values()} == {"missing"}
    report = json.loads((samples.parent / "results.json").read_text())
    assert report["samples"]["all"] == len(ids)
    assert {"circular_options", "accuracy", "evidence_recall"} <= report["figures"].keys()


def test_torchrun_gives_the_results_of_one_process(
    world: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = arguments(world, checkpoint, "frames=8", "max_new_tokens=1")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    several = subprocess.run(
        [*torchrun, str(REPO / "src/eval.py"), *given, f"results={tmp_path}/two"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert several.returncode == 0, several.stderr
    assert several.stdout.count("tiny_world: ") == 1, "one process tells the results"
    one_process(monkeypatch, tmp_path, *given, f"results={tmp_path}/one")
    (two,) = (tmp_path / "two").rglob("results.json")
    (one,) = (tmp_path / "one").rglob("results.json")
    assert json.loads(two.read_text()) == json.loads(one.read_text())
    assert two.relative_to(tmp_path / "two") == one.relative_to(tmp_path / "one")


def test_a_sweep_over_controls_and_budgets_and_its_report(world: Path, checkpoint: Path, tmp_path: Path) -> None:
    given = arguments(world, checkpoint, "control=none,blind", "keep=0.25,0.5")
    swept = command(tmp_path, "-m", *given, "frames=8", "max_new_tokens=1")
    assert swept.returncode == 0, swept.stderr
    (model,) = (tmp_path / "outputs/eval").iterdir()
    seen = {}
    for folder in model.iterdir():
        results = read_samples(folder / "tiny_world/samples.jsonl").results.values()
        (seen[folder.name],) = {(own.saw["frames"], own.saw["tokens_kept"]) for own in results}
    assert seen == {
        "keep=0.25,frames=8,max_new_tokens=1": (8, 8),
        "keep=0.5,frames=8,max_new_tokens=1": (8, 16),
        "keep=0.25,frames=8,max_new_tokens=1,control=blind": (0, 0),
        "keep=0.5,frames=8,max_new_tokens=1,control=blind": (0, 0),
    }
    report([str(tmp_path / "outputs")])
    page = (tmp_path / "outputs/report.html").read_text()
    assert all(name in page for name in seen)
    assert "http" not in page.replace('http-equiv="Content-Security-Policy"', ""), "it opens offline"
    pictures = {path.name for path in (tmp_path / "outputs/pictures").iterdir()}
    assert {"tiny_world_tokens_kept.png", "tiny_world_frames.png", "tiny_world_task.png"} <= pictures
    assert {"tiny_world_timelines_0.png", "tiny_world_timelines_1.png"} <= pictures


def test_a_sweep_tells_of_each_job_that_failed(
    world: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Failed samples alone end it with status 3; a job that couldn't run, with 2, whichever came first."""
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos/000000.mp4").symlink_to(world / "000000.mp4")  # of two
    given = arguments(
        world, checkpoint, f"evaluation.tiny_world.videos={tmp_path}/videos", "frames=8", "max_new_tokens=1"
    )
    for keeps, status, failed in (("keep=0.25,2,half", 2, 3), ("keep=0.25,0.5", 3, 2)):
        with pytest.raises(SystemExit) as ended:
            one_process(monkeypatch, tmp_path, "-m", *given, keeps)
        told = capsys.readouterr().err
        assert ended.value.code == status
        assert told.count(") failed: ") == failed
        assert ("keep='half': give a number" in told) == (status == 2)


@pytest.mark.parametrize("name", CONTROL_FILES)
def test_controls_of_the_config_are_those_of_the_package(name: str) -> None:
    with initialize_config_dir(config_dir=str(REPO / "conf"), version_base="1.3"):
        cfg = compose("eval", overrides=["evaluation=tiny_world", "checkpoint=x", f"control={name}"])
    assert instantiate(cfg.control) == CONTROLS[name]
    assert set(CONTROL_FILES) == set(CONTROLS)


def test_the_name_of_a_run_tells_what_it_sets() -> None:
    nothing = dict.fromkeys(BUDGETS)
    assert settings_name(nothing, CONTROLS["none"], "generate") == "plain"
    assert settings_name(nothing, CONTROLS["blind"], "generate") == "control=blind"
    blind = Control(video="none", seed=1)
    assert settings_name(nothing, blind, "generate") == "control.video=none,control.seed=1"
    assert settings_name(nothing, Control(seed=1), "generate") == "control.seed=1"
    assert settings_name(nothing | {"frames": 8}, Control(frames="single"), "likelihood") == (
        "frames=8,control=single_frame,scoring=likelihood"
    )
    own = Control(frames="shuffled", seed=3)
    assert settings_name(nothing | {"keep": 0.5}, own, "generate") == "keep=0.5,control.frames=shuffled,control.seed=3"


# What a user can get wrong -> what the paragraph must say. TMP is a folder with what ``mistaken`` makes.
TINY = "evaluation=tiny_world"
EMPTY = ["evaluation.tiny_world.annotations=TMP/empty", "evaluation.tiny_world.videos=TMP/empty"]
MISTAKES = {
    "two uses": ([TINY, "experiment=recot_pretrain"], "evaluation=tiny_world and experiment="),
    "no use": ([], "nothing says what to measure: give evaluation=<suite>"),
    "a stage's file": ([TINY, "checkpoint=last.ckpt"], "Give a model's folder"),
    "two budgets": ([TINY, "keep=0.5", "budget=3"], "keep=0.5 and budget=3: set one"),
    "two samplings": ([TINY, "fps=1", "frames=3"], "fps=1 and frames=3: set one"),
    "no such share": ([TINY, "keep=1.5"], "1.5"),
    "unknown suite": (["evaluation=tiny_word"], "tiny_world"),
    "unknown control": ([TINY, "control=blnd"], "blank_video"),
    "unknown field": ([TINY, "control.video=black"], "control.video='black': use one of own"),
    "contradiction": ([TINY, "control=blind", "control.frames=single"], "shows no frame"),
    "unknown scoring": ([TINY, "scoring=guess"], "scoring='guess'"),
    "frames of needles": (["evaluation=needle", "frames=8"], "frames=8 with evaluation=needle: needles say themselves"),
    "no data": (["evaluation=mlvu_dev"], "isn't there. Get it from"),
    "no process": ([TINY, "processes=0"], "processes=0: give a whole number, 1 or more"),
    "processes in words": ([TINY, "processes=two"], "processes=two: give a whole number"),
    "a switch for a budget": ([TINY, "budget=true"], "budget=True: give a whole number of tokens"),
    "keep in words": ([TINY, "keep=half"], "keep='half': give a number"),
    "seed in words": ([TINY, "control.seed=x"], "control.seed='x': give a whole number"),
    "no suite by name": (["evaluation=null"], "Config group override must be a string or a list"),
    "one unknown suite of two": (
        ["evaluation=[tiny_world,mlvu]"],
        "options in 'evaluation': charades_sta",
    ),
    "no checkpoint": ([TINY, "checkpoint=null"], "checkpoint is not given: set it to a folder"),
    "checkpoint that isn't there": ([TINY, "checkpoint=TMP/gone"], "TMP/gone: no such folder. Give a model's folder"),
    "empty checkpoint": ([TINY, "checkpoint=TMP/empty"], "TMP/empty/config.json: missing"),
    "checkpoint of another format": ([TINY, "checkpoint=TMP/qwen2"], "a model of type 'qwen2'"),
    "half a checkpoint": ([TINY, "checkpoint=TMP/half"], "model.safetensors: not a whole safetensors file"),
    "results of another config": ([TINY, "results=TMP/results"], "holds results of another run ("),
    "results in a file": ([TINY, "results=TMP/qwen2/config.json"], "can't be written: Not a directory. Choose another"),
    "counts of another kind": ([TINY, "evaluation.tiny_world.counts={items: 3}"], "give lists of numbers by name"),
    "no videos": (
        [TINY, "evaluation.tiny_world.videos=TMP/gone"],
        "none of the 2 videos is there, TMP/gone/0",
    ),
    "no annotations": ([TINY, "evaluation.tiny_world.annotations=TMP/gone"], "TMP/gone isn't there. Get it from"),
    "empty data": ([TINY, *EMPTY], "TMP/empty: there are no questions that can be asked. Wanted: annotations: DIR"),
}


def mistaken(checkpoint: Path, folder: Path) -> None:
    """What some of the mistakes need: other models, and other results in the place of this model's."""
    (folder / "empty").mkdir()
    (folder / "qwen2").mkdir()
    (folder / "qwen2/config.json").write_text('{"model_type": "qwen2"}')
    shutil.copytree(checkpoint, folder / "half")
    weights = folder / "half/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    name = f"{checkpoint.name}-{folder_hash(checkpoint)[:8]}"
    ResultsFolder(folder / "results" / name / "plain/tiny_world", {"suite": "mine"})


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_get_one_paragraph(
    mistake: str,
    world: Path,
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    wrong, expected = MISTAKES[mistake]
    mistaken(checkpoint, tmp_path)
    places = [f"++evaluation.tiny_world.{name}={world}" for name in ("annotations", "videos")]
    defaults = [f"checkpoint={checkpoint}", *(places if TINY in wrong else [])]
    given = [*defaults, *(told.replace("TMP", str(tmp_path)) for told in wrong)]
    with pytest.raises(SystemExit) as ended:
        one_process(monkeypatch, tmp_path, *given)
    assert ended.value.code == 2
    paragraphs = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(paragraphs) == 1
    assert expected.replace("TMP", str(tmp_path)) in paragraphs[0]
