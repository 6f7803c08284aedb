"""Videos and frames a second of the whole pruning command over bare decoding of the same files, on 1 and 2 workers.

    python benchmarks/prune_throughput.py <folder of videos> [--repeats 3] [--name prune_throughput]

Bare decoding hands the files to as many processes as there are workers, each of which decodes all frames of a file's
main video stream on one thread with PyAV and keeps none. Ours is ``data_pipelines/prune.py`` on the folder, from the
start of its process to the shards and the report, with no models. Runs are interleaved and of each the cheapest is
kept. CPU seconds are the kernel's count of a command with all its processes; with other work on the machine, only they
compare.
``start`` is the command on the smallest file alone: what it takes however many videos there are. Memory is what all
processes of the command hold together (PSS, shared pages counted once), sampled four times a second.
"""

import argparse
import ctypes
import json
import multiprocessing
import os
import platform
import resource
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import av
from decode import SUFFIXES, hardware

from recot.atomic import write_file

REPO = Path(__file__).resolve().parents[1]
RESULTS = REPO / "benchmarks/results"
PR_SET_CHILD_SUBREAPER = 36


def decode_bare(path: Path) -> int:
    """Frames decoded."""
    with path.open("rb") as file, av.open(file, metadata_errors="replace") as container:
        stream = container.streams.best("video")
        stream.codec_context.thread_count = 1
        return sum(1 for _ in container.decode(stream))


def bare(paths: list[Path], workers: int) -> dict[str, float]:
    """Frames, wall and CPU seconds; the processes are there, with their imports, before the clock starts."""
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        pool.map(time.sleep, [0.1] * 4 * workers, chunksize=1)
        before = _cpu_of_tree()
        start = time.monotonic()
        frames = sum(pool.imap_unordered(decode_bare, paths))
        return {"frames": frames, "wall_s": time.monotonic() - start, "cpu_s": _cpu_of_tree() - before}


def whole(folder: Path, workers: int) -> dict[str, float]:
    """Wall and CPU seconds and peak MiB of the command on a folder, with nothing measured before."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, str(REPO / "data_pipelines/prune.py"), f"source={folder}", f"output={scratch}/out"]
        command += [f"scores={scratch}/scores", f"workers={workers}", "pruning=none"]
        others = set(_descendants())  # of multiprocessing
        before, start = _cpu_of_ended(), time.monotonic()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        peak = [0.0]
        watching = threading.Event()
        watch = threading.Thread(target=_watch, args=(peak, watching))
        watch.start()
        code = process.wait()
        wall = time.monotonic() - start
        watching.set()
        watch.join()
        if code:
            raise RuntimeError(f"{' '.join(command)} ended with {code}")
        while set(_descendants()) - others:  # those whose parent ended before them are ours
            with suppress(ChildProcessError):
                os.waitpid(-1, os.WNOHANG)
            time.sleep(0.05)
        return {"wall_s": wall, "cpu_s": _cpu_of_ended() - before, "peak_mib": peak[0]}


def _cpu_of_ended() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _cpu_of_tree() -> float:
    ticks = 0
    for process in [os.getpid(), *_descendants()]:
        with suppress(OSError):
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _descendants() -> list[int]:
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                parents[int(entry.name)] = int(fields[1])
    found, new = [], [os.getpid()]
    while new:
        new = [process for process, parent in parents.items() if parent in new]
        found += new
    return found


def _watch(peak: list[float], ended: threading.Event) -> None:
    while not ended.wait(0.25):
        total = 0
        for process in _descendants():
            with suppress(OSError, StopIteration):
                lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
                total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        peak[0] = max(peak[0], total / 1024)


def measure(folder: Path, paths: list[Path], repeats: int) -> list[dict[str, Any]]:
    """A row for each number of workers."""
    rows: dict[int, dict[str, list[dict[str, float]]]] = {w: {"bare": [], "whole": [], "start": []} for w in (1, 2)}
    with tempfile.TemporaryDirectory() as alone:
        smallest = min(paths, key=lambda path: path.stat().st_size)
        (Path(alone) / smallest.name).symlink_to(smallest.resolve())
        for _ in range(repeats):
            for workers, row in rows.items():
                row["bare"].append(bare(paths, workers))
                row["whole"].append(whole(folder, workers))
                row["start"].append(whole(Path(alone), workers))
                print(workers, *(found[-1] for found in row.values()), flush=True)
    return [_row(workers, len(paths), found) for workers, found in rows.items()]


def _row(workers: int, videos: int, found: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    least = {kind: min(found[kind], key=lambda run: run["cpu_s"]) for kind in found}
    frames, cpu, start = least["bare"]["frames"], least["whole"]["cpu_s"], least["start"]["cpu_s"]
    wall = {kind: min(run["wall_s"] for run in runs) for kind, runs in found.items()}
    return {
        "workers": workers,
        "videos": videos,
        "frames": frames,
        "bare_cpu_s": least["bare"]["cpu_s"],
        "whole_cpu_s": cpu,
        "start_cpu_s": start,
        "rate_over_bare_cpu": least["bare"]["cpu_s"] / cpu,
        "rate_over_bare_cpu_without_start": least["bare"]["cpu_s"] / (cpu - start),
        "bare_wall_s": wall["bare"],
        "whole_wall_s": wall["whole"],
        "rate_over_bare_wall": wall["bare"] / wall["whole"],
        "videos_per_wall_s": videos / wall["whole"],
        "frames_per_wall_s": frames / wall["whole"],
        "peak_mib": max(run["peak_mib"] for run in found["whole"]),
    }


def page(setting: dict[str, str], rows: list[dict[str, Any]]) -> str:
    """The Markdown page."""
    lines = ["# The whole pruning command over bare decoding", ""]
    lines += [f"- {name}: {value}" for name, value in setting.items()]
    lines += ["", (__doc__ or "").split("\n\n")[2].strip(), ""]
    lines += [f"{rows[0]['videos']} videos, {rows[0]['frames']} frames.", ""]
    lines.append(
        "| workers | bare CPU s | command CPU s | start CPU s | over bare, CPU | less start | over bare, wall "
    )
    lines[-1] += "| videos / s | frames / s | peak MiB |"
    lines.append("|---:" * 10 + "|")
    for r in rows:
        lines.append(
            f"| {r['workers']} | {r['bare_cpu_s']:.1f} | {r['whole_cpu_s']:.1f} | {r['start_cpu_s']:.1f} "
            f"| {r['rate_over_bare_cpu']:.2f} | {r['rate_over_bare_cpu_without_start']:.2f} "
            f"| {r['rate_over_bare_wall']:.2f} | {r['videos_per_wall_s']:.2f} | {r['frames_per_wall_s']:.0f} "
            f"| {r['peak_mib']:.0f} |"
        )
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--name", default="prune_throughput", help="of the result files")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    before = os.getloadavg()
    paths = sorted(path for path in options.folder.iterdir() if path.suffix in SUFFIXES)
    with tempfile.TemporaryDirectory() as chosen:  # a folder of these files and nothing else
        for path in paths:
            (Path(chosen) / path.name).symlink_to(path.resolve())
        rows = measure(Path(chosen), paths, options.repeats)
    setting = {
        "hardware": hardware(),
        "command": f"python benchmarks/prune_throughput.py {options.folder.name} {' '.join(sys.argv[2:])}".strip(),
        "versions": f"Python {platform.python_version()}, PyAV {av.__version__}, Daft {version('daft')}",
        "beside": f"other work: load average {before[0]:.1f} before, {os.getloadavg()[0]:.1f} after",
        "date": date.today().isoformat(),
    }
    result = {"setting": setting, "rows": rows}
    write_file(options.results / f"{options.name}.json", (json.dumps(result, indent=1) + "\n").encode())
    write_file(options.results / f"{options.name}.md", page(setting, rows).encode())
    print(page(setting, rows))


if __name__ == "__main__":
    main()
