"""A process that answers questions into a results folder: ``python write_results.py FOLDER RANK WORLD [LIMIT_BYTES]``.

It dies as if killed when a file grows over the limit in the middle of a line, or says that the disk is full.
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
    if len(sys.argv) > 4:
        limit = int(sys.argv[4])
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    with report_errors():
        results = ResultsFolder(folder, RUN)
        done = results.read().results
        for item in share(ITEMS, rank, world):
            if item.id in done:
                continue
            if item.video_id == "v7":
                results.add(Failure(item.id, item.video_id, "decode_failed", "v7.mp4: damaged"))
            else:
                results.add(judge(item, "ABCD"[int(item.id[1:]) % 3], {"frames": 64, "spans": [[0.0, 1.5]]}))
            print(item.id, flush=True)


if __name__ == "__main__":
    main()
