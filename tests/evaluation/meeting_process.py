"""A process of torchrun that works, meets the others, and says what it found: ``python meeting_process.py FOLDER``."""

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
    print(sums_up, sorted(path.name for path in folder.iterdir()))


if __name__ == "__main__":
    main()
