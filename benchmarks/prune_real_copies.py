"""Copies of real clips that pruning finds, and clips that it takes for copies although they are none.

    python benchmarks/prune_real_copies.py <folder of videos> [--out FILE] [--work FOLDER] [pruning=strict ...]

Makes five copies of each clip with PyAV (x264, at most 480 pixels a side), then runs ``data_pipelines/prune.py`` on the
clips and their copies together. Nothing is told to it about which file comes from which. A copy is found if it is in
its source's cluster. A false merge is a cluster that holds clips, or copies of clips, of different footage;
SAME_FOOTAGE names the clips that show the same. Writes FILE.md and FILE.json.
"""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from importlib.metadata import version
from itertools import combinations
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow.parquet as pq

from recot.atomic import write_file

REPO = Path(__file__).resolve().parents[1]
SUFFIXES = (".mp4", ".webm", ".mkv", ".ts", ".avi", ".3gp")
LONGEST_SIDE = 480
TIME_BASE = Fraction(1, 90_000)
TRIMMED = (0.15, 0.85)  # what is left of a trimmed copy
LEVELS = 24  # of 255, brighter
EDGE = 0.05  # of each side, cut off: a tenth in all
SAME_FOOTAGE = (
    ("mdn_flower.mp4", "mdn_flower.webm"),
    ("flutter_Butterfly-209.webm", "flutter_butterfly.mp4"),
    ("media3_dog.mp4", "media3_dog_rot180.mp4"),
    ("media3_sample.mp4", "media3_sample_av1.mp4"),
    ("mdn_stream.mp4", "mdn_stream_audioless.webm"),
)


def _cropped(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    top, left = round(EDGE * height), round(EDGE * width)
    return image[top : height - top, left : width - left]


def _brighter(image: np.ndarray) -> np.ndarray:
    return np.minimum(image.astype(np.int16) + LEVELS, 255).astype(np.uint8)


@dataclass(frozen=True)
class Edit:
    """What is done to a clip: to its pictures, (H, W, 3) uint8, and which part of it is left."""

    picture: Callable[[np.ndarray], np.ndarray] = lambda image: image
    part: tuple[float, float] = (0.0, 1.0)
    crf: int = 23


EDITS = {
    "reencoded": Edit(crf=32),
    "cropped": Edit(_cropped),
    "mirrored": Edit(lambda image: image[:, ::-1]),
    "trimmed": Edit(part=TRIMMED),
    "brightened": Edit(_brighter),
}


class _Writer:
    """One mp4, opened when its first picture tells its size."""

    def __init__(self, path: Path, edit: Edit) -> None:
        self._edit = edit
        self._container = av.open(str(path), "w")
        self._stream: av.VideoStream | None = None

    def add(self, image: np.ndarray, pts: int) -> None:
        image = self._edit.picture(image)
        image = np.ascontiguousarray(image[: len(image) // 2 * 2, : image.shape[1] // 2 * 2])
        if self._stream is None:
            self._stream = self._container.add_stream("libx264", rate=30)
            self._stream.height, self._stream.width = image.shape[:2]
            self._stream.pix_fmt = "yuv420p"
            self._stream.options = {"crf": str(self._edit.crf), "preset": "ultrafast", "threads": "1"}
            self._stream.time_base = self._stream.codec_context.time_base = TIME_BASE
        frame = av.VideoFrame.from_ndarray(image, "rgb24")
        frame.pts, frame.time_base = pts, TIME_BASE
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        if self._stream is not None:
            self._container.mux(self._stream.encode())
        self._container.close()


def _times(source: Path) -> list[Fraction]:
    """Seconds at which the frames are shown, in order, each once."""
    with av.open(str(source), metadata_errors="replace") as container:
        stream = container.streams.best("video")
        stream.thread_count = 1
        return sorted({f.pts * f.time_base for f in container.decode(stream) if f.pts is not None})


def make_copies(source: Path, folder: Path) -> list[str]:
    """Write ``<edit>_<source's stem and suffix>.mp4`` for each edit; their names."""
    times = _times(source)
    numbers = {time: number for number, time in enumerate(times)}
    paths = {name: folder / f"{name}_{source.name.replace('.', '_')}.mp4" for name in EDITS}
    writers = {name: _Writer(path, EDITS[name]) for name, path in paths.items()}
    with av.open(str(source), metadata_errors="replace") as container:
        stream = container.streams.best("video")
        stream.thread_count = 1
        for frame in container.decode(stream):
            number = None if frame.pts is None else numbers.pop(frame.pts * frame.time_base, None)
            if number is None:
                continue
            scale = min(1.0, LONGEST_SIDE / max(frame.width, frame.height))
            image = frame.to_ndarray(
                format="rgb24", width=round(frame.width * scale), height=round(frame.height * scale)
            )
            image = np.rot90(image, frame.rotation // 90)
            for name, edit in EDITS.items():
                first, stop = (int(part * len(times)) for part in edit.part)
                if first <= number < max(stop, first + 1):
                    writers[name].add(image, round((times[number] - times[first]) / TIME_BASE))
    for writer in writers.values():
        writer.close()
    return [path.name for path in paths.values()]


def cluster_of_files(folder: Path, listing: Path, work: Path, overrides: list[str]) -> dict[str, tuple[int, str]]:
    """File name -> cluster and how it was found, of the videos that can be decoded; the command's own answer."""
    command = [sys.executable, str(REPO / "data_pipelines/prune.py"), f"source={listing}", f"video_root={folder}"]
    command += [f"output={work}/out", f"scores={work}/scores", "write_shards=false", "overwrite=true", *overrides]
    subprocess.run(command, check=True)
    rows = pq.read_table(work / "out/manifest.parquet").to_pylist()
    return {Path(row["uri"]).name: (row["cluster_id"], row["dup_kind"]) for row in rows if row["key"] is not None}


def judge(copies: dict[str, list[str]], clusters: dict[str, tuple[int, str]]) -> dict[str, Any]:
    """Copies found, by edit, and pairs of clips that were merged although they show different footage."""
    missed: dict[str, list[str]] = {name: [] for name in EDITS}
    for source, names in copies.items():
        for edit, name in zip(EDITS, names, strict=True):
            if name not in clusters or clusters[name][0] != clusters[source][0]:
                missed[edit].append(source)
    scene = {source: source for source in copies} | {second: first for first, second in SAME_FOOTAGE}
    source_of = {name: source for source, names in copies.items() for name in [source, *names]}
    members = defaultdict(set)
    for name, (cluster, _) in clusters.items():
        members[cluster].add(scene[source_of[name]])
    merged = [sorted(pair) for scenes in members.values() for pair in combinations(sorted(scenes), 2)]
    pairs_found = [list(pair) for pair in SAME_FOOTAGE if _together(pair, clusters)]
    return {"clips": len(copies), "missed": missed, "false_merges": merged, "same_footage_found": pairs_found}


def _together(pair: tuple[str, str], clusters: dict[str, tuple[int, str]]) -> bool:
    return all(name in clusters for name in pair) and clusters[pair[0]][0] == clusters[pair[1]][0]


def _page(result: dict[str, Any]) -> str:
    clips = result["clips"]
    lines = ["# Copies of real clips that pruning finds", ""]
    lines += [f"- {name}: {value}" for name, value in result["setting"].items()]
    lines += [
        "",
        (__doc__ or "").split("\n\n")[2].strip(),
        "",
        "| copy | made | found | missed |",
        "|---|---:|---:|---|",
    ]
    for edit, missed in result["missed"].items():
        lines.append(f"| {edit} | {clips} | {clips - len(missed)} | {', '.join(missed) or 'none'} |")
    merged = "; ".join(" and ".join(pair) for pair in result["false_merges"]) or "none"
    found = "; ".join(" and ".join(pair) for pair in result["same_footage_found"]) or "none"
    lines += ["", f"False merges: {merged}.", "", f"Clips of the same footage that are in one cluster: {found}.", ""]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("videos", type=Path)
    parser.add_argument("--out", type=Path, default=REPO / "benchmarks/results/prune_real_copies")
    parser.add_argument("--work", type=Path, help="folder that keeps copies and scores; default: a temporary one")
    parser.add_argument("overrides", nargs="*")
    arguments = parser.parse_intermixed_args()
    sources = sorted(path for path in arguments.videos.iterdir() if path.suffix in SUFFIXES)
    with tempfile.TemporaryDirectory() as scratch:
        work = (arguments.work or Path(scratch)).resolve()
        folder = work / "videos"
        folder.mkdir(parents=True, exist_ok=True)
        copies = {}
        for source in sources:
            copies[source.name] = make_copies(source, folder)
            (folder / source.name).unlink(missing_ok=True)
            (folder / source.name).symlink_to(source.resolve())
            print(source.name, flush=True)
        names = [name for source, made in copies.items() for name in [source, *made]]
        listing = work / "videos.jsonl"
        listing.write_text("".join(json.dumps({"video": name, "caption": "A video clip."}) + "\n" for name in names))
        clusters = cluster_of_files(folder, listing, work, arguments.overrides)
    result = {
        "setting": {
            "command": " ".join(
                ["python benchmarks/prune_real_copies.py", arguments.videos.name, *arguments.overrides]
            ),
            "versions": f"python {platform.python_version()}, PyAV {version('av')}",
            "date": date.today().isoformat(),
        },
        **judge(copies, clusters),
    }
    write_file(arguments.out.with_suffix(".json"), (json.dumps(result, indent=1) + "\n").encode())
    write_file(arguments.out.with_suffix(".md"), _page(result).encode())
    print(_page(result))


if __name__ == "__main__":
    main()
