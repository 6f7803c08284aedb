"""What was kept of a video, as one line of text."""

import numpy as np

from recot.inference.moments import KeptGroups

BLOCKS = " ▁▂▃▄▅▆▇█"
ASCII = " .:-=+*#%@"


def timeline(groups: KeptGroups, *, cells: int, encoding: str | None) -> str:
    """A line such as ``0.0 s |  ▁▃█▁   | 31.5 s``.

    Each cell shows which share of its time's tokens was kept: blank for none, then in equal steps up to all.

    Args:
        groups: of one video.
        cells: how many, from the first to the last frame.
        encoding: of the terminal; where it has no block characters, these become ASCII. None is taken for ASCII.
    """
    levels = BLOCKS if _can_show(BLOCKS, encoding) else ASCII
    shares = cell_shares(groups, cells)
    drawn = "".join(levels[int(np.ceil(share * (len(levels) - 1) - 1e-9))] for share in shares)
    return f"{groups.seconds[0, 0]:.1f} s |{drawn}| {groups.seconds[-1, 1]:.1f} s"


def cell_shares(groups: KeptGroups, cells: int) -> np.ndarray:
    """(cells,) mean kept share of the groups that are on screen at any time of each cell.

    A group is on screen until the next one begins.
    """
    starts = groups.seconds[:, 0]
    edges = np.linspace(starts[0], groups.seconds[-1, 1], cells + 1)
    first = np.searchsorted(starts, edges[:-1], side="right") - 1
    after = np.maximum(np.searchsorted(starts, edges[1:], side="left"), first + 1)
    total = np.concatenate([[0.0], np.cumsum(groups.share)])
    return (total[after] - total[first]) / (after - first)


def _can_show(text: str, encoding: str | None) -> bool:
    try:
        text.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
