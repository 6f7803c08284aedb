"""CPU seconds and memory of deciding about synthetic samples: rules, duplicates, selection under a budget, audit rows.

    OMP_NUM_THREADS=1 nice -n 15 python benchmarks/prune_policy.py

Every size runs in a process of its own. A row is a question; there are four a video. Ten signals of videos and eight of
questions are judged by eleven rules, two of them quantiles within a source. A tenth of the videos are copies, half of
those exact. The budget is half of the questions. Memory is the peak resident size less what was resident before the
call, that is, with tables and libraries loaded. CPU seconds are of the process, all its threads together.
"""

import argparse
import ctypes
import gc
import json
import multiprocessing
import platform
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
from decode import hardware

from data_pipelines.decisions import Policy, decide
from data_pipelines.rules import Rule
from data_pipelines.selection import Selection

RESULT = Path(__file__).resolve().parent / "results/prune_policy"
SIZES = (10_000, 100_000, 1_000_000)
OF_VIDEOS = (
    "health",
    "frames",
    "min_side",
    "dark",
    "blank",
    "blur",
    "static",
    "motion",
    "cuts_per_min",
    "relevance_caption",
)
OF_SAMPLES = (
    *("relevance", "blind_right", "blind_margin", "single_frame"),
    *("question_length", "answer_length", "repetition", "language_english"),
)


def tables(rows: int) -> tuple[pa.Table, pa.Table]:
    """Videos and samples with signals from 0 to 1, one in a hundred of them without a value or failed."""
    rng, videos = np.random.default_rng(rows), rows // 4
    numbers = np.arange(videos)
    content = np.where(rng.random(videos) < 0.05, rng.integers(0, videos, videos), numbers)
    cluster = np.where(rng.random(videos) < 0.05, rng.integers(0, videos, videos), content)
    names = np.char.add("videos/", numbers.astype(str))
    columns = {
        "video_id": pa.array(names),
        "source": pa.array(np.char.add("source", rng.integers(0, 8, videos).astype(str))),
        "key": pa.array(np.char.zfill(content.astype(str), 32)),
        "duration_s": pa.array(rng.lognormal(4, 1.2, videos)),
        "error_reason": pa.array(np.where(rng.random(videos) < 0.02, "timeout", None), pa.string()),
        "error_class": pa.nulls(videos, pa.string()),
        "error_detail": pa.nulls(videos, pa.string()),
        "cluster_id": pa.array(cluster),
        "dup_kind": pa.array(np.where(cluster == content, "exact", "perceptual")),
        "embedding_cluster": pa.array(rng.integers(0, 50, videos)),
    }
    of_video = np.sort(rng.integers(0, videos, rows))
    samples = {
        "sample_id": pa.array(np.char.add("question", np.arange(rows).astype(str))),
        "video_id": pa.array(names[of_video]),
        "task_type": pa.array(np.char.add("task", rng.integers(0, 6, rows).astype(str))),
    }
    for table, signals, n in ((columns, OF_VIDEOS, videos), (samples, OF_SAMPLES, rows)):
        for signal in signals:
            missing = rng.random(n)
            table[signal] = pa.array(rng.random(n), mask=missing < 0.01)
            table[f"{signal}_status"] = pa.array(
                np.where(missing < 0.009, "na", np.where(missing < 0.01, "error", "ok"))
            )
    return pa.table(columns), pa.table(samples)


def policy(rows: int) -> Policy:
    """Eleven rules, each of which drops one in fifty, and a budget of half of the rows."""
    absolute = ("health", "dark", "blank", "blur", "static", "relevance", "blind_right", "answer_length", "repetition")
    rules = {f"low_{signal}": Rule(signal, "benchmark", min=0.02) for signal in absolute}
    rules |= {
        f"least_{signal}": Rule(signal, "benchmark", min_quantile=0.02, within="source")
        for signal in ("motion", "blind_margin")
    }
    selection = Selection(
        budget=rows // 2,
        unit="samples",
        max_qa_per_video=8,
        strata=["source", "duration_s", "task_type", "embedding_cluster"],
        duration_edges_s=[30, 60, 120, 900, 3600],
        floor=4,
        alpha=0.5,
        weights={"relevance": 1.0, "motion": 0.5, "blind_margin": 0.5},
        seed=0,
    )
    return Policy(rules, ["packets", "perceptual", "semantic"], True, [], selection)


def measure(call: Callable[[], object]) -> tuple[object, float, float]:
    """Result, CPU seconds and extra MiB of one call."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # starts the peak anew
    before, start = resident("VmRSS"), time.process_time()
    result = call()
    return result, time.process_time() - start, resident("VmHWM") - before


def resident(field: str) -> float:
    """MiB from this process's status, e.g. ``VmRSS`` or ``VmHWM`` (its peak)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def run(rows: int) -> dict[str, float]:
    """One size."""
    videos, samples = tables(rows)
    small = tables(1000)
    decide(*small, policy(1000))  # libraries are loaded and warm
    decisions, seconds, memory = measure(lambda: decide(videos, samples, policy(rows)))
    audited, audit_seconds, audit_memory = measure(lambda: sum(len(t) for t in decisions.verdicts("0" * 16)))
    return {
        "rows": rows,
        "videos": len(videos),
        "kept": decisions.samples["decision"].to_pylist().count("keep"),
        "tables_mib": (videos.nbytes + samples.nbytes) / 2**20,
        "cpu_s": seconds,
        "peak_mib": memory,
        "audit_rows": audited,
        "audit_cpu_s": audit_seconds,
        "audit_peak_mib": audit_memory,
    }


def main() -> None:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=list(SIZES))
    sizes = parser.parse_args().rows
    rows = []
    for size in sizes:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            rows.append(pool.apply(run, (size,)))
        print(rows[-1], flush=True)
    setting = {
        "hardware": hardware(),
        "command": "OMP_NUM_THREADS=1 nice -n 15 python benchmarks/prune_policy.py",
        "versions": f"Python {platform.python_version()}, PyArrow {pa.__version__}, NumPy {np.__version__}",
        "date": str(date.today()),
    }
    lines = ["# Deciding about samples: CPU seconds and memory", "", *(f"- {k}: {v}" for k, v in setting.items()), ""]
    lines += [*__doc__.split("\n\n")[2].splitlines(), ""]
    lines += ["| rows | tables MiB | kept | CPU s | us / row | extra MiB | audit rows | audit CPU s | extra MiB |"]
    lines += ["|---:|---:|---:|---:|---:|---:|---:|---:|---:|"]
    for row in rows:
        lines.append(
            f"| {row['rows']} | {row['tables_mib']:.0f} | {row['kept']} | {row['cpu_s']:.2f} "
            f"| {row['cpu_s'] / row['rows'] * 1e6:.2f} | {row['peak_mib']:.0f} "
            f"| {row['audit_rows']} | {row['audit_cpu_s']:.2f} | {row['audit_peak_mib']:.0f} |"
        )
    RESULT.with_suffix(".json").write_text(json.dumps({"setting": setting, "rows": rows}, indent=1) + "\n")
    RESULT.with_suffix(".md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
