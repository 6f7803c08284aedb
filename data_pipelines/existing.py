"""Whether an output is there already, and whether the same command would make it again."""

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from data_pipelines.audit import AUDIT_NAME
from data_pipelines.config import PruneConfig
from data_pipelines.ingest.locations import is_remote
from data_pipelines.ingest.records import Records
from data_pipelines.manifest import MANIFEST_NAME
from data_pipelines.report.render import REPORT_NAME
from data_pipelines.scoring import MISSING, TRY_AGAIN
from data_pipelines.summary import Summary
from recot.data.shard_index import MANIFEST_NAME as SHARDS_NAME
from recot.data.shards import ShardFolder
from recot.errors import DataError


def hash_input(inputs: Iterable[Records], models: Iterable[Mapping[str, Any] | None]) -> str:
    """16 hex digits that change with everything that is read: see ``Records.hash`` and ``scoring.Model.identity``."""
    read = [[records.hash() for records in inputs], list(models)]
    return hashlib.sha256(json.dumps(read, sort_keys=True).encode()).hexdigest()[:16]


def existing_summary(config: PruneConfig, output: Path, inputs: Sequence[Records], input_hash: str) -> Summary | None:
    """The summary of an output that is up to date, None if there is nothing yet or it is to be replaced.

    It is replaced if ``overwrite`` is on, a file of it is gone, or videos failed that may be all right by now.

    Args:
        config: what is to be made.
        output: where.
        inputs: the source and the evaluation sets.
        input_hash: of these, see ``hash_input``.

    Raises:
        DataError: if the output holds something else, or was made otherwise and ``overwrite`` is off.
    """
    summary = Summary.read(output)
    if summary is None:
        if output.exists() and not (output.is_dir() and not any(output.iterdir())):
            raise DataError(
                f"output={output} exists and was not made by prune.py, so it is left alone. "
                "Choose another output folder."
            )
        return None
    changed = [
        what
        for what, ours, theirs in (
            ("config", config.hash(), summary.config_hash),
            ("input or models", input_hash, summary.input_hash),
        )
        if ours != theirs
    ]
    if changed and not config.overwrite:
        raise DataError(
            f"output={output} was made with another {' and '.join(changed)}. "
            "Add overwrite=true to replace it, or choose another output folder."
        )
    if config.overwrite:
        return None
    again = _why_again(output, summary, inputs)
    if again is None:
        return summary
    sys.stdout.write(f"{output} is made again: {again}.\n")
    return None


def _why_again(output: Path, summary: Summary, inputs: Sequence[Records]) -> str | None:
    if not _is_whole(output, summary):
        return "files of it are gone"
    failed: Counter[str] = Counter()
    found = [summary.video_reasons, *(entry.not_compared for entry in summary.evaluation_sets)]
    for records, reasons in zip(inputs, found, strict=True):
        remote = any(is_remote(video.uri) for video in records.videos)
        passing = (*TRY_AGAIN, MISSING) if remote else TRY_AGAIN
        failed.update({reason: count for reason, count in reasons.items() if reason in passing})
    if not failed:
        return None
    counted = ", ".join(f"{count} x {reason}" for reason, count in failed.items())
    return f"videos failed that may be all right by now ({counted})"


def _is_whole(output: Path, summary: Summary) -> bool:
    names = [MANIFEST_NAME, AUDIT_NAME, REPORT_NAME, *(f"{split}/{SHARDS_NAME}" for split in summary.splits)]
    if not all((output / name).is_file() for name in names):
        return False
    try:
        return all(len(ShardFolder(output / split)) == count for split, count in summary.splits.items())
    except DataError:  # an index or a shard is gone, or has another size
        return False
