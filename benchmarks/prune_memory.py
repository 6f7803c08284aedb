"""Memory of the pruning command's processes against the number of videos that are done.

    python benchmarks/prune_memory.py [--videos 10000] [--different 500]

Renders ``--different`` videos of the tiny world with 8 to 16 frames, and copies them under other names until there are
``--videos``; each copy ends in a free box of its own, so that no two files are equal, while their packets and pictures
are. Runs ``data_pipelines/prune.py`` on the folder: real decoding and signals, the default policy, shards and report,
without models. Once a second, memory is read of the driver, of the engine's worker and of the child that decodes:
what each holds for itself (RssAnon; pages of files come and go with what else the machine does), and the peak of all
that it had resident (VmHWM). A row is a part of the run: the largest values while so many videos became done.
"""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from decode import hardware
from prune_throughput import _descendants

from recot.atomic import write_file
from recot.tiny_world.render import render
from recot.tiny_world.scene import make_scene
from recot.tiny_world.video import encode_mp4

REPO = Path(__file__).resolve().parents[1]
RESULTS = REPO / "benchmarks/results"
KINDS = ("driver", "worker", "child")
FIELDS = {"own": "RssAnon", "peak": "VmHWM"}
PARTS = 10
FPS, SIDE = 8.0, 64


def make_videos(folder: Path, videos: int, different: int) -> None:
    """``000000.mp4`` and so on, none equal to another."""
    made = [
        encode_mp4(render(make_scene(seed, frames=8 + seed % 9, size=SIDE, fps=FPS)), size=SIDE, fps=FPS)
        for seed in range(min(different, videos))
    ]
    for number in range(videos):
        free = (12).to_bytes(4, "big") + b"free" + number.to_bytes(4, "big")
        (folder / f"{number:06}.mp4").write_bytes(made[number % different] + free)


def kind_of(process: int, driver: int) -> str | None:
    """Which part of the command a process is."""
    if process == driver:
        return "driver"
    command = Path(f"/proc/{process}/cmdline").read_bytes()
    if b"udf_worker" in command:
        return "worker"
    return "child" if b"spawn_main" in command else None


def memory(driver: int) -> dict[str, float]:
    """``<kind>_own`` and ``<kind>_peak``, MiB of the largest process of each kind."""
    found = {f"{kind}_{what}": 0.0 for kind in KINDS for what in FIELDS}
    for process in _descendants():
        with suppress(OSError, KeyError):
            kind = kind_of(process, driver)
            lines = Path(f"/proc/{process}/status").read_text().splitlines()
            values = {name: text.split() for name, _, text in (line.partition(":") for line in lines)}
            for what, field in FIELDS.items() if kind is not None else ():
                name = f"{kind}_{what}"
                found[name] = max(found[name], int(values[field][0]) / 1024)
    return found


def watched(command: list[str], scores: Path) -> Iterator[dict[str, float]]:
    """Runs the command; once a second, how many videos are done and what they hold."""
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while process.poll() is None:
        done = sum(1 for _ in scores.glob("media/*/*.parquet"))
        yield {"s": time.monotonic() - start, "done": done, **memory(process.pid)}
        time.sleep(1)
    if process.returncode:
        assert process.stderr is not None
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {process.stderr.read().decode()}")


def parts(samples: list[dict[str, float]], videos: int) -> list[dict[str, float]]:
    """Samples by how many videos were done, and those after the last one."""
    edges = np.linspace(0, videos, PARTS + 1).round()
    rows = []
    for low, high in [*pairwise(edges), (videos, np.inf)]:
        own = [sample for sample in samples if low <= sample["done"] < high]
        if own:
            rows.append(
                {"up_to": int(min(high, videos)), "after": bool(low == videos), "samples": len(own)}
                | {name: max(sample[name] for sample in own) for name in own[0] if name not in ("s", "done")}
            )
    return rows


def page(setting: dict[str, str], rows: list[dict[str, Any]]) -> str:
    """The Markdown page."""
    lines = ["# Memory of pruning against the number of videos", ""]
    lines += [f"- {name}: {value}" for name, value in setting.items()]
    lines += ["", (__doc__ or "").split("\n\n")[2].strip(), ""]
    lines += ["MiB, own / peak.", "", "| videos done | driver | worker | decoding child |", "|---|---:|---:|---:|"]
    for row in rows:
        done = "all: comparing, deciding, shards, report" if row["after"] else f"up to {row['up_to']}"
        cells = [f"{row[f'{kind}_own']:.0f} / {row[f'{kind}_peak']:.0f}" for kind in KINDS]
        lines.append(f"| {done} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--videos", type=int, default=10_000)
    parser.add_argument("--different", type=int, default=500)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        videos, scores = Path(scratch) / "videos", Path(scratch) / "scores"
        videos.mkdir()
        make_videos(videos, options.videos, options.different)
        command = [sys.executable, str(REPO / "data_pipelines/prune.py"), f"source={videos}", f"scores={scores}"]
        command += [f"output={scratch}/out", "workers=1", "scorers.frame_size=64"]
        samples = []
        for sample in watched(command, scores):
            samples.append(sample)
            if len(samples) % 60 == 1:
                print(sample, flush=True)
        summary = json.loads((Path(scratch) / "out/summary.json").read_text())
    rows = parts(samples, options.videos)
    setting = {
        "hardware": hardware(),
        "command": f"python benchmarks/prune_memory.py --videos {options.videos} --different {options.different}",
        "input": f"{options.videos} videos, of which {summary['videos']['kept']} are kept",
        "versions": f"Python {platform.python_version()}, Daft {version('daft')}, PyAV {version('av')}",
        "date": date.today().isoformat(),
    }
    result = {"setting": setting, "rows": rows, "seconds": samples[-1]["s"]}
    write_file(options.results / "prune_memory.json", (json.dumps(result, indent=1) + "\n").encode())
    write_file(options.results / "prune_memory.md", page(setting, rows).encode())
    print(page(setting, rows))


if __name__ == "__main__":
    main()
