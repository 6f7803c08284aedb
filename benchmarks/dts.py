"""DTS at the real size, 1152 channels on a 24 x 24 grid, beside the released module's operations written plainly.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/dts.py

CPU seconds are of this process (waiting threads sleep, so they cost none); memory is the peak resident size of a warm
call less what was resident before it, output included. Both modules take turns, and medians are reported.
"""

import ctypes
import gc
import json
import os
import platform
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from statistics import median

import torch
from einops import rearrange
from reference_dts import PlainCompressor
from torch import Tensor

from recot.checkpoints.official import dts_from_official
from recot.models.dts import DynamicTokenSynthesizer, official_axes

RESULT = Path(__file__).resolve().parent / "results/dts"
WIDTH, GRID = 1152, 24
REPEATS = {1: 3, 4: 2, 8: 1}


def resident(field: str) -> float:
    """MiB from this process's status, e.g. ``VmRSS`` or ``VmHWM`` (its peak)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def measure(call: Callable[[], object]) -> tuple[float, float]:
    """CPU seconds and extra MiB of one call."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # starts the peak anew
    before, start = resident("VmRSS"), time.process_time()
    result = call()
    seconds = time.process_time() - start
    extra = resident("VmHWM") - before
    del result
    return seconds, extra


def modules() -> dict[str, torch.nn.Module]:
    """The plain module, and the DTS with its weights whole and chunked."""
    torch.manual_seed(0)
    plain = PlainCompressor(WIDTH)
    weights = dts_from_official(plain.released_state())
    made: dict[str, torch.nn.Module] = {"plain": plain}
    for name, chunk in (("whole", 8), ("chunked", 1)):
        dts = DynamicTokenSynthesizer(width=WIDTH, layout="official", chunk_groups=chunk)
        dts.load_state_dict(weights)
        made[name] = dts
    for module in made.values():
        for parameter in module.parameters():
            parameter.grad = torch.zeros_like(parameter)
    return made


def compare(groups: int, backward: bool, made: dict[str, torch.nn.Module]) -> dict[str, object]:
    """Interleaved repeats of all modules on one input; chunks make no difference where a backward pass follows."""
    if backward:
        made = {name: module for name, module in made.items() if name != "chunked"}
    x = torch.randn(groups, 4, GRID, GRID, WIDTH)
    inputs = dict.fromkeys(made, x) | {"plain": rearrange(official_axes(x), "g t h w c -> g c t h w").contiguous()}

    def call(name: str) -> Tensor:
        if not backward:
            with torch.no_grad():
                return made[name](inputs[name])
        out = made[name](inputs[name])
        out.square().mean().backward()
        return out

    outputs = {name: call(name).detach() for name in made}  # also the warm-up
    expected = rearrange(outputs["plain"], "g c 1 h w -> g h w c")
    worst = max((outputs[n] - expected).abs().max().item() for n in made if n != "plain") / expected.abs().max().item()
    del outputs, expected
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in made}
    for _ in range(REPEATS[groups]):
        for name in made:
            taken[name].append(measure(lambda name=name: call(name)))  # type: ignore[misc]
    row: dict[str, object] = {"groups": groups, "pass": "forward + backward" if backward else "forward"}
    for name, pairs in taken.items():
        row |= {f"{name} CPU s": median(p[0] for p in pairs), f"{name} MiB": median(p[1] for p in pairs)}
    return row | {"relative difference": worst}


def main() -> None:
    """Measure, print and write."""
    if os.environ.get("OMP_WAIT_POLICY") != "PASSIVE":
        raise SystemExit("Set OMP_WAIT_POLICY=PASSIVE: threads that spin while waiting would count as CPU seconds.")
    made = modules()
    rows = []
    for backward in (False, True):
        for groups in REPEATS:
            rows.append(compare(groups, backward, made))
            print(rows[-1], flush=True)
    write(rows)


def write(rows: list[dict[str, object]]) -> None:
    """Markdown and JSON."""
    setting = {
        "command": "OMP_WAIT_POLICY=PASSIVE python benchmarks/dts.py",
        "hardware": f"{platform.machine()}, {os.cpu_count()} cores, AVX-512 {torch.backends.cpu.get_cpu_capability()}",
        "versions": f"torch {torch.__version__}, {torch.get_num_threads()} threads, float32",
        "date": str(date.today()),
    }
    RESULT.with_suffix(".json").write_text(json.dumps({"setting": setting, "rows": rows}, indent=1) + "\n")
    units = ("plain CPU s", "DTS CPU s", "ratio", "plain MiB", "DTS MiB", "ratio", "chunked CPU s", "chunked MiB")
    head = f"| pass | groups | {' | '.join(units)} | max difference |"
    lines = ["# DTS at 1152 channels, 24 x 24", "", *(f"- {k}: {v}" for k, v in setting.items()), ""]
    lines += [*__doc__.split("\n\n")[2].splitlines(), "", head, "|---|" + "---:|" * 10]
    for r in rows:
        seconds, memory = (r[f"whole {u}"] / r[f"plain {u}"] for u in ("CPU s", "MiB"))  # type: ignore[operator]
        chunked = [f"{r[f'chunked {u}']:.{d}f}" if f"chunked {u}" in r else "-" for u, d in (("CPU s", 2), ("MiB", 0))]
        lines.append(
            f"| {r['pass']} | {r['groups']} | {r['plain CPU s']:.2f} | {r['whole CPU s']:.2f} | {seconds:.2f} "
            f"| {r['plain MiB']:.0f} | {r['whole MiB']:.0f} | {memory:.2f} "
            f"| {' | '.join(chunked)} | {r['relative difference']:.1e} |"
        )
    RESULT.with_suffix(".md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
