"""A stage that behaves as its items say, for tests of the engine; ``main`` runs it in a process that can be killed."""

import argparse
import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from data_pipelines.engine import StageRun, run_stage
from data_pipelines.ledger import Ledger, Row, config_hash, item_id
from data_pipelines.stage_worker import Item, Work, one_by_one
from data_pipelines.supervised import SupervisedPool
from recot.errors import ConfigError, VideoError, report_errors

COLUMNS = pa.schema([("square", pa.float64()), ("name", pa.string()), ("pixels", pa.binary())])
TIMEOUT_S = 6.0  # long for a task of no work, even on a machine that is busy


def make_ledger(folder: Path) -> Ledger:
    return Ledger(folder / "squares", config_hash({"power": 2}, 1), COLUMNS)


def make_items(kinds: list[str], log: Path) -> list[Item]:
    return [{"id": item_id(kind, n), "n": n, "kind": kind, "log": str(log)} for n, kind in enumerate(kinds)]


def behave(item: Item) -> Row:
    """What the item's kind says; each call is noted in the item's log."""
    with Path(item["log"]).open("a") as file:
        file.write(f"{item['id']}\n")
    match item["kind"]:
        case "abort":
            os.abort()
        case "hang":
            while True:
                time.sleep(100)
        case "nap":
            time.sleep(0.5)
        case "noise":
            os.write(2, b"\xff\xfe no UTF-8\n")
            os.write(1, b"half a line")
        case "raise":
            raise KeyError("no such thing")
        case "video":
            raise VideoError("a.mp4", "no_video_stream", "it has only sound")
        case "segfault":
            ctypes.string_at(0)
        case "ctrl_c":  # to the driver, where the worker does the work itself
            os.kill(os.getppid(), signal.SIGINT)
        case "config":
            raise ConfigError("encoder=x: no such encoder")
        case "columns":
            return {"square": 1.0}
    number = item["n"]
    return {"square": float(number**2), "name": f"number {number}", "pixels": bytes([number % 256]) * 100}


@contextlib.contextmanager
def supervised() -> Iterator[Work]:
    """In a child process, like decoding."""
    with SupervisedPool(behave, workers=1, timeout_s=TIMEOUT_S, memory_bytes=2**31, recycle_after=20) as pool:
        yield pool.map


@contextlib.contextmanager
def plain(error: str = "") -> Iterator[Work]:
    """In the worker itself, like a model."""
    if error:
        raise ConfigError(error)
    yield one_by_one(behave)


def run(kinds: list[str], folder: Path, workers: int, *, address: str | None = None) -> StageRun:
    items = make_items(kinds, folder / "log")
    ledger = make_ledger(folder)
    return run_stage(items, ledger=ledger, make_work=supervised, workers=workers, address=address, batch=4)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("workers", type=int)
    parser.add_argument("kinds", nargs="+")
    options = parser.parse_args()
    with report_errors():
        print(run(options.kinds, options.folder, options.workers))
