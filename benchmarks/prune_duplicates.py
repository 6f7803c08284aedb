"""CPU seconds and peak memory of the duplicate step on synthetic rows.

Usage: python benchmarks/prune_duplicates.py [--rows 10000 100000 1000000]

A row is a video of 8 shots in 16 half seconds: 16 hashes, plain and mirrored, and 8 frame embeddings of 64 channels.
The hashes' bits depend on each other about as those of frames do: two looks are within 10 of 64 bits with a probability
of 0.0014, where tiny-world scenes have 0.003 and real clips 0.0007. A fifth of the rows are copies of others: a twelfth
of the bits flipped, embeddings disturbed; a third of them mirrored and a third trimmed to 10 to 14 hashes. Each size
runs in a process of its own, on one thread; its peak is that of the process, table and all.
"""

import argparse
import datetime
import json
import math
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from data_pipelines.duplicates import DuplicateSettings, find_duplicates

RESULTS = Path(__file__).parent / "results"
SHOTS, HASHES, FRAMES, CHANNELS = 8, 16, 8, 64
COPIES, FLIPPED = 0.2, 1 / 12
TRAITS = 10  # hidden numbers that a frame's 64 bits come from
BITS = np.uint64(1) << np.arange(64, dtype=np.uint64)


def frame_hashes(rng: np.random.Generator, looks: int) -> np.ndarray:
    """``(looks,)`` uint64 whose bits depend on each other."""
    mixing = np.random.default_rng(0).normal(size=(TRAITS, 64)).astype(np.float32)
    result = np.empty(looks, np.uint64)
    for start in range(0, looks, 1 << 16):
        traits = rng.normal(size=(min(1 << 16, looks - start), TRAITS)).astype(np.float32)
        result[start : start + len(traits)] = ((traits @ mixing > 0) * BITS).sum(1, dtype=np.uint64)
    return result


def flipped(rng: np.random.Generator, hashes: np.ndarray) -> np.ndarray:
    """Copies' hashes: every bit is another one with probability ``FLIPPED``."""
    noise = np.zeros(hashes.shape, np.uint64)
    for bit in BITS:
        noise |= np.where(rng.random(hashes.shape, np.float32) < FLIPPED, bit, np.uint64(0))
    return hashes ^ noise


def make_rows(rows: int) -> tuple[pa.Table, np.ndarray]:
    """The table, and of which row each one is a copy: itself if it is none."""
    rng = np.random.default_rng(1)
    sources = rows - int(rows * COPIES)
    of = np.concatenate([np.arange(sources), rng.integers(sources, size=rows - sources)])
    shots = np.repeat(np.arange(SHOTS), HASHES // SHOTS)
    plain, mirrored = (frame_hashes(rng, sources * SHOTS).reshape(-1, SHOTS)[:, shots][of] for _ in range(2))
    copy = np.arange(rows) >= sources
    plain[copy], mirrored[copy] = flipped(rng, plain[copy]), flipped(rng, mirrored[copy])
    swapped = copy & (np.arange(rows) % 3 == 0)
    plain[swapped], mirrored[swapped] = mirrored[swapped], plain[swapped]
    lengths = np.where(copy & (np.arange(rows) % 3 == 1), rng.integers(10, 15, rows), HASHES)
    kept = np.arange(HASHES) >= HASHES - lengths[:, None]
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
    embeddings = np.empty((rows, FRAMES * CHANNELS), np.float32)
    for start in range(0, sources, 1 << 14):
        stop = min(start + (1 << 14), sources)
        embeddings[start:stop] = rng.normal(size=(stop - start, FRAMES * CHANNELS))
    for row in range(sources, rows):
        embeddings[row] = embeddings[of[row]] + 0.2 * rng.normal(size=FRAMES * CHANNELS)
    names = [f"{number:08x}" for number in rng.permutation(rows)]
    columns = {
        "video_id": names,
        "key": names,
        "packet_md5": names,
        "duration_s": lengths / 2,
        "hashes": pa.ListArray.from_arrays(offsets, pa.array(plain[kept])),
        "mirrored_hashes": pa.ListArray.from_arrays(offsets, pa.array(mirrored[kept])),
        "embeddings": pa.FixedSizeListArray.from_arrays(pa.array(embeddings.reshape(-1)), FRAMES * CHANNELS),
        "embedding_frames": pa.array(np.full(rows, FRAMES)),
    }
    return pa.table(columns), of


def measure(rows: int) -> dict[str, float]:
    """One size, in this process."""
    table, of = make_rows(rows)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    result = find_duplicates(table, settings=DuplicateSettings())
    seconds = time.process_time() - start
    cluster, copies = result["cluster_id"].to_numpy(), np.flatnonzero(of != np.arange(rows))
    first = np.unique(cluster, return_index=True)[1]
    return {
        "rows": rows,
        "cpu_s": seconds,
        "table_mb": table.nbytes / 1e6,
        "before_mb": before / 1e3,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
        "found": float((cluster[copies] == cluster[of[copies]]).mean()),
        "wrong": int((of[first[cluster]] != of).sum()),
    }


def report(setting: dict[str, str], rows: list[dict[str, float]]) -> str:
    """The Markdown page."""
    least = rows[0]["cpu_s"] / (rows[0]["rows"] * math.log2(rows[0]["rows"]))
    lines = [
        f"| {r['rows']:,} | {r['cpu_s']:.1f} | {1e6 * r['cpu_s'] / r['rows']:.0f} "
        f"| {r['cpu_s'] / (r['rows'] * math.log2(r['rows'])) / least:.2f} | {r['table_mb']:.0f} | {r['peak_mb']:.0f} "
        f"| {1e6 * (r['peak_mb'] - r['before_mb']) / r['rows']:.0f} | {r['found']:.4f} | {r['wrong']} |"
        for r in rows
    ]
    facts = "\n".join(f"- {key}: {value}" for key, value in setting.items())
    explanation = (__doc__ or "").split("\n\n")[2].strip()
    return (
        "# Duplicates: growth with the number of videos\n\n"
        f"{facts}\n\n{explanation}\n\n"
        "`over n log n`: CPU seconds divided by n log n, relative to the first row. `grown`: the peak less the peak "
        "before the step. `wrong`: rows of a cluster whose first row is another video.\n\n"
        "| rows | CPU s | us a row | over n log n | table MB | peak MB | grown, bytes a row | copies found | wrong |\n"
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n" + "\n".join(lines) + "\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--alone", type=int, help="measure this size in this process, and print it")
    options = parser.parse_args()
    if options.alone:
        print(json.dumps(measure(options.alone)))
        return
    results = []
    for rows in options.rows:
        command = [sys.executable, __file__, "--alone", str(rows)]
        one_thread = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=one_thread)
        results.append(json.loads(done.stdout))
        print(results[-1], flush=True)
    cpu = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "")
    setting = {
        "hardware": f"{cpu.partition(':')[2].strip()}, {os.cpu_count()} cores, one used",
        "command": f"python benchmarks/prune_duplicates.py --rows {' '.join(map(str, options.rows))}",
        "versions": f"Python {platform.python_version()}, NumPy {np.__version__}, PyArrow {pa.__version__}",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "prune_duplicates.json").write_text(json.dumps({"setting": setting, "rows": results}, indent=1) + "\n")
    (RESULTS / "prune_duplicates.md").write_text(report(setting, results))
    print(report(setting, results))


if __name__ == "__main__":
    main()
