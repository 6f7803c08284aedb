"""Tables of videos with their perceptual hashes, and what was found together in them."""

import av
import numpy as np
import pyarrow as pa

from data_pipelines.signals.perceptual_hash import perceptual_hash
from recot.tiny_world.junk.pixels import Frames

EVERY = 4  # frames at 8 a second: half a second
HASHES = pa.list_(pa.uint64())


def luma(frames: Frames) -> np.ndarray:
    """(n, 64, 64) uint8."""
    pictures = (av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24") for frame in frames)
    return np.stack(
        [p.reformat(width=64, height=64, format="gray", interpolation="AREA").to_ndarray() for p in pictures]
    )


def table(rows: dict[str, tuple[np.ndarray, float]], **columns: list) -> pa.Table:
    """Videos by name: (n, 64, 64) luma every half second, and seconds."""
    plain = [perceptual_hash(frames) for frames, _ in rows.values()]
    mirrored = [perceptual_hash(np.ascontiguousarray(frames[:, :, ::-1])) for frames, _ in rows.values()]
    return hash_table(dict(zip(rows, plain, strict=True)), mirrored, [s for _, s in rows.values()], **columns)


def hash_table(
    plain: dict[str, np.ndarray], mirrored: list[np.ndarray], seconds: list[float | None], **columns: list
) -> pa.Table:
    """Videos by name, with their hashes."""
    defaults = {"key": list(plain), "packet_md5": list(plain)}
    return pa.table(
        {
            "video_id": pa.array(list(plain), pa.string()),
            **{name: pa.array(values, pa.string()) for name, values in (defaults | columns).items()},
            "duration_s": pa.array(seconds, pa.float64()),
            "hashes": pa.array([h.tolist() for h in plain.values()], HASHES),
            "mirrored_hashes": pa.array([h.tolist() for h in mirrored], HASHES),
        }
    )


def clusters(found: pa.Table) -> set[frozenset[str]]:
    """Ids that are together."""
    together: dict[int, set[str]] = {}
    for row in found.to_pylist():
        together.setdefault(row["cluster_id"], set()).add(row["video_id"])
    return {frozenset(ids) for ids in together.values()}


def sequence(rng: np.random.Generator, shots: int) -> np.ndarray:
    """Hashes of a video with shots of two to four half seconds."""
    return np.repeat(rng.integers(1, 2**63, shots, dtype=np.uint64), rng.integers(2, 5, shots))


def noisy(rng: np.random.Generator, hashes: np.ndarray, part: float) -> np.ndarray:
    """With about that part of the bits flipped."""
    bits = rng.random((len(hashes), 64)) < part
    return hashes ^ (bits * (np.uint64(1) << np.arange(64, dtype=np.uint64))).sum(1, dtype=np.uint64)
