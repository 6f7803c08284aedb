"""A long video up to the language model, and the reading of its prompt, on the tiny model: 2048 and 8192 frames.

    OMP_NUM_THREADS=1 python benchmarks/long_video.py

Steps: "read" decodes an mp4 of 64 x 64 pixels and encodes, compresses and projects its frames in pieces of 64; "select"
scores all tokens against a question, keeps a quarter, and puts the prompt together; "prefill" is the language model
reading that prompt in chunks of 1024 tokens. Both lengths take turns in one process, after a warm-up of 64 frames; CPU
seconds are of one thread, medians of the turns, prefill of one. Memory is the peak resident size during a step less
what was resident before it, the largest of the turns; compact tokens and the prompt's cache are part of it.
Prefill grows faster than the frames, because all tokens of a prompt attend to each other.
"""

import ctypes
import gc
import json
import os
import platform
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from statistics import median
from typing import TypeVar

import numpy as np
import torch
from dts import resident

import recot.tiny_world
from recot.inference.ask import question_sample
from recot.inference.video import CHUNK_FRAMES, choose_frames, read_video
from recot.models.dts import DynamicTokenSynthesizer
from recot.models.generation import prefill
from recot.models.llm import pretrained_llm
from recot.models.projector import Projector
from recot.models.selection import KeepRule
from recot.models.selector import Selector
from recot.models.tokenizer import load_tokenizer
from recot.models.video_lm import VideoLM
from recot.models.vision_encoder import pretrained_encoder
from recot.tiny_world.video import encode_mp4
from recot.video_io import FrameSampling

BACKBONES = Path(recot.tiny_world.__file__).parent / "backbones"
RESULT = Path(__file__).resolve().parent / "results/long_video"
LENGTHS = (2048, 8192)
TURNS = 3
KEEP, PREFILL_CHUNK = 0.25, 1024
QUESTION = "Which of these objects is shown in the video?"

Made = TypeVar("Made")
Taken = dict[tuple[str, int], list[tuple[float, float]]]  # (step, frames) -> CPU seconds and MiB of each turn


def tiny_model() -> VideoLM:
    """Committed backbones; what is trained between them has random weights."""
    torch.manual_seed(0)
    llm = pretrained_llm(name_or_path=str(BACKBONES / "llm"))
    return VideoLM(
        vision_encoder=pretrained_encoder(name_or_path=str(BACKBONES / "vision"), drop_layers=1, grid=8),
        dts=DynamicTokenSynthesizer(width=64, heads=4),
        projector=Projector(width=64, llm_width=llm.config.hidden_size),
        selector=Selector(width=llm.config.hidden_size),
        llm=llm,
        tokenizer=load_tokenizer(BACKBONES / "llm"),
    ).eval()


def pictures(frames: int) -> Iterator[np.ndarray]:
    """A white square that moves over a background that changes slowly; no two frames are alike."""
    for number in range(frames):
        picture = np.full((64, 64, 3), (0, 0, number // 32), dtype=np.uint8)
        picture[number // 56 % 56 :][:8, number % 56 :][:, :8] = 255
        yield picture


def measured(taken: Taken, step: str, frames: int, call: Callable[[], Made]) -> Made:
    """The call's result; what it took goes to ``taken``."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # starts the peak anew
    before, start = resident("VmRSS"), time.process_time()
    made = call()
    seconds = time.process_time() - start
    taken[step, frames].append((seconds, resident("VmHWM") - before))
    return made


def turn(model: VideoLM, path: Path, frames: int, taken: Taken, *, last: bool) -> int:
    """One video through all steps, prefill on the last turn alone. Tokens of the prompt."""
    chosen = choose_frames(path, FrameSampling(stride=1))
    assert len(chosen.indices) == frames
    visual = measured(taken, "read", frames, lambda: read_video(model, path, chosen, frame_size=(64, 64)))
    sample, rule = question_sample(model, QUESTION), KeepRule(ratio=KEEP)
    packed, _ = measured(taken, "select", frames, lambda: model.prepare([visual], [sample], [rule]))
    embeddings = packed.embeddings
    if last:
        measured(taken, "prefill", frames, lambda: prefill(model.llm, embeddings, chunk=PREFILL_CHUNK))
    return embeddings.shape[1]


@torch.inference_mode()
def main() -> None:
    """Measure and write."""
    if os.environ.get("OMP_NUM_THREADS") != "1":
        raise SystemExit("Set OMP_NUM_THREADS=1: CPU seconds of several threads include their waiting.")
    model = tiny_model()
    taken: Taken = defaultdict(list)
    prompts = {}
    with tempfile.TemporaryDirectory() as folder:
        paths = {}
        for frames in (CHUNK_FRAMES, *LENGTHS):
            paths[frames] = Path(folder) / f"{frames}.mp4"
            paths[frames].write_bytes(encode_mp4(pictures(frames), size=64, fps=8.0, preset="ultrafast", gop=250))
        turn(model, paths[CHUNK_FRAMES], CHUNK_FRAMES, defaultdict(list), last=True)
        for number in range(TURNS):
            for frames in LENGTHS:
                prompts[frames] = turn(model, paths[frames], frames, taken, last=number == TURNS - 1)
                print(number, frames, {step: own[-1] for (step, n), own in taken.items() if n == frames}, flush=True)
    write(taken, prompts)


def write(taken: Taken, prompts: dict[int, int]) -> None:
    """Markdown and JSON."""
    setting = {
        "command": "OMP_NUM_THREADS=1 python benchmarks/long_video.py",
        "hardware": f"{platform.machine()}, {os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}, shared",
        "versions": f"torch {torch.__version__}, 1 thread",
        "model": "tiny: committed backbones, random weights between them, 16 tokens a group of 4 frames",
        "tokens of the prompt": ", ".join(f"{n} for {frames} frames" for frames, n in prompts.items()),
        "date": str(date.today()),
    }
    rows = [
        {
            "step": step,
            "frames": frames,
            "CPU s": median(s for s, _ in own),
            "peak MiB": max(m for _, m in own),
            "turns": [{"CPU s": s, "MiB": m} for s, m in own],
        }
        for (step, frames), own in taken.items()
    ]
    RESULT.with_suffix(".json").write_text(json.dumps({"setting": setting, "rows": rows}, indent=1) + "\n")
    seconds = {(row["step"], row["frames"]): float(row["CPU s"]) for row in rows}  # type: ignore[arg-type]
    memory = {(row["step"], row["frames"]): float(row["peak MiB"]) for row in rows}  # type: ignore[arg-type]
    for frames in LENGTHS:
        seconds["up to the language model", frames] = seconds["read", frames] + seconds["select", frames]
        memory["up to the language model", frames] = max(memory["read", frames], memory["select", frames])
    short, long = LENGTHS
    lines = ["# Long videos", "", *(f"- {k}: {v}" for k, v in setting.items()), ""]
    lines += [*__doc__.split("\n\n")[2].splitlines(), ""]
    lines += [f"| step | CPU s, {short} frames | CPU s, {long} frames | ratio (4x the frames) | peak MiB, each |"]
    lines += ["|---|" + "---:|" * 4]
    for step in ("read", "select", "up to the language model", "prefill"):
        a, b = seconds[step, short], seconds[step, long]
        lines.append(
            f"| {step} | {a:.2f} | {b:.2f} | {b / a:.2f} | {memory[step, short]:.0f}, {memory[step, long]:.0f} |"
        )
    frames_mib = long * 64 * 64 * 3 / 2**20
    lines += [
        "",
        f"All {long} frames together would be {frames_mib:.0f} MiB, their features {frames_mib / 3 * 4:.0f} MiB.",
    ]
    RESULT.with_suffix(".md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
