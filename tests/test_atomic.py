"""Folders that appear whole or not at all, and one process at a time that makes them."""

import subprocess
import sys
from pathlib import Path

import pytest

from recot.atomic import new_folder, sole_process
from recot.errors import DataError
from tests.conftest import REPO

_TURN = """
import sys
from pathlib import Path
from recot.atomic import sole_process
from recot.errors import DataError
lock, count = Path(sys.argv[1]), Path(sys.argv[2])
done = 0
while done < 200:
    try:
        with sole_process(lock, lock):
            count.write_text(str(int(count.read_text()) + 1))
            done += 1
    except DataError as error:
        assert "Another process is writing" in str(error), error
"""


def test_no_two_processes_hold_a_lock_that_is_deleted_each_time(tmp_path: Path) -> None:
    """Were two of them inside at once, one's count would be lost, or a half-written one read."""
    count = tmp_path / "count"
    count.write_text("0")
    arguments = [sys.executable, "-c", _TURN, str(tmp_path / "lock"), str(count)]
    both = [subprocess.Popen(arguments, cwd=REPO, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    errors = [process.communicate(timeout=120)[1] for process in both]
    assert [process.returncode for process in both] == [0] * 3, errors
    assert count.read_text() == "600"
    assert not (tmp_path / "lock").exists()


def test_a_folder_that_is_being_made_is_refused_and_a_made_one_too(tmp_path: Path) -> None:
    with new_folder(tmp_path / "a") as folder:
        (folder / "x").write_text("x")
        with pytest.raises(DataError, match="Another process is writing"), new_folder(tmp_path / "a"):
            raise AssertionError("both got in")
    assert [p.name for p in tmp_path.rglob("*")] == ["a", "x"]
    with pytest.raises(DataError, match="already exists"), new_folder(tmp_path / "a"):
        raise AssertionError("it is there")


def test_a_folder_made_between_the_look_and_the_lock_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other_process_first(lock: Path, target: Path):  # type: ignore[no-untyped-def]
        target.mkdir()
        (target / "theirs").write_text("x")
        return sole_process(lock, target)

    monkeypatch.setattr("recot.atomic.sole_process", other_process_first)
    with pytest.raises(DataError, match="already exists"), new_folder(tmp_path / "a"):
        raise AssertionError("it is there")
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a", "theirs"]
