"""What an answer rests on, as lines for a terminal and as plain values for JSON."""

from typing import Any

from recot.inference.ask import Answer
from recot.inference.moments import KeptGroups, kept_spans, top_moments
from recot.inference.timeline import timeline

MOMENTS = 3
CELLS = 60


def lines(answer: Answer, *, encoding: str | None) -> list[str]:
    """For a terminal of this encoding; without the answer itself, which was shown as it came."""
    memory = [f"{name.replace('_', ' ')} {mib:,.0f} MiB" for name, mib in answer.peak_memory_mib.items()]
    shown = [
        f"tokens   {answer.tokens_kept} of {answer.tokens_seen} kept, of {answer.frames} frames",
        "time     " + ", ".join(f"{name} {seconds:.2f} s" for name, seconds in answer.seconds.items()),
        "memory   " + ", ".join(memory) + " at most",
    ]
    if answer.groups is None:
        return shown
    best = [f"{moment['start_s']:.1f} s ({moment['kept_share']:.0%} kept)" for moment in _moments(answer.groups)]
    return [
        f"kept     {timeline(answer.groups, cells=CELLS, encoding=encoding)}",
        "moments  " + ", ".join(best),
        *shown,
    ]


def facts(answer: Answer) -> dict[str, Any]:
    """Everything, for JSON."""
    groups = answer.groups
    return {
        "answer": answer.reply.text,
        "stopped_by": answer.reply.stopped_by,
        "kept_spans_s": [] if groups is None else kept_spans(groups),
        "moments": [] if groups is None else _moments(groups),
        "frames": answer.frames,
        "tokens_seen": answer.tokens_seen,
        "tokens_kept": answer.tokens_kept,
        "seconds": answer.seconds,
        "peak_memory_mib": answer.peak_memory_mib,
    }


def _moments(groups: KeptGroups) -> list[dict[str, float]]:
    return [
        {
            "start_s": float(groups.seconds[number, 0]),
            "end_s": float(groups.seconds[number, 1]),
            "kept_share": float(groups.share[number]),
            "score": float(groups.score[number]),
        }
        for number in top_moments(groups, MOMENTS)
    ]
