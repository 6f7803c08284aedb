"""A process that answers questions into a results folder: ``... FOLDER RANK WORLD [LIMIT_BYTES [HOLD]]``.

Where a file would grow over the limit, it says that the disk is full; 0 sets none. After ``HOLD`` answers it waits to
be killed.
"""

import resource
import sys
from pathlib import Path

from recot.errors import report_errors
from recot.evaluation.answers import judge
from recot.evaluation.items import Failure, Item, share
from recot.evaluation.results import ResultsFolder

RUN = {"suite": "tiny_world", "settings": {"frames": 64}}
ITEMS = [
    Item(
        id=f"q{i}",
        video_id=f"v{i // 3}",
        video=Path("x.mp4"),
        question="?",
        form="letter",
        options=("a", "b", "c", "d"),
        right=i % 4,
        groups={"task": (("needle", "order")[i % 2],)},
    )
    for i in range(60)
]


def main() -> None:
    folder, rank, world = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    limit, hold = (int(sys.argv[i]) if len(sys.argv) > i else 0 for i in (4, 5))
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    with report_errors():
        results = ResultsFolder(folder, RUN)
        done = results.read().results
        for number, item in enumerate(share(ITEMS, rank, world)):
            if hold and number == hold:
                sys.stdin.read()
            if item.id in done:
                continue
            if item.video_id == "v7":
                results.add(Failure(item.id, item.video_id, "decode_failed", "v7.mp4: damaged"))
            else:
                results.add(judge(item, "ABCD"[int(item.id[1:]) % 3], {"frames": 64, "spans": [[0.0, 1.5]]}))
            print(item.id, flush=True)


if __name__ == "__main__":
    main()
