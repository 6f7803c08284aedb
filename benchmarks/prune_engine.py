"""What the engine and the ledger of the pruning pipeline cost a sample, the work itself left out.

Usage: python benchmarks/prune_engine.py [--items 100000] [--workers 2]

The work gives made-up signals (12 values with their status), so what is measured is all the rest: planning, handing
out, writing one Parquet file an item, reports, progress. Each phase runs in a fresh driver. `run`: no item is done.
`again`: all are done, and nothing runs. `read`: the driver reads two signals of every item, as a policy does. CPU
seconds and peak memory are the kernel's counts, of the driver and of its workers. Files go to TMPDIR; where that is in
memory, flushing them to a disk isn't part of the wall time.
"""

import argparse
import contextlib
import datetime
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import daft
import numpy as np
import pyarrow as pa

from data_pipelines.engine import run_stage
from data_pipelines.ledger import Ledger, Row, config_hash, item_id
from data_pipelines.stage_worker import Item, Work, one_by_one

RESULTS = Path(__file__).parent / "results"
SIGNALS = 12
PHASES = ("run", "again", "read")


def make_ledger(folder: Path) -> Ledger:
    """A stage with ``SIGNALS`` signals."""
    fields = [(f"signal_{n}", pa.float64()) for n in range(SIGNALS)]
    fields += [(f"signal_{n}_status", pa.string()) for n in range(SIGNALS)]
    return Ledger(folder / "made_up", config_hash({"signals": SIGNALS}, 1), pa.schema(fields))


@contextlib.contextmanager
def make_work(peaks: Path) -> Iterator[Work]:
    """Signals from the item's number alone. At its end, the worker notes its peak memory in the folder ``peaks``."""

    def score(item: Item) -> Row:
        row: Row = {f"signal_{n}": (item["number"] * (n + 1) % 997) / 997 for n in range(SIGNALS)}
        return row | {f"signal_{n}_status": "ok" for n in range(SIGNALS)}

    yield one_by_one(score)
    (peaks / str(os.getpid())).write_text(str(peak_mib()))


def peak_mib() -> float:
    """Most memory that this process ever held. (The kernel's count for children includes their parent's.)"""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def do_phase(phase: str, folder: Path, count: int, workers: int) -> dict[str, float]:
    """Run a phase in this process; its cost."""
    uris = [f"videos/{n:07}.mp4" for n in range(count)]
    items = [{"id": item_id(uri, 10**6, n), "uri": uri, "number": n} for n, uri in enumerate(uris)]
    ledger = make_ledger(folder)
    peaks = folder / "peaks"
    peaks.mkdir(exist_ok=True)
    start, cpu = time.perf_counter(), _cpu_s(resource.RUSAGE_SELF)
    if phase in ("run", "again"):
        found = run_stage(items, ledger=ledger, make_work=partial(make_work, peaks), workers=workers)
        assert (found.ran, found.failed) == (count if phase == "run" else 0, {})
    else:
        table = ledger.read_table((item["id"] for item in items), ["id", "signal_0", "signal_1"])
        expected = np.arange(count) % 997 / 997
        np.testing.assert_array_equal(table["signal_0"].to_numpy(), expected)
    return {
        "wall_s": time.perf_counter() - start,
        "driver_cpu_s": _cpu_s(resource.RUSAGE_SELF) - cpu,
        "workers_cpu_s": _cpu_s(resource.RUSAGE_CHILDREN),
        "driver_peak_mib": peak_mib(),
        "worker_peak_mib": max((float(path.read_text()) for path in peaks.iterdir()), default=0.0),
    }


def _cpu_s(who: int) -> float:
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def in_fresh_driver(phase: str, folder: Path, count: int, workers: int) -> dict[str, Any]:
    """Cost of a phase in a process of its own."""
    script = [sys.executable, __file__, "--items", str(count), "--workers", str(workers), "--phase", phase]
    done = subprocess.run([*script, "--folder", folder], check=True, stdout=subprocess.PIPE)
    return {"phase": phase, "items": count, **json.loads(done.stdout.splitlines()[-1])}


def hardware() -> str:
    """Processor and number of cores."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{models[0] if models else platform.processor()}, {os.cpu_count()} cores"


def report(result: dict[str, Any]) -> str:
    """The Markdown page of a result."""
    facts = "\n".join(f"- {key}: {value}" for key, value in result["setting"].items())
    explanation = (__doc__ or "").split("\n\n")[2].strip()
    rows = "\n".join(
        f"| {row['phase']} | {row['items']} | {1000 * row['driver_cpu_s'] / row['items']:.3f} | "
        f"{1000 * row['workers_cpu_s'] / row['items']:.3f} | {row['driver_peak_mib']:.0f} | "
        f"{row['worker_peak_mib'] if row['phase'] == 'run' else 0:.0f} | {row['wall_s']:.0f} |"
        for row in result["rows"]
    )
    return (
        f"# Overhead of the pruning engine a sample\n\n{facts}\n\n{explanation}\n\n"
        "| phase | items | driver, CPU ms an item | workers together, CPU ms an item | driver's peak, MiB | "
        "a worker's peak, MiB | wall s |\n|---|---:|---:|---:|---:|---:|---:|\n" + rows + "\n\n"
        "The driver's CPU time of `run` includes starting Daft. Wall times of a shared machine are noisy.\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--phase", choices=PHASES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.phase:
        print("\n" + json.dumps(do_phase(options.phase, options.folder, options.items, options.workers)))
        return
    rows = []
    for count in (options.items // 10, options.items):
        with tempfile.TemporaryDirectory() as folder:
            rows += [in_fresh_driver(phase, Path(folder), count, options.workers) for phase in PHASES]
    setting = {
        "hardware": hardware(),
        "command": f"TMPDIR={tempfile.gettempdir()} python benchmarks/prune_engine.py " + " ".join(sys.argv[1:]),
        "data": f"{SIGNALS} made-up signals an item, {options.workers} workers, native runner",
        "versions": f"Python {platform.python_version()}, Daft {daft.__version__}, PyArrow {pa.__version__}",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }
    result = {"setting": setting, "rows": rows}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "prune_engine.json").write_text(json.dumps(result, indent=1) + "\n")
    (RESULTS / "prune_engine.md").write_text(report(result))
    print(report(result))


if __name__ == "__main__":
    main()
