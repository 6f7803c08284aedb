"""``python -m recot.evaluation.haystack --out DIR --videos N --frames F --seed S``: videos to put needles into.

They are the tiny world's, without the objects that are needles: each video lacks some, and a JSON beside it says which.
"""

import argparse
import sys
from pathlib import Path

from tqdm import tqdm

from recot.atomic import new_folder, write_file
from recot.errors import report_errors
from recot.evaluation.needles import without
from recot.randomness import keyed_rng
from recot.tiny_world.export import check_split
from recot.tiny_world.render import render
from recot.tiny_world.rendering import to_json
from recot.tiny_world.splits import Split
from recot.tiny_world.video import encode_mp4
from recot.tiny_world.vocabulary import OBJECTS

ABSENT = 8
"""Objects that a video lacks (our choice)."""


def make_haystacks(out: Path, split: Split) -> None:
    """Write ``<number>.mp4`` and ``<number>.json`` (``absent``: objects that the video doesn't show) into a new folder.

    Raises:
        ConfigError: if no such videos can be made.
        DataError: if ``out`` can't be written, or exists and isn't an empty folder.
    """
    check_split(split)
    with new_folder(out) as folder:
        for number, scene in enumerate(tqdm(split, desc="rendering", unit="video")):
            drawn = keyed_rng("haystack", scene.seed).permutation(len(OBJECTS))[:ABSENT]
            absent = sorted(OBJECTS[i] for i in drawn)
            shown = without(scene, set(absent))
            content = encode_mp4(render(shown), size=shown.size, fps=shown.fps)
            write_file(folder / f"{number:06d}.mp4", content)
            write_file(folder / f"{number:06d}.json", to_json({"absent": absent}))


def main(arguments: list[str] | None = None) -> None:
    """Write the folder and say so; status 2 with one paragraph on stderr where it can't be made."""
    parser = argparse.ArgumentParser(
        prog="python -m recot.evaluation.haystack", description="Videos to put needles into."
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to make; must not exist, or be empty")
    parser.add_argument("--videos", type=int, required=True, help="how many videos")
    parser.add_argument("--frames", type=int, required=True, help="frames a video: at least the greatest length")
    parser.add_argument("--seed", type=int, required=True, help="another seed gives other videos")
    given = parser.parse_args(arguments)
    with report_errors():
        make_haystacks(given.out, Split(world=given.seed, name="test", videos=given.videos, frames=given.frames))
        sys.stdout.write(f"{given.videos} videos in {given.out}\n")


if __name__ == "__main__":
    main()
