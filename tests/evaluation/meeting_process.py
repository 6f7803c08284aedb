"""A process of torchrun that works, meets the others, and notes what it found: ``python meeting_process.py FOLDER``."""

import sys
import time
from pathlib import Path

from recot.evaluation.processes import Place, run


def main() -> None:
    folder = Path(sys.argv[1])

    def work(place: Place) -> None:
        time.sleep(2.0 * place.rank)
        (folder / f"{place.rank} of {place.world}").touch()

    sums_up = run(work, 1)
    found = sorted(path.name for path in folder.glob("* of *"))
    # A file each: what two processes print to one pipe may be mixed within a line.
    (folder / f"sums_up={sums_up}").write_text(" and ".join(found))


if __name__ == "__main__":
    main()
