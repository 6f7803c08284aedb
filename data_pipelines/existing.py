"""Whether an output is there already, and whether the same command would make it again."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from data_pipelines.config import PruneConfig
from data_pipelines.ingest.records import Records
from data_pipelines.summary import Summary
from recot.errors import DataError


def hash_input(inputs: Iterable[Records], models: Iterable[Mapping[str, Any] | None]) -> str:
    """16 hex digits that change with everything that is read: see ``Records.hash`` and ``scoring.Model.identity``."""
    read = [[records.hash() for records in inputs], list(models)]
    return hashlib.sha256(json.dumps(read, sort_keys=True).encode()).hexdigest()[:16]


def existing_summary(config: PruneConfig, output: Path, input_hash: str) -> Summary | None:
    """The summary of an output that is up to date, None if there is nothing yet or it is to be replaced.

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
    if not changed:
        return summary
    if config.overwrite:
        return None
    raise DataError(
        f"output={output} was made with another {' and '.join(changed)}. "
        "Add overwrite=true to replace it, or choose another output folder."
    )
