"""Selector and window attention at the real width, 2048 with 4 heads, from 128 to 8192 frames.

    OMP_NUM_THREADS=1 python benchmarks/selector.py

Each row is a process of its own. Memory is the peak resident size of a second, warm call less what was resident before
it, so weights and inputs don't count; the chosen rows (the output) aren't copied, the scores are. CPU seconds are of
the process, one thread, median of three calls up to 512 frames, else of one. "dense" is the released evaluation, all
windows against all, measured where it is small; the growth law of its reference measurements stands beside every row.
"""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from statistics import median

import torch
from dts import resident
from torch import Tensor

from recot.models.selection import KeepRule
from recot.models.selector import Selector
from recot.models.visual_groups import Query, VisualGroups
from recot.models.window_attention import WindowTimeAttention

RESULT = Path(__file__).resolve().parent / "results/selector"
WIDTH, HEADS, TOKENS, TIME, QUESTION = 2048, 4, 144, 10, 64
REPEATS = {128: 3, 512: 3, 2048: 1, 8192: 1}
DENSE_UP_TO = 512


def dense(attention: WindowTimeAttention, video: Tensor, times: Tensor) -> Tensor:
    """The released evaluation: one matrix of all video tokens against all time tokens, masked outside the windows."""
    groups = len(video)
    query = attention.k_proj(video).view(groups * TOKENS, HEADS, -1).transpose(0, 1)
    key = attention.q_proj(times).view(groups * TIME, HEADS, -1).transpose(0, 1)
    attention.v_proj(video)  # evaluated there too, and not used
    logits = query @ key.transpose(1, 2) * query.shape[-1] ** -0.5
    own = torch.eye(groups, dtype=torch.bool).repeat_interleave(TOKENS, 0).repeat_interleave(TIME, 1)
    weights = logits.masked_fill(~own, -6e4).softmax(dim=-1)
    return attention.out_proj((weights @ key).transpose(0, 1).reshape(groups, TOKENS, WIDTH))


def prepared(case: str, frames: int, dtype: torch.dtype) -> Callable[[], object]:
    """What is measured: a selector of a layout, or the dense attention, on random inputs."""
    torch.manual_seed(0)
    groups = frames // 4
    # Filled in place: a conversion would leave its source in the allocator, and calls would find memory there.
    tokens = torch.empty(1, groups, TOKENS, WIDTH, dtype=dtype).normal_()
    times = torch.empty(1, groups, TIME, WIDTH, dtype=dtype).normal_()
    if case == "dense":
        attention = WindowTimeAttention(width=WIDTH, heads=HEADS, layout="official").to(dtype)
        return lambda: dense(attention, tokens[0], times[0])
    selector = Selector(width=WIDTH, heads=HEADS, layout=case, time_tokens=TIME).to(dtype)  # type: ignore[arg-type]
    visual = VisualGroups(tokens, times, torch.ones(1, groups, TIME) > 0, torch.ones(1, groups) > 0)
    query = Query(torch.randn(1, QUESTION, WIDTH, dtype=dtype), torch.ones(1, QUESTION) > 0)
    return lambda: selector(visual, query, [KeepRule(ratio=0.25)])


@torch.no_grad()
def measure(case: str, frames: int, dtype: str) -> dict[str, object]:
    """One row, in this process."""
    call = prepared(case, frames, getattr(torch, dtype))
    call()
    Path("/proc/self/clear_refs").write_text("5")  # starts the peak anew
    before, seconds = resident("VmRSS"), []
    for i in range(REPEATS[frames]):
        start = time.process_time()
        call()
        seconds.append(time.process_time() - start)
        if i == 0:
            extra = resident("VmHWM") - before
    return {"case": case, "frames": frames, "dtype": dtype, "MiB": extra, "CPU s": median(seconds)}


def main() -> None:
    """Every row in a process of its own."""
    if os.environ.get("OMP_NUM_THREADS") != "1":
        raise SystemExit("Set OMP_NUM_THREADS=1: CPU seconds of several threads include their waiting.")
    cases = [(case, n, dtype) for case in ("native", "official") for dtype in ("bfloat16", "float32") for n in REPEATS]
    cases += [("dense", n, "float32") for n in REPEATS if n <= DENSE_UP_TO]
    rows = []
    for case in cases:
        command = [sys.executable, __file__, *map(str, case)]
        # glibc's heap would keep freed blocks resident and hide what a second call takes.
        fresh = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=fresh)
        rows.append(json.loads(done.stdout))
        print(rows[-1], flush=True)
        write(rows)  # large rows take memory and minutes: what is measured is kept


def write(rows: list[dict[str, object]]) -> None:
    """Markdown and JSON."""
    setting = {
        "command": "OMP_NUM_THREADS=1 python benchmarks/selector.py",
        "hardware": f"{platform.machine()}, {os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}, shared",
        "versions": f"torch {torch.__version__}, 1 thread",
        "shapes": f"width {WIDTH}, {HEADS} heads, {TOKENS} + {TIME} tokens a group, question of {QUESTION}",
        "date": str(date.today()),
    }
    RESULT.with_suffix(".json").write_text(json.dumps({"setting": setting, "rows": rows}, indent=1) + "\n")
    lines = ["# Selector and window attention", "", *(f"- {k}: {v}" for k, v in setting.items()), ""]
    lines += [*__doc__.split("\n\n")[2].splitlines(), ""]
    lines += ["| evaluation | dtype | frames | extra MiB | CPU s | time for 4x the frames | reference law MiB, CPU s |"]
    lines += ["|---|---|" + "---:|" * 5]
    found = {(r["case"], r["dtype"], r["frames"]): float(r["CPU s"]) for r in rows}  # type: ignore[arg-type]
    for r in rows:
        g = int(r["frames"]) // 4  # type: ignore[call-overload]
        earlier = found.get((r["case"], r["dtype"], g))
        growth = "-" if earlier is None else f"{float(r['CPU s']) / earlier:.2f}"  # type: ignore[arg-type]
        law = f"{8.5 * g + 0.037 * g * g:,.0f}, {0.0633 * g + 2.6e-4 * g * g:,.1f}"
        lines.append(
            f"| {r['case']} | {r['dtype']} | {r['frames']} | {r['MiB']:.1f} | {r['CPU s']:.3f} | {growth} | {law} |"
        )
    RESULT.with_suffix(".md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    if len(sys.argv) == 4:
        print(json.dumps(measure(sys.argv[1], int(sys.argv[2]), sys.argv[3])))
    else:
        main()
