"""A result is there whole or not at all, equal results give equal bytes, and a damaged file is never believed."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipelines.ledger import Ledger, config_hash, item_id
from data_pipelines.supervised import Failure
from recot.errors import DataError
from tests.conftest import REPO

COLUMNS = pa.schema(
    [
        ("motion", pa.float64()),
        ("motion_status", pa.string()),
        ("hashes", pa.list_(pa.uint64())),
        ("embedding", pa.list_(pa.float32())),
        ("frames", pa.binary()),
    ]
)
ROWS = st.fixed_dictionaries(
    {
        "motion": st.none() | st.floats(),
        "motion_status": st.none() | st.text(max_size=5),
        "hashes": st.none() | st.lists(st.integers(0, 2**64 - 1), max_size=4),
        "embedding": st.none() | st.lists(st.floats(width=32), max_size=3),
        "frames": st.none() | st.binary(max_size=40),
    }
)


def row(number: int) -> dict[str, Any]:
    return {
        "motion": number / 7,
        "motion_status": "ok",
        "hashes": [number, 2**64 - 1 - number],
        "embedding": [0.5, float(number), -1.0],
        "frames": bytes([number % 256]) * 20_000,
    }


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "scores" / "media", config_hash({"fps": 2}, 1), COLUMNS)


def test_an_item_is_known_by_its_place_size_and_time() -> None:
    expected = hashlib.sha256(b'["a/b.mp4", 12, 1700000000123456789]').hexdigest()
    assert item_id("a/b.mp4", 12, 1700000000123456789) == expected
    others = [item_id(*parts) for parts in (("a/b.mp4", 12, None), ("a/b.mp", "4", 12), ("a/b.mp4", "12"), ("ä",))]
    assert len({expected, *others}) == 5


def test_a_config_is_known_by_its_settings_and_code_whatever_their_order() -> None:
    one = config_hash({"fps": 2.0, "limits": {"side": 64, "s": 1}}, 1)
    assert one == config_hash({"limits": {"s": 1, "side": 64}, "fps": 2.0}, 1)
    assert len(one) == 16
    assert len({one, config_hash({"fps": 2.5, "limits": {"side": 64, "s": 1}}, 1), config_hash({}, 1)}) == 3
    assert config_hash({}, 1) != config_hash({}, 2)


def test_columns_that_parquet_cannot_hold_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="without a fixed size"):
        Ledger(tmp_path, "0" * 16, pa.schema([("embedding", pa.list_(pa.float32(), 3))]))


@settings(max_examples=30, deadline=None)
@given(result=ROWS)
def test_what_was_written_is_read(result: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    ledger = Ledger(tmp_path_factory.mktemp("scores"), "0" * 16, COLUMNS)
    item = item_id("x")
    ledger.write(item, result)
    found = ledger.read(item)
    assert found.pop("id") == item
    assert [found.pop(f"error_{part}") for part in ("reason", "class", "detail")] == [None] * 3
    np.testing.assert_equal(found, result)


def test_one_file_an_item_with_the_names_that_others_rely_on(ledger: Ledger, tmp_path: Path) -> None:
    item = item_id("x", 1, 2)
    ledger.write(item, row(1))
    assert list(files(tmp_path)) == [f"scores/media/{item[:2]}/{item}-{ledger.config}.parquet"]


def test_a_failure_has_no_values_and_counts_as_done(ledger: Ledger) -> None:
    item = item_id("x")
    ledger.write(item, Failure("crashed", "SIGABRT", "it crashed"))
    found = ledger.read(item)
    assert {k: v for k, v in found.items() if v is not None} == {
        "id": item,
        "error_reason": "crashed",
        "error_class": "SIGABRT",
        "error_detail": "it crashed",
    }
    assert ledger.missing([item]) == []


def test_equal_results_give_equal_bytes_in_any_process(ledger: Ledger, tmp_path: Path) -> None:
    items = [item_id(n) for n in range(4)]
    for number, item in enumerate(items):
        ledger.write(item, row(number))
    before = files(tmp_path)
    script = (
        "import sys\nfrom pathlib import Path\nfrom tests.data_pipelines.test_ledger import *\n"
        "ledger = Ledger(Path(sys.argv[1]), config_hash({'fps': 2}, 1), COLUMNS)\n"
        "for n in (2, 0, 3, 1): ledger.write(item_id(n), dict(reversed(row(n).items())))\n"
    )
    subprocess.run([sys.executable, "-c", script, ledger.folder], cwd=REPO, check=True)
    assert files(tmp_path) == before


def test_missing_are_those_without_a_file_of_this_config_in_order_and_once(ledger: Ledger) -> None:
    items = [item_id(n) for n in range(600)]  # more than there are subfolders
    done = items[::3]
    for item in done[:20]:
        ledger.write(item, Failure("timeout", "TimeoutError", ""))
    other = Ledger(ledger.folder, config_hash({"fps": 3}, 1), COLUMNS)
    other.write(items[1], Failure("timeout", "TimeoutError", ""))
    (ledger.path(items[2]).parent).mkdir(exist_ok=True)
    hidden = ledger.path(items[2])
    hidden.with_name(f".{hidden.name}.123.tmp").write_bytes(b"half of a ")
    asked = [*reversed(items), items[5]]
    assert ledger.missing(asked) == [item for item in reversed(items) if item not in done[:20]]
    assert ledger.missing([]) == []


def test_tables_come_in_the_order_asked_for_with_the_columns_asked_for(ledger: Ledger) -> None:
    items = [item_id(n) for n in range(7)]
    for number, item in enumerate(items):
        ledger.write(item, row(number) if number != 3 else Failure("timeout", "TimeoutError", ""))
    order = [4, 0, 3, 4, 6]
    table = ledger.read_table([items[n] for n in order], ["motion", "id"])
    assert table.schema == pa.schema([("motion", pa.float64()), ("id", pa.string())])
    assert table["id"].to_pylist() == [items[n] for n in order]
    assert table["motion"].to_pylist() == [None if n == 3 else n / 7 for n in order]
    assert ledger.read_table([items[1]])["hashes"].to_pylist() == [[1, 2**64 - 2]]
    assert ledger.read_table([], ["motion"]).schema == pa.schema([("motion", pa.float64())])
    assert ledger.read_table([]).schema == ledger.schema


def test_a_stream_holds_a_part_of_the_rows_at_a_time(ledger: Ledger) -> None:
    for number in range(3):
        ledger.write(item_id(number), row(number))
    items = [item_id(n % 3) for n in range(1300)]
    before = pa.total_allocated_bytes()
    most = rows = 0
    for table in ledger.stream(items, ["motion", "frames"]):
        most = max(most, pa.total_allocated_bytes() - before)
        assert [round(v * 7) for v in table["motion"].to_pylist()] == [(rows + n) % 3 for n in range(table.num_rows)]
        rows += table.num_rows
        del table
    assert rows == 1300
    assert most < 1300 * 20_000 * 0.9
    light = ledger.read_table(items, ["motion"])
    assert light.nbytes < 20_000


@pytest.mark.parametrize("damage", ["truncated", "empty", "flipped", "text", "other"])
def test_a_damaged_file_is_named_with_what_to_do(ledger: Ledger, damage: str) -> None:
    item = item_id("x")
    ledger.write(item, row(1))
    path = ledger.path(item)
    content = bytearray(path.read_bytes())
    match damage:
        case "truncated":
            content = content[:-20]
        case "empty":
            content = bytearray()
        case "flipped":
            content[len(content) // 3] ^= 8
        case "text":
            content = bytearray(json.dumps({"motion": 1}).encode())
        case "other":
            Ledger(ledger.folder, ledger.config, pa.schema([("blur", pa.int64())])).write(item, {"blur": 1})
            content = bytearray(path.read_bytes())
    path.write_bytes(content)
    with pytest.raises(DataError, match="Delete this file and run") as caught:
        ledger.read(item)
    assert str(path) in str(caught.value)


def test_a_result_that_is_not_there_is_an_error(ledger: Ledger) -> None:
    with pytest.raises(DataError, match="no such result"):
        ledger.read_table([item_id("x")], ["motion"])


def test_a_result_with_other_columns_is_refused(ledger: Ledger) -> None:
    with pytest.raises(ValueError, match="media: columns"):
        ledger.write(item_id("x"), {"motion": 1.0})
    assert ledger.missing([item_id("x")]) == [item_id("x")]


def test_a_folder_that_cannot_be_written_is_named(ledger: Ledger) -> None:
    item = item_id("x")
    ledger.folder.mkdir(parents=True)
    (ledger.folder / item[:2]).write_bytes(b"not a folder")
    with pytest.raises(DataError, match="can't be written") as caught:
        ledger.write(item, row(1))
    assert str(ledger.path(item)) in str(caught.value)
    with pytest.raises(DataError, match="can't be listed"):
        ledger.missing([item])


def test_a_full_disk_leaves_nothing(ledger: Ledger, tmp_path: Path) -> None:
    """Files are limited to 50 kB here: writing fails in the middle, as on a full disk."""
    script = (
        "import resource, signal, sys\nfrom pathlib import Path\nfrom tests.data_pipelines.test_ledger import *\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
        "ledger = Ledger(Path(sys.argv[1]), '0' * 16, COLUMNS)\n"
        "try:\n    ledger.write(item_id('x'), {**row(1), 'frames': np.random.default_rng(0).bytes(200_000)})\n"
        "except DataError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, ledger.folder], cwd=REPO, check=True, capture_output=True, text=True
    )
    assert "can't be written" in done.stdout
    assert "Free some space" in done.stdout
    assert files(tmp_path) == {}
    assert [path.name for path in ledger.folder.iterdir()] == [item_id("x")[:2]]
    assert list((ledger.folder / item_id("x")[:2]).iterdir()) == []
