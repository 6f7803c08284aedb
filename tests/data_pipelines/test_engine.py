"""Items that crash, hang or raise cost themselves alone; a run that is killed goes on and ends in the same files."""

import functools
import gc
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from data_pipelines.engine import StageError, run_stage
from data_pipelines.ledger import Ledger
from data_pipelines.stage_worker import Work
from recot.errors import ConfigError, DataError
from tests.conftest import REPO
from tests.data_pipelines.engine_stages import make_items, make_ledger, plain, run

WAIT_S = 300.0  # for a machine that is very busy
KINDS = ["fine"] * 60
KINDS[3:60:32] = ["abort"] * 2
KINDS[10:60:32] = ["hang"] * 2
KINDS[5], KINDS[20], KINDS[21] = "noise", "raise", "video"
REASONS = {"abort": "crashed", "hang": "timeout", "raise": "exception", "video": "exception"}


def files(folder: Path) -> dict[str, bytes]:
    """The results; hidden files are halves that a killed process left."""
    paths = (p for p in folder.rglob("*.parquet") if not p.name.startswith("."))
    return {str(p.relative_to(folder)): p.read_bytes() for p in paths}


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


class Driver:
    """A run in a process group of its own, whose members can be told by a mark in their environment."""

    def __init__(self, folder: Path, workers: int) -> None:
        self._mark = f"RECOT_ENGINE_TEST={folder}-{time.monotonic_ns()}".encode()
        name, _, value = self._mark.decode().partition("=")
        code = "from tests.data_pipelines.engine_stages import main; main()"
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, folder, str(workers), *KINDS],
            cwd=REPO,
            env={**os.environ, name: value},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            process_group=0,
            # A shell that runs the tests in the background has us ignore it, and children inherit that.
            preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.default_int_handler),
        )

    def members(self) -> dict[int, str]:
        """Process id -> command line of all processes of this run."""
        found = {}
        for path in Path("/proc").iterdir():
            try:
                if path.name.isdigit() and self._mark in (path / "environ").read_bytes().split(b"\0"):
                    found[int(path.name)] = (path / "cmdline").read_bytes().decode()
            except OSError:
                continue
        return found

    def end(self) -> str:
        """Wait until all processes are gone; what they printed."""
        output, _ = self.process.communicate(timeout=WAIT_S)
        wait_for(lambda: not self.members())
        return output.decode()


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with two workers from start to end."""
    folder = tmp_path_factory.mktemp("unbroken")
    driver = Driver(folder, workers=2)
    output = driver.end()
    assert driver.process.returncode == 0, output
    assert "StageRun(items=60, ran=60, failed={'crashed': 2, 'exception': 2, 'timeout': 2}" in output
    assert "60/60" in output
    return folder


def test_crashes_hangs_and_exceptions_cost_exactly_their_items(unbroken: Path) -> None:
    ledger, items = make_ledger(unbroken), make_items(KINDS, unbroken / "log")
    table = ledger.read_table([item["id"] for item in items])
    assert table["error_reason"].to_pylist() == [REASONS.get(kind) for kind in KINDS]
    squares = [None if kind in REASONS else float(n**2) for n, kind in enumerate(KINDS)]
    assert table["square"].to_pylist() == squares
    assert set((unbroken / "log").read_text().split()) == {item["id"] for item in items}
    assert len((unbroken / "log").read_text().split()) == 60


def test_a_run_that_is_killed_again_and_again_ends_in_the_same_files(unbroken: Path, tmp_path: Path) -> None:
    def done() -> int:
        return len(files(tmp_path))

    def start(progress: int) -> Driver:
        before, driver = done(), Driver(tmp_path, workers=1)
        wait_for(lambda: done() >= before + progress or driver.process.poll() is not None)
        return driver

    killed = start(12)
    killed.process.kill()
    killed.end()

    interrupted = start(12)
    os.killpg(interrupted.process.pid, signal.SIGINT)
    output = interrupted.end()
    assert interrupted.process.returncode == 130, output
    assert "Traceback" not in output

    workerless = start(4)
    (worker,) = [pid for pid, command in workerless.members().items() if "udf_worker" in command]
    os.kill(worker, signal.SIGKILL)
    output = workerless.end()
    assert workerless.process.returncode == 2, output
    assert "A worker of stage squares ended" in output
    assert "the next run goes on with them" in output

    assert 0 < done() < 60
    last = Driver(tmp_path, workers=1)
    output = last.end()
    assert last.process.returncode == 0, output
    assert files(tmp_path) == files(unbroken)
    calls = Counter((tmp_path / "log").read_text().split())
    assert len(calls) == 60
    assert sum(calls.values()) <= 60 + 3  # each time, the worker was on one item


def test_what_is_done_is_not_run_again(unbroken: Path) -> None:
    before = (unbroken / "log").read_text()
    found = run(KINDS, unbroken, 2)
    assert (found.items, found.ran, found.failed, found.busy_s) == (60, 0, {}, 0.0)
    assert (unbroken / "log").read_text() == before


@pytest.fixture
def attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs a stage in this process, with work in the worker itself; the number of items that ran."""
    monkeypatch.chdir(REPO)  # where workers find the package of the tests

    def start(kinds: list[str], ledger: Ledger, make: Callable[[], AbstractContextManager[Work]] = plain) -> int:
        return run_stage(make_items(kinds, tmp_path / "log"), ledger=ledger, make_work=make, workers=2).ran

    return start


def test_a_config_that_cannot_work_is_told_as_such(attempt: Callable[..., int], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^encoder=x: no such file$"):
        attempt(["fine"] * 3, make_ledger(tmp_path), functools.partial(plain, "encoder=x: no such file"))
    assert files(tmp_path) == {}


def test_a_stage_with_a_mistake_stops_with_its_traceback(attempt: Callable[..., int], tmp_path: Path) -> None:
    with pytest.raises(StageError, match="ValueError: squares: columns") as caught:
        attempt(["fine", "columns", "fine"], make_ledger(tmp_path))
    assert "in _run" in str(caught.value)


def test_a_ledger_that_cannot_be_written_stops_the_stage(attempt: Callable[..., int], tmp_path: Path) -> None:
    ledger = make_ledger(tmp_path)
    items = make_items(["fine"] * 2, tmp_path)
    ledger.folder.mkdir()
    (ledger.folder / items[0]["id"][:2]).symlink_to("nowhere")
    with pytest.raises(DataError, match="can't be written"):
        attempt(["fine"] * 2, ledger)


def test_an_exception_in_the_worker_costs_its_item(attempt: Callable[..., int], tmp_path: Path) -> None:
    kinds = ["fine", "video", "raise", "fine", "fine"]
    items = make_items(kinds, tmp_path)
    ledger = make_ledger(tmp_path)
    assert attempt(kinds, ledger) == 5
    reasons = ledger.read_table([item["id"] for item in items])["error_reason"].to_pylist()
    assert reasons == [None, "no_video_stream", "exception", None, None]


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Ctrl-C as in a terminal: a shell that runs the tests in the background has us ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_ends_a_stage_while_results_come_in(
    attempt: Callable[..., int], ctrl_c: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    complaints: list[object] = []  # those of what Daft would leave behind
    monkeypatch.setattr(sys, "unraisablehook", complaints.append)
    ledger, kinds = make_ledger(tmp_path), ["fine", "fine", "fine", "ctrl_c"] * 16
    with pytest.raises(KeyboardInterrupt):
        attempt(kinds, ledger)
    gc.collect()
    assert complaints == []
    assert 0 < len(files(tmp_path)) < 64
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert attempt(["fine" if kind == "ctrl_c" else kind for kind in kinds], ledger) > 0


def test_an_address_without_ray_says_what_to_install(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['ray'] = None\nfrom pathlib import Path\n"
        "from tests.data_pipelines.engine_stages import run\nrun(['fine'], Path(sys.argv[1]), 1, address='ray://x:1')"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], cwd=REPO, capture_output=True, text=True)
    assert "ConfigError: engine.address=ray://x:1: Ray isn't installed. pip install -e '.[cluster]'" in done.stderr


def test_a_ray_cluster_gives_the_same_files(unbroken: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray isn't installed (extra: cluster)")
    address = os.environ.get("RECOT_RAY_ADDRESS")
    if address is None:
        pytest.skip("set RECOT_RAY_ADDRESS to the address of a running cluster, as `ray start --head` tells")
    code = (
        "import sys\nfrom pathlib import Path\nfrom tests.data_pipelines.engine_stages import run\n"
        "print(run(sys.argv[3:], Path(sys.argv[1]), 2, address=sys.argv[2]))"
    )
    subprocess.run(
        [sys.executable, "-c", code, tmp_path, address, *KINDS],
        cwd=REPO,
        check=True,
        timeout=WAIT_S,
    )
    assert files(tmp_path) == files(unbroken)
