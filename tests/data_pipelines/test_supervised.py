"""Children that hang, abort, exit or eat memory lose exactly their own task."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from data_pipelines.supervised import Outcome, SupervisedPool

REPO = Path(__file__).resolve().parents[2]


def behave(task: tuple[str, int]) -> object:
    """What the task's name says."""
    name, number = task
    match name:
        case "sleep_forever":
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT])
            while True:
                time.sleep(100)
        case "busy_in_c":
            return sum(i for i in range(10**12))
        case "abort":
            os.abort()
        case "segfault":
            ctypes.string_at(0)
        case "exit":
            os._exit(3)
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "killed_once":
            marker = Path(os.environ["TOUCHED"], str(number))
            if not marker.exists():
                marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        case "allocate":
            return len(bytearray(8 * 2**30))
        case "raise":
            raise KeyError("no such thing")
        case "unpicklable":
            return lambda: number
        case "torch":
            return "torch" in sys.modules
        case "pid":
            return os.getpid()
        case "touch":
            Path(os.environ["TOUCHED"], str(number)).touch()
        case "slow":
            time.sleep(0.4)
    return number * number


def pool(**options: object) -> SupervisedPool[tuple[str, int], object]:
    defaults = {"workers": 2, "timeout_s": 20.0, "memory_bytes": 2 * 2**30, "recycle_after": 100}
    return SupervisedPool(behave, **{**defaults, **options})  # type: ignore[arg-type]


def reason(outcome: Outcome[object]) -> str | None:
    return outcome.failure.reason if outcome.failure else None


def test_results_come_in_input_order_with_any_number_of_workers() -> None:
    tasks = [("slow" if n % 5 == 0 else "square", n) for n in range(12)]
    for workers in (1, 3):
        with pool(workers=workers) as squares:
            outcomes = list(squares.map(tasks))
        assert [o.result for o in outcomes] == [n * n for n in range(12)]
        assert all(o.failure is None for o in outcomes)
        assert all((o.elapsed_s > 0.39) == (n % 5 == 0) for n, o in enumerate(outcomes) if n)


def test_no_child_waits_for_who_takes_the_outcomes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one outcome taken, the next task is done although nobody asks for it."""
    monkeypatch.setenv("TOUCHED", str(tmp_path))
    with pool(workers=1) as touching:
        outcomes = touching.map([("touch", n) for n in range(4)])
        next(outcomes)
        end = time.monotonic() + 60
        while not (tmp_path / "1").exists() and time.monotonic() < end:
            time.sleep(0.01)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1"]
        assert [outcome.result for outcome in outcomes] == [1, 4, 9]


def test_a_bad_task_loses_only_itself() -> None:
    bad = {
        "abort": ("crashed", "SIGABRT"),
        "segfault": ("crashed", "SIGSEGV"),
        "exit": ("crashed", "exit 3"),
        "killed": ("out_of_memory", "SIGKILL"),
        "allocate": ("out_of_memory", "MemoryError"),
        "raise": ("exception", "KeyError"),
    }
    tasks = [(name, 7) for bad_name in bad for name in ("square", bad_name)] + [("square", 7)]
    with pool() as mixed:
        outcomes = list(mixed.map(tasks))
    for (name, _), outcome in zip(tasks, outcomes, strict=True):
        if name == "square":
            assert outcome.result == 49
        else:
            assert outcome.failure is not None
            assert (outcome.failure.reason, outcome.failure.error_class) == bad[name]
            assert outcome.result is None


@pytest.mark.parametrize("workers", [1, 2])
def test_a_task_whose_child_is_killed_is_tried_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    """The kernel may have killed it because of other processes; the last task is one of those."""
    monkeypatch.setenv("TOUCHED", str(tmp_path))
    tasks = [("killed_once" if n in (1, 4, 6) else "square", n) for n in range(7)]
    with pool(workers=workers) as unlucky:
        for _ in range(2):
            outcomes = list(unlucky.map(tasks))
            assert [(o.result, o.failure) for o in outcomes] == [(n * n, None) for n in range(7)]
            assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "4", "6"]
            for path in tmp_path.iterdir():
                path.unlink()


def test_hanging_tasks_are_ended_at_their_deadline() -> None:
    tasks = [("square", 1), ("sleep_forever", 0), ("square", 2), ("busy_in_c", 0), ("square", 3)]
    start = time.monotonic()
    with pool(timeout_s=1.0) as hanging:
        outcomes = list(hanging.map(tasks))
    assert [reason(o) for o in outcomes] == [None, "timeout", None, "timeout", None]
    assert [o.result for o in outcomes[::2]] == [1, 4, 9]
    assert time.monotonic() - start < 15


def test_a_result_that_cannot_be_sent_is_an_exception_of_its_task() -> None:
    with pool(workers=1) as squares:
        outcomes = list(squares.map([("unpicklable", 1), ("square", 2)]))
    assert [reason(o) for o in outcomes] == ["exception", None]
    assert outcomes[1].result == 4


def test_children_are_recycled_and_have_no_torch() -> None:
    with pool(workers=1, recycle_after=2) as squares:
        pids = [o.result for o in squares.map([("pid", 0)] * 5)]
        assert [o.result for o in squares.map([("torch", 0)])] == [False]
    assert pids[0] == pids[1] != pids[2] == pids[3] != pids[4]


def test_look_ahead_is_bounded() -> None:
    taken = 0

    def tasks() -> Iterator[tuple[str, int]]:
        nonlocal taken
        for n in range(1000):
            taken += 1
            yield ("square", n)

    with pool(workers=1) as squares:
        outcomes = squares.map(tasks())
        assert next(outcomes).result == 0
        assert taken < 40


def test_children_end_with_the_block() -> None:
    with pool(workers=2) as squares:
        outcomes = squares.map([("pid", 0)] * 4 + [("sleep_forever", 0)] * 2)
        pids = {next(outcomes).result for _ in range(4)}
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(int(str(pid)), 0)


def test_a_function_that_cannot_be_imported_is_an_error_not_a_loop(tmp_path: Path) -> None:
    (tmp_path / "gone.py").write_text("def function(task): return task\n")
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import gone, os; os.unlink(gone.__file__)\n"
        "from data_pipelines.supervised import SupervisedPool\n"
        "pool = SupervisedPool(gone.function, workers=1, timeout_s=5, memory_bytes=2**31, recycle_after=9)\n"
        "try:\n    list(pool.map([1]))\n"
        "except RuntimeError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path], capture_output=True, text=True, cwd=REPO, timeout=60, check=True
    )
    assert "can't start" in done.stdout


@pytest.mark.parametrize("task", [None, "sleep_forever", "busy_in_c"])
def test_children_do_not_outlive_a_killed_parent(task: str | None) -> None:
    script = (
        "import sys, os, threading\n"
        "from data_pipelines.supervised import SupervisedPool\n"
        "from tests.data_pipelines.test_supervised import behave\n"
        "pool = SupervisedPool(behave, workers=1, timeout_s=60, memory_bytes=2**31, recycle_after=9)\n"
        f"outcomes = pool.map([('pid', 0), ({task!r}, 0)])\n"
        "print(next(outcomes).result, flush=True)\n"
        f"if {task!r}:\n"
        "    threading.Timer(0.5, os.kill, (os.getpid(), 9)).start()\n"
        "    next(outcomes)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=REPO, timeout=60)
    assert done.returncode == -signal.SIGKILL, done.stderr
    child = int(done.stdout)
    for _ in range(100):
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    raise AssertionError(f"child {child} still ran")
