"""Ask a model about a video of the tiny world, whose right answers are known: ``python -m recot.quiz VIDEO.json``.

Each question is one call of ``recot ask``, which is printed, so that it can be given again with other words.
"""

import argparse
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recot import cli
from recot.data.qa_text import LETTERS, question_text
from recot.data.schema import QA, build_typed
from recot.errors import DataError, report_errors


def main(arguments: list[str] | None = None) -> None:
    """Ask questions with options, each of another task, and say what would be right."""
    parser = argparse.ArgumentParser(prog="python -m recot.quiz", description="Questions with known answers.")
    parser.add_argument("truth", metavar="VIDEO.json", type=Path, help="of a tiny world, beside VIDEO.mp4")
    parser.add_argument("--checkpoint", type=Path, help="model (default: the tiny demo's)")
    parser.add_argument("--questions", type=int, default=3, metavar="N", help="how many")
    parser.add_argument("--plots", type=Path, metavar="FOLDER", help="draw what was kept of the video for each")
    wanted = parser.parse_args(arguments)
    with report_errors():
        asked = questions_of(wanted.truth, wanted.questions)
    for number, qa in enumerate(asked, 1):
        call = ["ask", str(wanted.truth.with_suffix(".mp4")), question_text(qa)]
        if wanted.checkpoint is not None:
            call += ["--checkpoint", str(wanted.checkpoint)]
        if wanted.plots is not None:
            call += ["--plot", str(wanted.plots / f"question{number}.png")]
        print(f"\n{question_text(qa)}\n\n$ recot {shlex.join(call)}", flush=True)
        cli.main(call)
        where = ", ".join(f"{start:.1f} to {end:.1f} s" for start, end in qa.evidence)
        print(f"Right: {LETTERS[qa.options.index(qa.answer)]}. {qa.answer} (seen from {where})", flush=True)


def questions_of(truth: Path, count: int) -> Sequence[QA]:
    """The first questions with options whose evidence is known, of different tasks where there are enough.

    Raises:
        DataError: if the file isn't a tiny-world video's.
    """
    try:
        told: dict[str, Any] = json.loads(truth.read_text())
        every = [build_typed(QA, qa) for qa in told["qa"]]
        whole = [[0.0, float(told["duration_s"])]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{truth}: not the JSON of a tiny-world video ({error}). Make some with `python -m recot.tiny_world --out "
            "DIR --videos 1 --frames 512 --seed 0`; they are in DIR/videos."
        ) from error
    choices = [qa for qa in every if qa.options and qa.evidence != whole]
    first = {qa.task_type: qa for qa in reversed(choices)}.values()
    rest = [qa for qa in choices if qa not in first]
    return [*sorted(first, key=choices.index), *rest][:count]


if __name__ == "__main__":
    main()
