"""When in a video the selector kept tokens: its choice as seconds.

Legend: G groups, P video tokens a group.
"""

from dataclasses import dataclass

import numpy as np

from recot.models.video_lm import Choice

APART = 1 / 20
"""Share of the video by which two top moments lie apart at least, so that they aren't one moment (our choice)."""


@dataclass(frozen=True, eq=False)
class KeptGroups:
    """What stayed of each group of a video."""

    seconds: np.ndarray  # (G, 2) float64, times of its first and last frame
    share: np.ndarray  # (G,) float64, tokens kept over tokens, 0 to 1
    score: np.ndarray  # (G,) float64, mean of its tokens' scores, 0 to 1; 0 where the selector scores nothing
    tokens: int  # P

    @property
    def tokens_seen(self) -> int:
        """Video tokens that the selector was given."""
        return len(self.share) * self.tokens

    @property
    def tokens_kept(self) -> int:
        """Video tokens that the language model was given."""
        return round(float(self.share.sum()) * self.tokens)


def kept_groups(choice: Choice, pair: int = 0) -> KeptGroups:
    """What the selector chose of one video (number ``pair`` of the choice's pairs)."""
    assert choice.visual.times_s is not None
    valid = choice.visual.valid[pair].cpu().numpy()
    kept, scores, times_s = (
        own[pair].detach().cpu().numpy()[valid]
        for own in (choice.selection.kept, choice.selection.scores, choice.visual.times_s)
    )
    return KeptGroups(
        seconds=times_s[:, [0, -1]],
        share=kept.mean(axis=1),
        score=scores.mean(axis=1, dtype=np.float64),
        tokens=kept.shape[1],
    )


def kept_spans(groups: KeptGroups) -> list[tuple[float, float]]:
    """Seconds of which anything was kept: neighbouring groups with a kept token are one span."""
    padded = np.concatenate([[False], groups.share > 0, [False]])
    starts, ends = np.flatnonzero(padded[1:] & ~padded[:-1]), np.flatnonzero(padded[:-1] & ~padded[1:])
    return [(float(groups.seconds[a, 0]), float(groups.seconds[b - 1, 1])) for a, b in zip(starts, ends, strict=True)]


def top_moments(groups: KeptGroups, most: int) -> list[int]:
    """Numbers of up to ``most`` groups of which most was kept, best first: by share, then by score, then by time.

    Each is apart from those before it by ``APART`` of the video, and of each something was kept.
    """
    middle = groups.seconds.mean(axis=1)
    apart = APART * (groups.seconds[-1, 1] - groups.seconds[0, 0])
    found: list[int] = []
    for group in np.lexsort((np.arange(len(middle)), -groups.score, -groups.share)).tolist():
        if len(found) == most or groups.share[group] == 0:
            break
        if all(abs(middle[group] - middle[other]) > apart for other in found):
            found.append(group)
    return found
