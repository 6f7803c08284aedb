"""The console script: ``recot ask VIDEO "question"``."""

import argparse
import errno
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from textwrap import shorten

import torch

from recot.checkpoints.hf_folder import DTYPES, load_video_lm, read_inference
from recot.checkpoints.inference import Inference
from recot.errors import ConfigError, report_errors
from recot.inference.ask import LIMITS, Answer, ask, check_question
from recot.inference.moments import top_moments
from recot.inference.picture import moments_figure, thumbnails
from recot.inference.report import MOMENTS, facts, lines
from recot.inference.video import ChosenFrames, choose_frames

DEMO_CHECKPOINT = Path(str(files("recot.tiny_world") / "demo_checkpoint"))
TITLE_LETTERS = 100
IMAGES = (".png", ".jpg", ".jpeg")


def main(arguments: list[str] | None = None) -> None:
    """Run a subcommand; status 2 with one paragraph on stderr where what was asked for can't be done."""
    parser = argparse.ArgumentParser(prog="recot", description="Long videos and a language model.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_ask(commands.add_parser("ask", help="ask a question about a video or an image"))
    wanted = parser.parse_args(arguments)
    with report_errors():
        wanted.run(wanted)


def _add_ask(parser: argparse.ArgumentParser) -> None:
    parser.description = "Answer a question about a video of any length, or about an image."
    parser.add_argument("video", metavar="VIDEO", type=Path, help=f"a video file, or an image ({', '.join(IMAGES)})")
    parser.add_argument("question", help="in plain words; a quarter of what the model reads at most")
    parser.add_argument(
        "--checkpoint", type=Path, default=DEMO_CHECKPOINT, metavar="FOLDER", help="model (default: the tiny demo's)"
    )
    parser.add_argument("--dtype", choices=DTYPES, help="of the weights while they are used")
    keep = parser.add_mutually_exclusive_group()
    keep.add_argument("--keep", type=float, metavar="RATIO", help="part of the video's tokens that is read, e.g. 0.25")
    keep.add_argument("--budget", type=int, metavar="N", help="video tokens that are read")
    parser.add_argument("--times", choices=("all", "kept"), help="read all times, or those of what is kept only")
    parser.add_argument("--fps", type=float, help="frames seen of a second of video")
    parser.add_argument("--max-frames", type=int, metavar="N", help="most frames, spread evenly over a longer video")
    parser.add_argument("--max-new-tokens", type=int, metavar="N", help="longest answer")
    parser.add_argument("--temperature", type=float, metavar="T", help="0: the likeliest answer; above: drawn")
    parser.add_argument("--seed", type=int, help="of what is drawn")
    parser.add_argument("--json", action="store_true", help="write one JSON object and nothing else to stdout")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw scores over time, and the top moments")
    parser.epilog = "Unset options are the checkpoint's."
    parser.set_defaults(run=_ask)


def _ask(wanted: argparse.Namespace) -> None:
    with _options_named(wanted):
        _answer(wanted)


@contextmanager
def _options_named(wanted: argparse.Namespace) -> Iterator[None]:
    """Errors about a setting of the selector name the option that was typed."""
    try:
        yield
    except ConfigError as error:
        message = str(error)
        for option, key in (("keep", "ratio"), ("budget", "budget")):
            if getattr(wanted, option) is not None:
                message = message.replace(f"keep {key}=", f"--{option} ")
        raise ConfigError(message) from error


def _answer(wanted: argparse.Namespace) -> None:
    """What takes no time is checked before the model is loaded."""
    check_question(wanted.question)
    inference = _changed(read_inference(wanted.checkpoint), wanted)
    image = wanted.video.suffix.lower() in IMAGES
    if wanted.plot is not None:
        _check_plot(wanted.plot)
    chosen = None if image else choose_frames(wanted.video, inference.sampling, LIMITS)
    if wanted.plot is not None and (chosen is None or chosen.still):
        what = "is an image" if image else "is seen at one frame: set --fps or --max-frames higher"
        raise ConfigError(f"--plot {wanted.plot}: shows a video over time, but {wanted.video} {what}")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model, _ = load_video_lm(wanted.checkpoint, dtype=wanted.dtype, device=device)
    answer = ask(
        model,
        wanted.video,
        chosen,
        wanted.question,
        frame_size=inference.frame_size,
        rule=inference.keep,
        settings=inference.generation,
        on_text=None if wanted.json else _say,
        progress=True,
    )
    if wanted.json:
        _say(json.dumps(facts(answer) | {"checkpoint": str(wanted.checkpoint)}) + "\n")
    else:
        _say("\n\n" + "\n".join(lines(answer, encoding=sys.stdout.encoding)) + "\n")
    if wanted.plot is not None and chosen is not None:
        _plot(answer, wanted.video, chosen, wanted.question, wanted.plot)


def _changed(inference: Inference, wanted: argparse.Namespace) -> Inference:
    """The checkpoint's settings with those of the command line.

    Raises:
        ConfigError: if a value is impossible.
    """
    keep, sampling, generation = inference.keep, inference.sampling, inference.generation
    if wanted.keep is not None or wanted.budget is not None:
        keep = replace(keep, ratio=wanted.keep, budget=wanted.budget, threshold=None)
    if wanted.times is not None:
        keep = replace(keep, times=wanted.times)
    if wanted.fps is not None:
        sampling = replace(sampling, fps=wanted.fps, count=None, stride=None)
    if wanted.max_frames is not None:
        sampling = replace(sampling, max_frames=wanted.max_frames)
    given = {name: getattr(wanted, name) for name in ("max_new_tokens", "temperature", "seed")}
    generation = replace(generation, **{name: value for name, value in given.items() if value is not None})
    return replace(inference, keep=keep, sampling=sampling, generation=generation)


def _say(text: str) -> None:
    encoding = sys.stdout.encoding or "ascii"
    sys.stdout.write(text.encode(encoding, errors="replace").decode(encoding))
    sys.stdout.flush()


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Makes what stands in the way of a file a ``ConfigError``."""
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"--plot {path}: no file can be written there ({error.strerror}); give another path"
        ) from error


def _check_plot(path: Path) -> None:
    """Before anything is computed: whether a PNG of this name can be made."""
    if path.suffix.lower() != ".png" and not path.is_dir():
        raise ConfigError(f"--plot {path}: a PNG is drawn; give a name that ends in .png")
    with _writing(path):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass


def _plot(answer: Answer, video: Path, chosen: ChosenFrames, question: str, path: Path) -> None:
    assert answer.groups is not None
    numbers = top_moments(answer.groups, MOMENTS)
    frames = thumbnails(video, chosen, answer.groups, numbers, LIMITS)
    title = "\n".join(shorten(text, TITLE_LETTERS) for text in (question, answer.reply.text))
    with _writing(path):
        moments_figure(answer.groups, numbers, frames, title=title, path=path)


if __name__ == "__main__":
    main()
