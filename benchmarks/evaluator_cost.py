"""What the evaluator itself costs beside decoding and the model, on the tiny model and the tiny world.

    OMP_NUM_THREADS=1 python benchmarks/evaluator_cost.py

The runner of ``python src/eval.py`` answers all questions with options about 8 rendered videos of 256 frames with an
exported tiny model, which sees 128 of them and reads a quarter of their tokens; a video is read once for its questions.
The runner's functions are timed by the CPU seconds of the process, one thread, each less what the timed ones inside it
took. Each turn is a process of its own, with one video to warm up; the tables have the medians of the turns. Where
other work on the machine slows a turn down, its caches are colder and more of its lines are flushed one by one, so that
the evaluator's share is greater. Waiting for the disk is wall time within fsync, less its CPU seconds.

The tiny model is the hardest case for the share, because it takes so little itself. For a model of realistic cost, the
operations of ``full_size.json`` are taken: the 3B model on the same 128 frames and share of tokens, with a video read
for each question, or for as many as here, at 400 TFLOP/s, about 40 % of what an H100 can do in bfloat16. That is a
calculation; the evaluator's own seconds are those measured here.
"""

import functools
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import torch
from long_video import tiny_model

from recot.checkpoints.hf_folder import save_video_lm
from recot.checkpoints.inference import Inference
from recot.evaluation import recot_answerer, results, runner, shown_video
from recot.evaluation.controls import Control
from recot.evaluation.suites import TinyWorld
from recot.models.generation import GenerationSettings
from recot.models.selection import KeepRule
from recot.models.video_lm import VideoLM
from recot.tiny_world.export import export
from recot.tiny_world.splits import Split
from recot.video_io import FrameSampling

RESULT = Path(__file__).resolve().parent / "results/evaluator_cost"
FULL_SIZE, FULL_SIZE_FRAMES = RESULT.with_name("full_size.json"), 8192
VIDEOS, FRAMES, SEEN, KEEP = 8, 256, 128, 0.25
TURNS = 3
TFLOP_S = 400.0
INFERENCE = Inference(
    frame_size=(64, 64),
    sampling=FrameSampling(count=SEEN),
    keep=KeepRule(ratio=KEEP),
    generation=GenerationSettings(max_new_tokens=2),
)
MODEL = {
    "decoding": [(shown_video, "choose_frames"), (shown_video._Timed, "__next__")],
    "vision encoder to projector": [(VideoLM, "compress_stream")],
    "tokenizing the prompt": [(recot_answerer.RecotAnswerer, "_tokenized")],
    "selection": [(VideoLM, "choose"), (VideoLM, "join")],
    "language model": [(recot_answerer, "generate")],
}
OWN = {
    "prompts": [(TinyWorld, "prompt")],
    "what was kept, evidence found": [(recot_answerer.RecotAnswerer, "_kept")],
    "scoring": [(runner, "judge")],
    "writing": [(results.ResultsFolder, "add"), (results.ResultsFolder, "sync")],
    "everything else": [(runner, "answer_items")],
}
ONCE = {
    "loading the model": [(runner, "load_video_lm")],
    "reading questions, summing up, progress": [(runner, "evaluate")],
}


class Clock:
    """CPU seconds by part; each less what the parts within it took."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.waited, self.flushes = 0.0, 0
        self._parts = ["outside"]
        self._mark = time.process_time()

    def timed(self, part: str, owner: Any, name: str) -> None:
        """From now on, the calls of a function are this part."""
        original = getattr(owner, name)

        @functools.wraps(original)
        def call(*given: object, **named: object) -> object:
            with self._within(part):
                return original(*given, **named)

        setattr(owner, name, call)

    def watch_disk(self) -> None:
        """From now on, fsync is counted, and how long it waits."""
        original: Callable[[int], None] = os.fsync

        def fsync(descriptor: int) -> None:
            wall, cpu = time.perf_counter(), time.process_time()
            original(descriptor)
            self.waited += max(0.0, time.perf_counter() - wall - (time.process_time() - cpu))
            self.flushes += 1

        os.fsync = fsync  # type: ignore[assignment]

    @contextmanager
    def _within(self, part: str) -> Iterator[None]:
        self._book()
        self._parts.append(part)
        try:
            yield
        finally:
            self._book()
            self._parts.pop()

    def _book(self) -> None:
        now = time.process_time()
        self.seconds[self._parts[-1]] += now - self._mark
        self._mark = now


def turn(work: Path) -> dict[str, Any]:
    """One run of the runner, in this process."""
    use = runner.ModelUse(
        folder=work / "model", digest="benchmark", inference=INFERENCE, control=Control(), scoring="generate"
    )
    with tempfile.TemporaryDirectory(dir=work) as folder:
        warm, world = (TinyWorld(annotations=p, videos=p, counts=None) for p in (work / "warm/videos", work / "videos"))
        runner.evaluate({"warm": warm}, use, Path(folder), processes=1)
        clock = Clock()
        clock.watch_disk()
        for part, places in (MODEL | OWN | ONCE).items():
            for owner, name in places:
                clock.timed(part, owner, name)
        report = runner.evaluate({"world": world}, use, Path(folder), processes=1)["world"]
    assert report["samples"]["failed"] == 0
    seconds = {part: clock.seconds[part] for part in MODEL | OWN | ONCE}
    return {
        "samples": report["samples"]["scored"],
        "seconds": seconds,
        "fsync": clock.flushes,
        "waited": clock.waited,
    }


def main() -> None:
    """Make the model and the videos, measure, write."""
    if os.environ.get("OMP_NUM_THREADS") != "1":
        raise SystemExit("Set OMP_NUM_THREADS=1: CPU seconds of several threads include their waiting.")
    turns = []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        export(work / "world", Split(world=5, name="test", videos=VIDEOS, frames=FRAMES))
        export(work / "warm", Split(world=6, name="test", videos=1, frames=FRAMES))
        (work / "world/videos").rename(work / "videos")
        save_video_lm(tiny_model(), work / "model", INFERENCE)
        for _ in range(TURNS):
            command = [sys.executable, __file__, str(work)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            turns.append(json.loads(done.stdout.splitlines()[-1]))
            print(turns[-1], flush=True)
    write(turns)


def write(turns: list[dict[str, Any]]) -> None:
    """Markdown and JSON."""
    samples = turns[0]["samples"]
    setting = {
        "command": "OMP_NUM_THREADS=1 python benchmarks/evaluator_cost.py",
        "hardware": f"{platform.machine()}, {os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}, shared",
        "versions": f"Python {platform.python_version()}, torch {torch.__version__}, 1 thread",
        "samples": f"{samples} questions about {VIDEOS} videos, {TURNS} turns",
        "date": str(date.today()),
    }
    ms = {part: median(t["seconds"][part] for t in turns) / samples * 1e3 for part in MODEL | OWN | ONCE}
    model, own = sum(ms[part] for part in MODEL), sum(ms[part] for part in OWN)
    shares = [_own(t) / (_own(t) + sum(t["seconds"][part] for part in MODEL)) for t in turns]
    share, spread = median(shares), f"{min(shares):.2%} to {max(shares):.2%}"
    waited = median(t["waited"] / t["fsync"] for t in turns)
    real = {"a video for each question": _real_seconds(1.0), "as many as here": _real_seconds(VIDEOS / samples)}
    beside = {name: own / (own + seconds * 1e3) for name, seconds in real.items()}
    figures = {
        "own share": share,
        "own share of each turn": shares,
        "own ms a sample": own,
        "an fsync waits, seconds": waited,
        "3B model, seconds a sample": real,
        "3B model, own share": beside,
    }
    told = {"setting": setting, "CPU ms a sample": ms, "figures": figures, "turns": turns}
    RESULT.with_suffix(".json").write_text(json.dumps(told, indent=1) + "\n")
    lines = ["# The evaluator's own cost", "", *(f"- {k}: {v}" for k, v in setting.items()), ""]
    lines += ["\n\n".join(__doc__.strip().split("\n\n")[2:]), ""]
    lines += ["| part | CPU ms a sample | of the samples' CPU seconds |", "|---|---:|---:|"]
    lines += [f"| {part} | {ms[part]:.2f} | {ms[part] / (model + own):.2%} |" for part in MODEL]
    lines += [f"| **decoding and model** | {model:.2f} | {model / (model + own):.2%} |"]
    lines += [f"| {part} | {ms[part]:.2f} | {ms[part] / (model + own):.2%} |" for part in OWN]
    lines += [f"| **the evaluator's own** | {own:.2f} | {share:.2%} ({spread}; wanted: 3 %) |"]
    counted = (own + ms["tokenizing the prompt"]) / (model + own)
    lines += ["", f"With tokenizing counted as the evaluator's own, its share is {counted:.2%}."]
    lines += ["", "| once a run | CPU s |", "|---|---:|"]
    lines += [f"| {part} | {ms[part] * samples / 1e3:.2f} |" for part in ONCE]
    lines += ["", f"One fsync waits {waited * 1e3:.0f} ms for this disk, and there is at most one a second: at most"]
    lines += [f"{waited:.1%} of the time.", ""]
    lines += ["| 3B model, calculated | s a sample | the evaluator's own |", "|---|---:|---:|"]
    lines += [f"| {name} | {seconds:.3f} | {beside[name]:.2%} |" for name, seconds in real.items()]
    RESULT.with_suffix(".md").write_text("\n".join(lines) + "\n")


def _own(told: dict[str, Any]) -> float:
    return sum(told["seconds"][part] for part in OWN)


def _real_seconds(videos_a_question: float) -> float:
    """What the 3B model takes for a sample: up to the prompt all is linear in frames, a prompt this short in tokens."""
    full = json.loads(FULL_SIZE.read_text())
    part = SEEN / FULL_SIZE_FRAMES
    tokens = part * next(row["tokens"] for row in full["keep"] if row["keep"] == KEEP)
    reading = sum(full["TFLOP"][name] for name in ("vision encoder", "DTS", "projector")) * part
    answering = full["TFLOP"]["selector"] * part + 2 * full["parameters"]["language model"] * tokens / 1e12
    return (videos_a_question * reading + answering) / TFLOP_S


if __name__ == "__main__":
    if len(sys.argv) == 2:
        print(json.dumps(turn(Path(sys.argv[1]))))
    else:
        main()
