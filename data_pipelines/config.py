"""Types of ``conf/prune.yaml``, which holds the defaults and explains each value."""

import dataclasses
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_pipelines.decisions import Policy
from data_pipelines.decontamination import LeakSettings
from data_pipelines.duplicates.settings import DuplicateSettings
from data_pipelines.embedding_clusters import ClusterSettings
from recot.errors import ConfigError

_WITHOUT_EFFECT = ("output", "overwrite", "workers", "scores", "engine")
"""Keys that don't change what is written."""
_MEDIA_KINDS = ("original", "frames")


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
class MediaOption:
    """What the shards hold of a video."""

    kind: str
    fps: float
    frame_size: list[int]


@dataclass
class Engine:
    """Where the stages run."""

    address: str | None


@dataclass
class Scorers:
    """Models that look and read, as Hydra instantiates them or as a folder, and the floors that belong to them."""

    frame_size: int
    frames: int
    encoder: dict[str, Any] | None
    language_model: dict[str, Any] | None
    video_lm: str | None
    video_lm_device: str
    choice_instruction: str
    workers: int | None
    relevance_floor: float
    caption_relevance_floor: float


@dataclass
class Pruning:
    """What counts as the same, as leaked and as alike, and which videos and questions are good enough."""

    duplicates: DuplicateSettings
    decontamination: LeakSettings
    clusters: ClusterSettings
    policy: Policy


@dataclass
class PruneConfig:
    """The whole config of ``prune.py``."""

    source: str
    output: str
    video_root: str | None
    licence: str
    evaluation_sets: list[str]
    val_fraction: float
    workers: int | None
    overwrite: bool
    write_shards: bool
    scores: str
    engine: Engine
    limits: Limits
    sampling: Sampling
    media: MediaOption
    shards: Shards
    pruning: Pruning
    scorers: Scorers

    def check(self) -> None:
        """Raise ``ConfigError`` for a value that has the right type but can't work."""
        positive = {f"limits.{name}": value for name, value in vars(self.limits).items()}
        positive |= {f"sampling.{name}": value for name, value in vars(self.sampling).items()}
        positive |= {f"shards.{name}": value for name, value in vars(self.shards).items()}
        positive |= {"scorers.frame_size": self.scorers.frame_size, "scorers.frames": self.scorers.frames}
        positive |= {"media.fps": self.media.fps}
        positive |= {
            name: value
            for name, value in (("workers", self.workers), ("scorers.workers", self.scorers.workers))
            if value is not None
        }
        for key, value in positive.items():
            if not value > 0:
                raise ConfigError(f"{key}={value}: expected a number above 0")
        if not 0 <= self.val_fraction < 1:
            raise ConfigError(f"val_fraction={self.val_fraction}: expected at least 0 (no validation set) and under 1")
        if self.scorers.video_lm is not None and not (Path(self.scorers.video_lm) / "config.json").is_file():
            raise ConfigError(
                f"scorers.video_lm={self.scorers.video_lm}: there is no model (no config.json). Give a folder that "
                "`python -m recot.checkpoints.export` wrote."
            )
        if self.media.kind not in _MEDIA_KINDS:
            raise ConfigError(f"media.kind={self.media.kind}: expected {' or '.join(_MEDIA_KINDS)}")
        if len(self.media.frame_size) != 2:
            raise ConfigError(f"media.frame_size={self.media.frame_size}: expected [height, width] in pixels")
        self.pruning.duplicates.check("pruning.duplicates")
        self.pruning.decontamination.check("pruning.decontamination")
        self.pruning.clusters.check("pruning.clusters")
        self.pruning.policy.check()

    def hash(self) -> str:
        """16 hex digits that change with every value that changes what is written."""
        values = {key: value for key, value in dataclasses.asdict(self).items() if key not in _WITHOUT_EFFECT}
        values["scorers"].pop("workers")
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]

    def worker_count(self) -> int:
        """``workers``, or the number of CPUs that this process may use."""
        return self.workers or len(os.sched_getaffinity(0))
