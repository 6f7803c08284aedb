"""``python -m recot.evaluation.report FOLDER [FOLDER ...]``: results of the evaluation as a page."""

import argparse
from pathlib import Path

from recot.errors import DataError, report_errors
from recot.evaluation.report.page import write_report
from recot.evaluation.report.runs import read_runs


def main(arguments: list[str] | None = None) -> None:
    """Write the page and say where; status 2 with one paragraph on stderr where there is nothing to report."""
    parser = argparse.ArgumentParser(
        prog="python -m recot.evaluation.report", description="Results of the evaluation side by side, as a page."
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="holds results, at any depth")
    parser.add_argument("--out", type=Path, help="where report.html and pictures/ go (default: the first FOLDER)")
    given = parser.parse_args(arguments)
    with report_errors():
        runs, unfinished = read_runs(given.folders)
        out = given.out or given.folders[0]
        try:
            print(write_report(out, runs, unfinished))
        except OSError as error:
            raise DataError(f"{out} can't be written ({error.strerror}): choose another one with --out") from error


if __name__ == "__main__":
    main()
