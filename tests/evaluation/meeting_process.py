"""A process of torchrun that works and meets the others, three times, as in a sweep, and notes what it found each time.

python meeting_process.py FOLDER
"""

import sys
import time
from pathlib import Path

from recot.evaluation.processes import Place, run


def main() -> None:
    folder = Path(sys.argv[1])

    for job in range(3):

        def work(place: Place, job: int = job) -> None:
            time.sleep(1.0 * place.rank)
            (folder / f"job {job}: {place.rank} of {place.world}").touch()

        sums_up = run(work, 1)
        found = sorted(path.name for path in folder.glob(f"job {job}: *"))
        # A file each: what two processes print to one pipe may be mixed within a line.
        (folder / f"{job} sums_up={sums_up}").write_text(" and ".join(found))


if __name__ == "__main__":
    main()
