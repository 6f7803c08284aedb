"""Frames per CPU second of ``recot.video_io.decode`` beside bare decord and bare PyAV, on one thread.

Usage: python benchmarks/decode.py <folder of clips> [--size 384] [--frames 120] [--repeats 3]

Two jobs a clip: its first frames, and 16 frames spread over the whole clip. Ours includes the probe and all checks.
Bare decord is opened and asked for the frames, whether or not it gives the right ones. Bare PyAV decodes from the start
and converts the wanted frames with swscale. Repeats are interleaved, and the median is kept.
"""

import argparse
import datetime
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import av
import decord
import numpy as np

from recot.video_io import FrameSampling, VideoProbe, decode, decord_reader, probe

RESULTS = Path(__file__).parent / "results"
SUFFIXES = (".mp4", ".webm", ".mkv", ".ts", ".avi", ".3gp")
SPARSE = 16
LONGEST_FROM_THE_START = 1500  # frames that bare PyAV decodes for a few: more is a waste of everyone's time


def by_decord(path: Path, indices: np.ndarray, size: int) -> int:
    """Frames read."""
    reader = decord.VideoReader(str(path), ctx=decord.cpu(0), width=size, height=size, num_threads=1)
    return len(reader.get_batch(indices).asnumpy())


def by_pyav(path: Path, indices: np.ndarray, size: int) -> int:
    """Frames read."""
    wanted, images = set(indices.tolist()), []
    reformatter = av.video.reformatter.VideoReformatter()
    with path.open("rb") as file, av.open(file, metadata_errors="replace") as container:
        stream = container.streams.best("video")
        stream.codec_context.thread_count = 1
        for number, frame in enumerate(container.decode(stream)):
            if number in wanted:
                images.append(reformatter.reformat(frame, size, size, "rgb24", threads=1).to_ndarray())
            if number == indices[-1]:
                break
    return len(np.stack(images))


def by_recot(path: Path, indices: np.ndarray, size: int) -> int:
    """Frames read."""
    return len(decode(path, indices, (size, size)).frames)


def cpu_seconds(job: Callable[[], int], expected: int) -> float | None:
    """None if the job fails or gives another number of frames."""
    before = time.process_time()
    try:
        read = job()
    except (decord.DECORDError, decord.DECORDLimitReachedError, RuntimeError, IndexError):
        return None
    return time.process_time() - before if read == expected else None


def measure(path: Path, facts: VideoProbe, indices: np.ndarray, size: int, repeats: int) -> dict[str, float | None]:
    """Frames per CPU second of each reader, None where it can't."""
    readers: dict[str, Callable[[Path, np.ndarray, int], int]] = {"recot": by_recot, "decord": by_decord}
    if indices[-1] < LONGEST_FROM_THE_START:
        readers["pyav"] = by_pyav
    taken: dict[str, list[float | None]] = {name: [] for name in readers}
    for _ in range(repeats):
        for name, reader in readers.items():
            taken[name].append(cpu_seconds(lambda: reader(path, indices, size), len(indices)))  # noqa: B023
    return {
        name: None if None in seconds else len(indices) / statistics.median(s for s in seconds if s is not None)
        for name, seconds in {"pyav": [None], **taken}.items()
    }


def hardware() -> str:
    """Processor and number of cores."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{models[0] if models else platform.processor()}, {os.cpu_count()} cores"


def table(rows: list[dict], job: str) -> list[str]:
    """The lines of one Markdown table."""
    lines = [
        "| clip | codec | size | decoded by | recot | decord | PyAV | recot / best exact |",
        "|---|---|---|---|---:|---:|---:|---:|",
    ]
    for row in rows:
        rate = row[job]
        exact = [rate["pyav"], rate["decord"] if row["reader"] == "decord" else None]
        best = max((r for r in exact if r), default=None)
        shown = [f"{rate[name]:.0f}" if rate[name] else "-" for name in ("recot", "decord", "pyav")]
        ratio = f"{rate['recot'] / best:.2f}" if best else "-"
        lines.append(f"| {' | '.join([row['clip'], row['codec'], row['size'], row['reader'], *shown, ratio])} |")
    return lines


def summary(rows: list[dict]) -> str:
    """One sentence of ratios over the clips that decord reads right."""
    plain = [row["dense"] for row in rows if row["reader"] == "decord" and row["dense"]["decord"]]
    if not plain:
        return "No clip here is one that decord reads right."
    bare = [rate["pyav"] / rate["decord"] for rate in plain]
    ours = [rate["recot"] / rate["decord"] for rate in plain]
    return (
        f"First frames of the {len(plain)} clips that decord reads right: bare PyAV over bare decord, median "
        f"{statistics.median(bare):.2f} ({min(bare):.2f} to {max(bare):.2f}); recot over bare decord, median "
        f"{statistics.median(ours):.2f}."
    )


def report(result: dict) -> str:
    """The Markdown page of a result."""
    facts = "\n".join(f"- {key}: {value}" for key, value in result["setting"].items())
    explanation = (__doc__ or "").split("\n\n")[2].strip()
    dense = "\n".join(table(result["clips"], "dense"))
    sparse = "\n".join(table(result["clips"], "sparse"))
    return (
        "# Decoding: frames per CPU second, one thread\n\n"
        f"{facts}\n\n{explanation}\n\n"
        "`decoded by` says what recot used; where that is PyAV, decord's frames may be wrong, turned or missing. `-`: "
        "it fails, or was left out. The last column compares with the faster of the bare readers that give the right "
        f"frames.\n\n{summary(result['clips'])}\n\n"
        f"## The first frames\n\n{dense}\n\n## {SPARSE} frames spread over the clip\n\n{sparse}\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", type=int, default=384)
    parser.add_argument("--frames", type=int, default=120)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    decord.logging.set_level(decord.logging.QUIET)
    rows = []
    for path in sorted(p for p in options.folder.iterdir() if p.suffix in SUFFIXES):
        facts = probe(path)
        dense = np.arange(min(options.frames, facts.frames))
        sparse = np.unique(FrameSampling(count=SPARSE).indices(facts.times_s, facts.duration_s))
        row = {
            "clip": path.name,
            "codec": facts.codec + (" 10 bit" if facts.bit_depth == 10 else ""),
            "size": f"{facts.width}x{facts.height}",
            "reader": "decord" if decord_reader.is_exact(facts, options.size) else "PyAV",
            "dense": measure(path, facts, dense, options.size, options.repeats),
            "sparse": measure(path, facts, sparse, options.size, options.repeats),
        }
        rows.append(row)
        print(row["clip"], {job: {k: v and round(v) for k, v in row[job].items()} for job in ("dense", "sparse")})
    setting = {
        "hardware": hardware(),
        "command": f"python benchmarks/decode.py {options.folder.name} " + " ".join(sys.argv[2:]),
        "output": f"{options.size}x{options.size} RGB, median of {options.repeats} interleaved runs",
        "versions": f"Python {platform.python_version()}, PyAV {av.__version__}, decord {decord.__version__}",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }
    result = {"setting": setting, "clips": rows}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "decode.json").write_text(json.dumps(result, indent=1) + "\n")
    (RESULTS / "decode.md").write_text(report(result))
    print(report(result))


if __name__ == "__main__":
    main()
