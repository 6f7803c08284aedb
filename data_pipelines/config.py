"""Types of ``conf/prune.yaml``, which holds the defaults and explains each value."""

import dataclasses
import hashlib
import json
import os
from dataclasses import dataclass

from recot.errors import ConfigError

_WITHOUT_EFFECT = ("output", "overwrite", "workers")
"""Keys that don't change what is written."""


@dataclass
class Limits:
    """What one video may cost; see ``recot.video_io.VideoLimits`` for the first three."""

    max_side: int
    max_duration_s: float
    max_pixels: int
    max_file_mib: int
    timeout_s: float
    memory_mib: int
    recycle_after: int


@dataclass
class Thresholds:
    """What a video must reach to be kept."""

    min_health: float
    min_frames: int


@dataclass
class Sampling:
    """How training is expected to sample, for the token estimates in the index."""

    fps: float
    tokens_per_group: int


@dataclass
class Shards:
    """Where a shard ends and the next one starts."""

    max_samples: int
    max_mib: int


@dataclass
class PruneConfig:
    """The whole config of ``prune.py``."""

    source: str
    output: str
    video_root: str | None
    licence: str
    val_fraction: float
    workers: int | None
    overwrite: bool
    limits: Limits
    thresholds: Thresholds
    sampling: Sampling
    shards: Shards

    def check(self) -> None:
        """Raise ``ConfigError`` for a value that has the right type but can't work."""
        positive = {f"limits.{name}": value for name, value in vars(self.limits).items()}
        positive |= {f"sampling.{name}": value for name, value in vars(self.sampling).items()}
        positive |= {f"shards.{name}": value for name, value in vars(self.shards).items()}
        if self.workers is not None:
            positive["workers"] = self.workers
        for key, value in positive.items():
            if not value > 0:
                raise ConfigError(f"{key}={value}: expected a number above 0")
        if not 0 <= self.val_fraction < 1:
            raise ConfigError(f"val_fraction={self.val_fraction}: expected at least 0 (no validation set) and under 1")
        if not 0 <= self.thresholds.min_health <= 1:
            raise ConfigError(f"thresholds.min_health={self.thresholds.min_health}: expected a share from 0 to 1")
        if self.thresholds.min_frames < 1:
            raise ConfigError(f"thresholds.min_frames={self.thresholds.min_frames}: expected at least 1 frame")

    def hash(self) -> str:
        """16 hex digits that change with every value that changes what is written."""
        values = {key: value for key, value in dataclasses.asdict(self).items() if key not in _WITHOUT_EFFECT}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]

    def worker_count(self) -> int:
        """``workers``, or the number of CPUs that this process may use."""
        return self.workers or len(os.sched_getaffinity(0))
