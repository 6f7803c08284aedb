"""``python -m recot.evaluation.shortcuts --train DIR_A --test DIR_B [--out FILE.json]``."""

import argparse
import json
import os
import platform
import sys
from datetime import date
from pathlib import Path

import numpy as np
import sklearn

from recot.atomic import write_file
from recot.errors import ConfigError, report_errors
from recot.evaluation.shortcuts.free_form import free_form
from recot.evaluation.shortcuts.measure import measure
from recot.evaluation.shortcuts.questions import read_folder
from recot.evaluation.shortcuts.report import markdown


def main(arguments: list[str] | None = None) -> None:
    """Print the report; with ``--out``, write it too. Status 1 if a classifier's accuracy is not that of chance."""
    parser = argparse.ArgumentParser(
        prog="python -m recot.evaluation.shortcuts",
        description="Can the tiny world's questions be answered without watching? Status 1 if they can.",
    )
    parser.add_argument("--train", type=Path, required=True, help="folder of python -m recot.tiny_world")
    parser.add_argument("--test", type=Path, required=True, help="the same with --split test")
    parser.add_argument("--out", type=Path, help="FILE.json to write, with FILE.md beside it")
    wanted = parser.parse_args(sys.argv[1:] if arguments is None else arguments)
    with report_errors():
        if wanted.out is not None and (wanted.out.suffix != ".json" or not wanted.out.parent.is_dir()):
            raise ConfigError(f"--out is {wanted.out}: expected a name that ends in .json, in a folder that exists.")
        train, test = read_folder(wanted.train), read_folder(wanted.test)
        setting = {
            "command": f"python -m recot.evaluation.shortcuts --train {wanted.train} --test {wanted.test}"
            + (f" --out {wanted.out}" if wanted.out else ""),
            "scenes": f"{len(train.scenes)} for training, {len(test.scenes)} for the test",
            "questions": f"{len(train.choices)} for training, {len(test.choices)} for the test, multiple-choice",
            "hardware": f"{platform.machine()}, {os.cpu_count()} cores",
            "versions": f"Python {platform.python_version()}, scikit-learn {sklearn.__version__}, "
            f"NumPy {np.__version__}",
            "date": str(date.today()),
        }
        results = measure(train.choices, test.choices, lambda name: print(f"{name} ...", file=sys.stderr, flush=True))
        free = free_form(train.opens, test.opens)
        report = markdown(setting, results, free)
        print(report, end="")
        if wanted.out is not None:
            content = {"setting": setting, "classifiers": results, "free_form": free}
            write_file(wanted.out, (json.dumps(content, indent=1) + "\n").encode())
            write_file(wanted.out.with_suffix(".md"), report.encode())
    if not all(result["overall"]["inside"] for result in results.values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
