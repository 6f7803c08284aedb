"""CPU seconds of the media stage beside bare PyAV decoding of the same files, on one thread.

Usage: python benchmarks/prune_media.py <folder of videos> [--size 384] [--repeats 3] [--name prune_media]

Bare PyAV opens a file and decodes all frames of its main video stream, without converting or keeping any. Ours probes
the file, reads its packets, decodes it, measures all signals, hashes its content, and codes 8 frames for the vision
encoder as they go into the ledger. Repeats are interleaved, and of each the fastest is kept. Peak memory is that of a
fresh process that does nothing but the video with the most frames, or the one with the costliest.
"""

import argparse
import datetime
import json
import multiprocessing
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from decode import SUFFIXES, hardware

from data_pipelines.media import MediaScores, MediaSettings, score_media
from recot.video_io import VideoLimits

RESULTS = Path(__file__).parent / "results"
MOST_BYTES = 2**34


def decode_bare(path: Path) -> int:
    """Frames decoded."""
    with path.open("rb") as file, av.open(file, metadata_errors="replace") as container:
        stream = container.streams.best("video")
        stream.codec_context.thread_count = 1
        return sum(1 for _ in container.decode(stream))


def score(path: Path, size: int) -> int:
    """Frames decoded."""
    limits = VideoLimits(timeout_s=3600)
    scores = score_media(path, settings=MediaSettings(size), limits=limits, max_bytes=MOST_BYTES)
    if not isinstance(scores, MediaScores):
        raise ValueError(f"{path}: {scores}")
    return scores.media.frames - len(scores.media.missing_frames)


def cpu_seconds(job: Callable[..., int], *arguments: Any) -> tuple[int, float]:
    """Frames, and seconds."""
    before = time.process_time()
    frames = job(*arguments)
    return frames, time.process_time() - before


def measure(path: Path, size: int, repeats: int) -> dict[str, Any]:
    """Frames, and CPU seconds of both."""
    bare, ours = [], []
    for _ in range(repeats):
        bare.append(cpu_seconds(decode_bare, path)[1])
        frames, seconds = cpu_seconds(score, path, size)
        ours.append(seconds)
    return {"video": path.name, "frames": frames, "bare_s": min(bare), "media_s": min(ours)}


def _peak(path: Path, size: int, pipe: Any) -> None:
    before = peak_so_far()
    score(path, size)
    pipe.send([before, peak_so_far()])


def peak_so_far() -> float:
    """Most resident MiB of this process; what ``getrusage`` says counts the process that started it too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def peak_mib(path: Path, size: int) -> list[float]:
    """Resident MiB of a fresh process after its imports, and its peak after one video."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_peak, args=(path, size, theirs))
    process.start()
    peaks = ours.recv()
    process.join()
    return peaks


def summarise(rows: list[dict[str, Any]]) -> dict[str, float]:
    frames = sum(row["frames"] for row in rows)
    bare_s, media_s = (sum(row[name] for row in rows) for name in ("bare_s", "media_s"))
    return {
        "videos": len(rows),
        "frames": frames,
        "rate_over_bare": bare_s / media_s,
        "median_rate_over_bare": statistics.median(row["bare_s"] / row["media_s"] for row in rows),
        "bare_frames_per_cpu_s": frames / bare_s,
        "media_frames_per_cpu_s": frames / media_s,
        "media_videos_per_cpu_s": len(rows) / media_s,
    }


def report(result: dict[str, Any]) -> str:
    """The Markdown page of a result."""
    facts = "\n".join(f"- {key}: {value}" for key, value in result["setting"].items())
    explanation = (__doc__ or "").split("\n\n")[2].strip()
    total, memory = result["summary"], result["memory"]
    # A folder of hundreds of videos gets one line in all.
    shown = result["videos"] if len(result["videos"]) <= 60 else []
    lines = [
        "# Media stage of the pruning pipeline over bare decoding, one thread",
        "",
        facts,
        "",
        explanation,
        "",
        f"All {total['videos']} videos: {total['rate_over_bare']:.2f} of the bare rate "
        f"({total['media_frames_per_cpu_s']:.0f} of {total['bare_frames_per_cpu_s']:.0f} frames a CPU second), "
        f"{total['media_videos_per_cpu_s']:.2f} videos a CPU second; median of the videos "
        f"{total['median_rate_over_bare']:.2f}. Memory: {memory[0]['start_mib']:.0f} MiB after the imports, at most "
        + " and ".join(f"{m['peak_mib']:.0f} MiB on {m['video']} ({m['frames']} frames)" for m in memory)
        + ".",
        "",
        *(["| video | frames | bare, ms / frame | media, ms / frame | rate over bare |"] if shown else []),
        *(["|---|---:|---:|---:|---:|"] if shown else []),
        *(
            f"| {row['video']} | {row['frames']} | {1000 * row['bare_s'] / row['frames']:.3f} | "
            f"{1000 * row['media_s'] / row['frames']:.3f} | {row['bare_s'] / row['media_s']:.2f} |"
            for row in shown
        ),
        *([""] if shown else []),
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", type=int, default=384, help="side of the vision encoder's frames")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--name", default="prune_media", help="of the result files")
    options = parser.parse_args()
    rows = []
    for path in sorted(p for p in options.folder.iterdir() if p.suffix in SUFFIXES):
        rows.append(measure(path, options.size, options.repeats))
        print(rows[-1]["video"], f"{rows[-1]['bare_s'] / rows[-1]['media_s']:.2f}", flush=True)
    chosen = [max(rows, key=lambda row: row["frames"]), max(rows, key=lambda row: row["bare_s"] / row["frames"])]
    memory = []
    for row in chosen:
        start, peak = peak_mib(options.folder / row["video"], options.size)
        memory.append({"video": row["video"], "frames": row["frames"], "start_mib": start, "peak_mib": peak})
    versions = f"Python {platform.python_version()}, PyAV {av.__version__}, OpenCV {cv2.__version__}"
    result = {
        "setting": {
            "hardware": hardware(),
            "command": f"python benchmarks/prune_media.py {options.folder.name} {' '.join(sys.argv[2:])}".strip(),
            "versions": f"{versions}, NumPy {np.__version__}",
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        },
        "summary": summarise(rows),
        "memory": memory,
        "videos": rows,
    }
    (RESULTS / f"{options.name}.json").write_text(json.dumps(result, indent=1) + "\n")
    (RESULTS / f"{options.name}.md").write_text(report(result))
    print(report(result))


if __name__ == "__main__":
    main()
