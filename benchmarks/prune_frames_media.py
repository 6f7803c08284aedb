"""What training reads faster from stored frames: samples per CPU second of shards of frames, over those of videos.

Usage: python benchmarks/prune_frames_media.py <folder of videos> [--size 384] [--fps 2] [--tiny 40] [--repeats 3]

Two corpora: the folder's videos (those that can be decoded), and rendered ones of the tiny world (64 x 64 pixels, 8
frames a second, 64 frames, its own frame size). Each is written twice by the pipeline's own functions: as the original
files, and as `frames.npz` sampled at the rate that training asks for. Then the VideoDataModule reads the same
validation windows (4 groups of 4 frames) of both, in the main process; each pass counts all it does: reading, checking,
decoding, joining. CPU seconds are of the process; passes take turns, medians are given. "Raw" are the same frames as
plain uint8 arrays in an npz, read whole as NumPy does: what JPEG costs in time, and saves in space.
"""

import argparse
import datetime
import io
import json
import platform
import statistics
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import av
import numpy as np
import PIL
from decode import hardware

from data_pipelines.frames_media import JPEG_QUALITY, FramesSetting, sample_frames
from recot.data.datamodule import VideoDataModule
from recot.data.frames_payload import FramesPayload
from recot.data.schema import FRAMES_EXTENSION, VIDEO_EXTENSIONS, Media, VideoSample, content_key
from recot.data.shard_index import sample_columns
from recot.data.shard_writer import ShardWriter
from recot.data.shards import ShardFolder
from recot.errors import VideoError
from recot.tiny_world.render import render
from recot.tiny_world.scene import make_scene
from recot.tiny_world.video import encode_mp4
from recot.video_io import FrameSampling, VideoLimits, check_health, probe

RESULTS = Path(__file__).parent / "results"
LIMITS = VideoLimits(timeout_s=600.0)


def make_shards(files: list[Path], folder: Path, setting: FramesSetting) -> tuple[int, float]:
    """``original/`` and ``frames/`` in ``folder``; the number of videos, and CPU seconds that sampling took."""
    stored_s = 0.0
    with (
        ShardWriter(folder / "original", config_hash="benchmark") as original,
        ShardWriter(folder / "frames", config_hash="benchmark") as frames,
    ):
        for path in files:
            try:
                facts = probe(path, LIMITS)
                missing = check_health(path, facts, LIMITS).missing
                start = time.process_time()
                payload = sample_frames(path, setting, missing)
            except VideoError as error:
                print(f"left out: {error}")
                continue
            stored_s += time.process_time() - start
            values = {name: getattr(facts, name) for name in Media.__dataclass_fields__ if name != "missing_frames"}
            sample = VideoSample(path.name, "benchmark", path.name, "unknown", Media(**values, missing_frames=missing))
            content, columns = path.read_bytes(), sample_columns(sample)
            key = content_key(content)
            original.add(key, sample.to_json(), content, path.suffix[1:].lower(), columns)
            frames.add(key, sample.to_json(), payload, FRAMES_EXTENSION, columns)
    return len(ShardFolder(folder / "frames")), stored_s


def module_of(path: Path, setting: FramesSetting) -> VideoDataModule:
    module = VideoDataModule(
        train=[str(path)],
        train_weights=None,
        val=[str(path)],
        sampling=FrameSampling(fps=setting.fps),
        frame_size=setting.frame_size,
        groups_per_sample=4,
        val_groups_per_sample=4,
        batch_size=2,
        token_budget=None,
        tokens_per_frame=1,
        shuffle_window=256,
        seed=0,
        num_workers=0,
        features="live",
        questions=None,
        prepare=None,
        timeout_s=LIMITS.timeout_s,
    )
    module.setup("fit")
    return module


def one_pass(module: VideoDataModule) -> int:
    """Frames of all validation batches."""
    frames = 0
    for batch in module.val_dataloader():
        assert not batch.failures, batch.failures
        frames += int(batch.valid.sum())
    return frames


def raw_files(folder: ShardFolder) -> list[bytes]:
    """Every video's stored frames as a plain npz."""
    files = []
    for i in range(len(folder)):
        payload = FramesPayload(io.BytesIO(folder.payload(i)))
        buffer = io.BytesIO()
        np.savez(buffer, frames=payload.read(np.arange(len(payload.times_s)), payload.size), times_s=payload.times_s)
        files.append(buffer.getvalue())
    return files


def read_raw(files: list[bytes]) -> int:
    """Frames read, each file checked by its CRC-32 as the shards' reader does."""
    frames = 0
    for content in files:
        zlib.crc32(content)
        frames += len(np.load(io.BytesIO(content), allow_pickle=False)["frames"])
    return frames


def cpu_of(action: Callable[[], int]) -> tuple[int, float]:
    start = time.process_time()
    return action(), time.process_time() - start


def measure(name: str, files: list[Path], setting: FramesSetting, repeats: int) -> dict[str, Any]:
    """One row of the table."""
    with tempfile.TemporaryDirectory() as scratch:
        videos, stored_s = make_shards(files, Path(scratch), setting)
        paths = [Path(scratch) / kind for kind in ("original", "frames")]
        modules = [module_of(path, setting) for path in paths]
        runs = [[cpu_of(lambda m=module: one_pass(m)) for module in modules] for _ in range(repeats)]
        ((count,),) = ({frames for run in runs for frames, _ in run},)
        stored = ShardFolder(paths[1])
        raw = raw_files(stored)
        raw_frames, raw_s = cpu_of(lambda: read_raw(raw))
        sizes = [int(ShardFolder(path).columns["size"].sum()) for path in paths]
    original_s, frames_s = (statistics.median(run[kind][1] for run in runs) for kind in (0, 1))
    return {
        "corpus": name,
        "videos": videos,
        "frames_read": count,
        "frames_stored": raw_frames,
        "original_samples_per_cpu_s": videos / original_s,
        "frames_samples_per_cpu_s": videos / frames_s,
        "speed_up": statistics.median(run[0][1] / run[1][1] for run in runs),
        "original_mib": sizes[0] / 2**20,
        "frames_mib": sizes[1] / 2**20,
        "raw_mib": sum(map(len, raw)) / 2**20,
        "original_ms_per_frame": original_s / count * 1e3,
        "frames_ms_per_frame": frames_s / count * 1e3,
        "raw_ms_per_frame": raw_s / raw_frames * 1e3,
        "sampling_ms_per_frame": stored_s / raw_frames * 1e3,
        "setting": asdict(setting) | {"limits": None},
    }


def tiny_videos(folder: Path, count: int) -> list[Path]:
    paths = []
    for seed in range(count):
        scene = make_scene(10_000 + seed, frames=64, size=64, fps=8.0)
        paths.append(folder / f"{seed:04d}.mp4")
        paths[-1].write_bytes(encode_mp4(render(scene), size=scene.size, fps=scene.fps))
    return paths


def report(result: dict[str, Any]) -> str:
    """The Markdown page of a result."""
    facts = "\n".join(f"- {key}: {value}" for key, value in result["setting"].items())
    explanation = (__doc__ or "").split("\n\n")[2]
    lines = [
        "| corpus | videos | frames read | samples per CPU s, videos | frames | times faster | ms a frame, videos "
        "| frames | raw | MiB, videos | frames | raw |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in result["rows"]:
        lines.append(
            f"| {row['corpus']} | {row['videos']} | {row['frames_read']} | {row['original_samples_per_cpu_s']:.1f} | "
            f"{row['frames_samples_per_cpu_s']:.1f} | {row['speed_up']:.1f} | {row['original_ms_per_frame']:.2f} | "
            f"{row['frames_ms_per_frame']:.2f} | {row['raw_ms_per_frame']:.2f} | {row['original_mib']:.1f} | "
            f"{row['frames_mib']:.1f} | {row['raw_mib']:.1f} |"
        )
    table = "\n".join(lines)
    return f"# Reading stored frames instead of videos\n\n{facts}\n\n{explanation}\n\n{table}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", type=int, default=384, help="side of the frames in pixels")
    parser.add_argument("--fps", type=float, default=2.0, help="frames a second that are stored and read")
    parser.add_argument("--tiny", type=int, default=40, help="videos of the tiny world")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    real = sorted(path for path in options.folder.iterdir() if path.suffix[1:].lower() in VIDEO_EXTENSIONS)
    setting = FramesSetting(options.fps, (options.size, options.size), LIMITS, 2**32)
    with tempfile.TemporaryDirectory() as folder:
        tiny = tiny_videos(Path(folder), options.tiny)
        rows = [
            measure("real clips", real, setting, options.repeats),
            measure("tiny world", tiny, FramesSetting(8.0, (64, 64), LIMITS, 2**32), options.repeats),
        ]
    result = {
        "setting": {
            "hardware": hardware(),
            "command": "python " + " ".join(["benchmarks/prune_frames_media.py", options.folder.name, *sys.argv[2:]]),
            "data": f"real clips at {options.size} x {options.size}, {options.fps:g} frames a second; tiny world at "
            f"64 x 64, 8 frames a second; JPEG quality {JPEG_QUALITY}, 4:2:0; windows of 16 frames",
            "versions": f"Python {platform.python_version()}, PyAV {av.__version__}, Pillow {PIL.__version__}, "
            f"NumPy {np.__version__}",
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        },
        "rows": rows,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "prune_frames_media.json").write_text(json.dumps(result, indent=1) + "\n")
    (RESULTS / "prune_frames_media.md").write_text(report(result))
    print(report(result))


if __name__ == "__main__":
    main()
