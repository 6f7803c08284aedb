"""``python -m recot.tiny_world --out DIR --videos N --frames F --seed S``: videos as plain files."""

import argparse
from pathlib import Path

from recot.errors import report_errors
from recot.tiny_world.export import export
from recot.tiny_world.junk.corpus import export_corpus
from recot.tiny_world.junk.plan import Corpus
from recot.tiny_world.scene import DEFAULT_FPS, DEFAULT_SIZE
from recot.tiny_world.splits import SPLITS, Split


def main(arguments: list[str] | None = None) -> None:
    """Write the files and say where; status 2 with one paragraph on stderr where the request can't be met."""
    parser = argparse.ArgumentParser(prog="python -m recot.tiny_world", description="Seeded videos of moving shapes.")
    parser.add_argument("--out", type=Path, required=True, help="folder to make; must not exist, or be empty")
    parser.add_argument("--videos", type=int, required=True, help="how many videos")
    parser.add_argument("--frames", type=int, required=True, help="frames a video")
    parser.add_argument("--seed", type=int, required=True, help="another seed gives other videos")
    parser.add_argument("--size", type=int, default=DEFAULT_SIZE, help="side in pixels, even (default: %(default)s)")
    parser.add_argument("--split", choices=SPLITS, default="train", help="no two have a scene in common")
    parser.add_argument("--twins", action="store_true", help="every second video answers the same questions otherwise")
    parser.add_argument("--fps", type=float, default=DEFAULT_FPS, help="frames a second (default: %(default)s)")
    parser.add_argument("--junk", type=float, help="make a corpus of which this part is planted junk, with labels")
    wanted = parser.parse_args(arguments)
    with report_errors():
        split = Split(
            world=wanted.seed,
            name=wanted.split,
            videos=wanted.videos,
            frames=wanted.frames,
            size=wanted.size,
            fps=wanted.fps,
            twins=wanted.twins,
        )
        if wanted.junk is not None:
            export_corpus(wanted.out, Corpus(split, wanted.junk))
            print(f"{wanted.videos} videos, {wanted.junk:.0%} of them junk, evaluation set and labels in {wanted.out}")
            return
        export(wanted.out, split)
    print(f"{wanted.videos} videos with ground truth, annotations.json and contact_sheet.png in {wanted.out}")


if __name__ == "__main__":
    main()
