"""Commands as a user types them: killed and resumed, swept, and mistaken."""

import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from recot.checkpoints.reading import read_checkpoint
from tests.run.small import REPO, SMALL


def command(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "HYDRA_FULL_ERROR"} | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, str(REPO / "src/train.py"), *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_commands_of_the_readme_and_a_kill(tmp_path: Path) -> None:
    """SIGKILL in mid-run, then the same command with resume=; the data were made whole by the first."""
    arguments = ["experiment=recot_pretrain", *SMALL, "data.num_workers=1", "hydra.run.dir=first"]
    process = subprocess.Popen(
        [sys.executable, str(REPO / "src/train.py"), *arguments, "trainer.max_steps=100000"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    last = tmp_path / "first/checkpoints/last.ckpt"
    deadline = time.monotonic() + 240
    try:
        while not last.is_file():
            assert process.poll() is None, "training ended before its first checkpoint"
            assert time.monotonic() < deadline
            time.sleep(0.2)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    step = read_checkpoint(last)["global_step"]
    arguments[-1] = "hydra.run.dir=second"
    resumed = command(*arguments, f"resume={last}", f"trainer.max_steps={step + 2}", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert "explained variance" in resumed.stdout
    assert read_checkpoint(tmp_path / "second/checkpoints/final.ckpt")["global_step"] == step + 2


def test_sweep_and_its_report(tmp_path: Path) -> None:
    swept = command(
        "-m",
        "experiment=recot_pretrain",
        "stage.mask_ratio=0.5,0.75",
        *SMALL,
        "trainer.max_steps=1",
        cwd=tmp_path,
    )
    assert swept.returncode == 0, swept.stderr
    (folder,) = (tmp_path / "multirun/recot_pretrain").iterdir()
    report = subprocess.run(
        [sys.executable, "-m", "recot.sweep_report", str(folder)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert report.returncode == 0, report.stderr
    assert "0.75" in report.stdout
    assert (folder / "sweep.csv").is_file()
    assert (folder / "sweep.png").read_bytes().startswith(b"\x89PNG")


# What a user can get wrong on the command line -> what the paragraph must say.
MISTAKES = {
    "unknown key": (["stage.mask_ratoi=0.5"], "mask_ratoi"),
    "unknown experiment": (["experiment=recot_pretrian"], "recot_pretrain"),
    "unknown kind": (["stage.masking=semantic"], "use one of sgm"),
    "ratio 0": (["stage.mask_ratio=0"], "stage.mask_ratio"),
    "ratio 1": (["stage.mask_ratio=1"], "stage.mask_ratio"),
    "ratio 1.5": (["stage.mask_ratio=1.5"], "stage.mask_ratio"),
    "three frames": (["data.sampling.fps=null", "data.sampling.count=3"], "data.sampling.count"),
    "no data": (["data=shards", "data.train=[nowhere/train]", "data.val=[nowhere/val]"], "data_pipelines/prune.py"),
    "data not named": (["data=shards"], "data.train"),
    "unwritable": (["hydra.run.dir=/dev/null/run"], "can't be read or written"),
    "no checkpoint": (["resume=nowhere.ckpt"], "no checkpoint there"),
    "steps of another type": (["trainer.max_steps=many"], "trainer.max_steps=many"),
    "rate of another type": (["stage.learning_rate=fast"], "stage.learning_rate"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_get_one_paragraph(
    mistake: str, tmp_path: Path, world: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong, expected = MISTAKES[mistake]
    small = [] if "data=shards" in wrong else SMALL
    experiment = [] if any(w.startswith("experiment=") for w in wrong) else ["experiment=recot_pretrain"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    monkeypatch.setattr(sys, "argv", ["train.py", *experiment, f"paths.data={world}", *small, *wrong])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(REPO / "src/train.py"), run_name="__main__")
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    assert ended.value.code == 2
    paragraphs = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(paragraphs) == 1
    assert expected in paragraphs[0]


def test_a_mistake_shows_no_traceback_to_a_user(tmp_path: Path) -> None:
    result = command("experiment=recot_pretrain", "stage.mask_ratio=1.5", *SMALL, cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.count("error: stage.mask_ratio is 1.5") == 1
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("script", "wrong", "expected"),
    [
        ("train.py", "resume=nowhere.ckpt", "no checkpoint there"),
        ("eval.py", "checkpoint=nowhere.ckpt", "no checkpoint there"),
        ("eval.py", "checkpoint=null", "checkpoint is null"),
    ],
)
def test_a_missing_checkpoint_is_refused_before_data_are_made(
    script: str,
    wrong: str,
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    monkeypatch.setattr(sys, "argv", [script, "experiment=recot_pretrain", "paths.data=data", *SMALL, wrong])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(REPO / "src" / script), run_name="__main__")
    assert ended.value.code == 2
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "data").exists()
