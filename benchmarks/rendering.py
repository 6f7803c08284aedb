"""Frames per CPU second of the tiny world: scene, frames, H.264 and ground truth, on one thread.

    python benchmarks/rendering.py [--repeats 5]

Each repeat makes other videos, so that nothing is made twice.
"""

import argparse
import datetime
import json
import platform
import statistics
import tempfile
import time
from pathlib import Path

import av
import numpy as np
from decode import hardware

from recot.tiny_world.rendering import render_videos
from recot.tiny_world.splits import Split

RESULT = Path(__file__).parent / "results" / "rendering"
CASES = [(8, 64), (64, 64), (256, 64), (4096, 64), (64, 128), (64, 256)]
FRAMES_A_CASE = 4096


def frames_per_cpu_second(frames: int, size: int, seed: int) -> float:
    """Of writing mp4s with their JSON."""
    split = Split(world=seed, name="train", videos=max(1, FRAMES_A_CASE // frames), frames=frames, size=size)
    with tempfile.TemporaryDirectory() as folder:
        before = time.process_time()
        render_videos(Path(folder), ((f"{i:06d}", scene) for i, scene in enumerate(split)))
        return len(split) * frames / (time.process_time() - before)


def main() -> None:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    rates = [[frames_per_cpu_second(*case, seed) for case in CASES] for seed in range(repeats)]
    rows = [
        {"frames": frames, "size": size, "frames_per_cpu_s": statistics.median(rate[i] for rate in rates)}
        for i, (frames, size) in enumerate(CASES)
    ]
    lines = [
        "# Rendering the tiny world: frames per CPU second, one thread",
        "",
        f"- hardware: {hardware()}",
        f"- command: python benchmarks/rendering.py --repeats {repeats}",
        f"- versions: Python {platform.python_version()}, PyAV {av.__version__}, NumPy {np.__version__}",
        f"- date: {datetime.datetime.now(tz=datetime.UTC).date()}",
        "",
        "Scene, frames, H.264 encoding, ground truth and writing both files with fsync; median of the repeats.",
        "",
        "| frames a video | size | frames / CPU s |",
        "|---:|---:|---:|",
        *(f"| {row['frames']} | {row['size']} | {row['frames_per_cpu_s']:.0f} |" for row in rows),
        "",
    ]
    RESULT.with_suffix(".md").write_text("\n".join(lines))
    RESULT.with_suffix(".json").write_text(json.dumps(rows, indent=1) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
