"""What a run's samples cost: seconds by step, the evaluator's own share of them, frames, tokens, memory."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recot.atomic import write_file
from recot.evaluation.items import Result

OWN = "own"
"""Step of all that is neither decoding nor the model and its tokenizer: prompts, measures, reading replies, writing."""
_COUNTS = ("frames", "pixels", "tokens_seen", "tokens_kept", "prompt_tokens")


def costs(results: Sequence[Result]) -> dict[str, Any]:
    """Of the samples that were answered, whichever process and attempt did it.

    Returns:
        ``seconds``: by step, of all samples; ``own_share`` of these; ``mean``: of a sample's frames, pixels and tokens;
        ``peak_memory_mib``: the most that any sample saw; of ``process_so_far``, the most of all processes.
    """
    seconds: dict[str, float] = {}
    peak: dict[str, float] = {}
    for result in results:
        for step, own in _numbers(result.saw.get("seconds")).items():
            seconds[step] = seconds.get(step, 0.0) + own
        for where, mib in _numbers(result.saw.get("peak_memory_mib")).items():
            peak[where] = max(peak.get(where, 0.0), mib)
    total = sum(seconds.values())
    mean = {}
    for name in _COUNTS:
        counted = [count for result in results if isinstance(count := result.saw.get(name), int | float)]
        if counted:
            mean[name] = sum(counted) / len(counted)
    return {
        "seconds": seconds,
        "own_share": seconds.get(OWN, 0.0) / total if total else 0.0,
        "mean": mean,
        "peak_memory_mib": peak,
    }


def write_costs(folder: Path, results: Sequence[Result]) -> None:
    """Write ``costs.json``."""
    write_file(folder / "costs.json", (json.dumps(costs(results), indent=1) + "\n").encode())


def _numbers(value: object) -> dict[str, float]:
    return value if isinstance(value, dict) else {}
