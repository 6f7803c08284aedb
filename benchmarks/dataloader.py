"""Frames per second that the VideoDataModule delivers, over the raw decode rate of the same frames.

Usage: python benchmarks/dataloader.py <folder of shards or of videos> [--size 384] [--fps 4] [--groups 4] [--repeats 3]

Delivered: one pass over the validation batches, which are read as training batches are but end with the pass, so that
no reading ahead blurs the count. All of it is counted: starting the workers, reading the shards, checking CRC-32,
probing, decoding, joining, handing over. Raw: a bare loop of `recot.video_io.decode` over the same frames of the same
videos as plain files, in as many processes, each taking the next video when it is done with one; frames stay where they
are decoded. A folder of videos is first made into shards by data_pipelines/prune.py. Repeats are interleaved; ratios
are medians over the repeats. CPU seconds are of all processes together. Wall times of a shared machine are noisy.
"""

import argparse
import datetime
import json
import multiprocessing
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import av
import decord
import lightning
import numpy as np
import torch

from recot.data.datamodule import VideoDataModule
from recot.data.shards import ShardFolder
from recot.grouping import GROUP_SIZE
from recot.video_io import FrameSampling, VideoLimits, decode, probe

REPO = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).parent / "results"
TIMEOUT_S = 600.0  # for one video, on a machine that may be busy


class Job(NamedTuple):
    """A window of one video as a plain decoding job."""

    path: Path
    indices: np.ndarray
    size: tuple[int, int]


class Cost(NamedTuple):
    """What delivering ``frames`` frames took."""

    frames: int
    wall_s: float
    cpu_s: float


def make_shards(videos: Path, output: Path) -> Path:
    """Shards of a folder of videos, or the folder itself if it is one of shards."""
    if any(videos.glob("*.tar")):
        return videos
    script = [sys.executable, str(REPO / "data_pipelines" / "prune.py"), f"source={videos}", f"output={output}"]
    subprocess.run(script, cwd=REPO, check=True)
    return output / "train"


def jobs_of(module: VideoDataModule, files: Path) -> list[Job]:
    """The windows of the validation batches, with the videos as plain files in ``files``."""
    (videos,) = module._val_reader.sources
    jobs = []
    for draw in (draw for draws in module._val_plan for draw in draws):
        path = files / str(videos.folder.columns["member"][draw.sample])
        if not path.exists():
            path.write_bytes(videos.folder.payload(draw.sample))
        start, groups = module._val_reader.window(draw)
        chosen = videos.sampled(draw.sample, probe(path))
        jobs.append(Job(path, chosen[start * GROUP_SIZE : (start + groups) * GROUP_SIZE], videos.frame_size))
    return jobs


def decode_one(job: Job) -> int:
    """Frames decoded."""
    return len(decode(job.path, job.indices, job.size, limits=VideoLimits(timeout_s=TIMEOUT_S)).frames)


def raw(jobs: list[Job], processes: int) -> int:
    """Frames decoded, in ``processes`` worker processes or, if 0, in this one."""
    if processes == 0:
        return sum(map(decode_one, jobs))
    with multiprocessing.Pool(processes) as pool:
        frames = sum(pool.imap_unordered(decode_one, jobs))
        pool.close()
        pool.join()
    return frames


def delivered(module: VideoDataModule) -> int:
    """Frames of one pass, repeated ones that fill up a last group not counted."""
    frames = 0
    for batch in module.val_dataloader():
        assert not batch.failures, batch.failures
        frames += int(batch.valid.sum())
    return frames


def cost_of(action: Callable[[], int]) -> Cost:
    """Run it and say what it took, ended child processes included."""

    def cpu_s() -> float:
        usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(usage.ru_utime + usage.ru_stime for usage in usages)

    cpu, wall = cpu_s(), time.perf_counter()
    frames = action()
    return Cost(frames, time.perf_counter() - wall, cpu_s() - cpu)


def compare(module: VideoDataModule, jobs: list[Job], workers: int, repeats: int) -> dict[str, float | int]:
    """Delivered over raw, by wall time and by CPU time."""
    module.num_workers = workers
    pairs = [(cost_of(lambda: raw(jobs, workers)), cost_of(lambda: delivered(module))) for _ in range(repeats)]
    frames = {cost.frames for pair in pairs for cost in pair}
    assert len(frames) == 1, f"both must decode the same frames, got {frames}"
    (count,) = frames
    return {
        "workers": workers,
        "frames": count,
        "raw_fps": count / statistics.median(bare.wall_s for bare, _ in pairs),
        "delivered_fps": count / statistics.median(ours.wall_s for _, ours in pairs),
        "raw_cpu_s": statistics.median(bare.cpu_s for bare, _ in pairs),
        "delivered_cpu_s": statistics.median(ours.cpu_s for _, ours in pairs),
        "wall_ratio": statistics.median(bare.wall_s / ours.wall_s for bare, ours in pairs),
        "cpu_ratio": statistics.median(bare.cpu_s / ours.cpu_s for bare, ours in pairs),
    }


def hardware() -> str:
    """Processor and number of cores."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{models[0] if models else platform.processor()}, {os.cpu_count()} cores"


def report(result: dict) -> str:
    """The Markdown page of a result."""
    facts = "\n".join(f"- {key}: {value}" for key, value in result["setting"].items())
    explanation = (__doc__ or "").split("\n\n")[2]
    rows = "\n".join(
        f"| {row['workers']} | {row['frames']} | {row['raw_fps']:.0f} | {row['delivered_fps']:.0f} | "
        f"{row['wall_ratio']:.2f} | {row['raw_cpu_s']:.1f} | {row['delivered_cpu_s']:.1f} | {row['cpu_ratio']:.2f} |"
        for row in result["rows"]
    )
    return (
        f"# Delivered frames per second over the raw decode rate\n\n{facts}\n\n{explanation}\n\n"
        "| workers | frames | raw frames/s | delivered frames/s | delivered / raw | raw CPU s | delivered CPU s | "
        "raw / delivered CPU |\n|---:|---:|---:|---:|---:|---:|---:|---:|\n" + rows + "\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", type=int, default=384, help="side of the frames in pixels")
    parser.add_argument("--fps", type=float, default=4.0, help="sampled frames per second of video")
    parser.add_argument("--groups", type=int, default=4, help="groups of 4 frames of a window")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        shards = make_shards(options.folder, Path(folder) / "shards")
        module = VideoDataModule(
            train=[str(shards)],
            train_weights=None,
            val=[str(shards)],
            sampling=FrameSampling(fps=options.fps),
            frame_size=(options.size, options.size),
            groups_per_sample=options.groups,
            val_groups_per_sample=options.groups,
            batch_size=2,
            token_budget=None,
            tokens_per_frame=576,
            shuffle_window=256,
            seed=0,
            num_workers=2,
            features="live",
            questions=None,
            prepare=None,
            timeout_s=TIMEOUT_S,
        )
        module.setup("fit")
        jobs = jobs_of(module, Path(folder))
        rows = [compare(module, jobs, workers, options.repeats) for workers in (0, 2)]
        videos = len(ShardFolder(shards))
    setting = {
        "hardware": hardware(),
        "command": f"python benchmarks/dataloader.py {options.folder.name} " + " ".join(sys.argv[2:]),
        "data": f"{videos} videos, {options.size}x{options.size} RGB, {options.fps:g} frames a second, windows of "
        f"{options.groups} groups of {GROUP_SIZE} frames, batches of 2",
        "versions": f"Python {platform.python_version()}, torch {torch.__version__}, "
        f"lightning {lightning.__version__}, PyAV {av.__version__}, decord {decord.__version__}",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }
    result = {"setting": setting, "rows": rows}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "dataloader.json").write_text(json.dumps(result, indent=1) + "\n")
    (RESULTS / "dataloader.md").write_text(report(result))
    print(report(result))


if __name__ == "__main__":
    main()
