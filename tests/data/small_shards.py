"""Shard folders of a few bytes, which are no videos."""

from pathlib import Path

from recot.data.schema import QA, Media, VideoSample, content_key
from recot.data.shard_index import sample_columns
from recot.data.shard_writer import ShardWriter
from recot.data.shards import ShardFolder


def sample_of(name: str, frames: int = 30, qa: int = 1) -> VideoSample:
    media = Media("mp4", "h264", 64, 48, 10.0, False, frames / 10, frames, 0)
    turns = [QA(f"{name}#{i}", f"what moves in {name}?", "a grey square") for i in range(qa)]
    return VideoSample(name, "made", f"/clips/{name}.mp4", "CC0-1.0", media, turns)


def write(folder: Path, payloads: list[bytes], extension: str = "mp4", **options: object) -> Path:
    with ShardWriter(folder, config_hash="c0ffee", **options) as writer:  # type: ignore[arg-type]
        for i, payload in enumerate(payloads):
            sample = sample_of(f"video {i}", frames=10 + i, qa=i % 3)
            writer.add(content_key(payload), sample.to_json(), payload, extension, sample_columns(sample))
    return folder


PAYLOADS = [bytes([i]) * (1 + 700 * i) for i in range(7)]


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def read_all(shards: ShardFolder) -> list[str]:
    return [content_key(shards.payload(i)) for i in range(len(shards))]
