"""A choice of tokens as seconds, against values counted by hand."""

import numpy as np
import pytest

from recot.inference.moments import KeptGroups, kept_groups, kept_spans, top_moments
from recot.inference.timeline import cell_shares, timeline
from recot.models.selection import KeepRule
from tests.models.tiny_video_lm import sample, tiny_video_lm, video


def groups(share: list[float], score: list[float] | None = None, *, step_s: float = 0.5) -> KeptGroups:
    """Groups that begin ``step_s`` apart, 4 frames each."""
    starts = np.arange(len(share)) * step_s
    return KeptGroups(
        seconds=np.stack([starts, starts + 0.75 * step_s], axis=1),
        share=np.array(share, dtype=np.float64),
        score=np.zeros(len(share)) if score is None else np.array(score),
        tokens=16,
    )


def test_spans_join_neighbours_of_which_anything_was_kept() -> None:
    own = groups([0.25, 1, 0, 0, 0.0625, 0, 1])
    assert kept_spans(own) == [(0.0, 0.875), (2.0, 2.375), (3.0, 3.375)]
    assert kept_spans(groups([0, 0])) == []
    assert own.tokens_seen == 7 * 16
    assert own.tokens_kept == 4 + 16 + 1 + 16


def test_top_moments_lie_apart_and_are_ranked_by_share_then_score() -> None:
    share = [0.0] * 40
    share[10:13] = [0.5, 0.75, 0.5]
    share[20], share[30], share[39] = 0.5, 0.5, 0.25
    score = [0.1] * 40
    score[30] = 0.9
    # 12 is within a twentieth of 19.875 s of 11; 13 would be too.
    assert top_moments(groups(share, score), 3) == [11, 30, 20]
    assert top_moments(groups(share, score), 9) == [11, 30, 20, 39]
    assert top_moments(groups([0.0, 0.0]), 3) == []


@pytest.mark.parametrize(
    ("encoding", "drawn"),
    [("utf-8", "█▄  ▁▁  █ "), ("ascii", "@+  ..  @ "), (None, "@+  ..  @ "), ("odd", "@+  ..  @ ")],
)
def test_a_timeline_is_drawn_with_what_the_terminal_has(encoding: str | None, drawn: str) -> None:
    own = groups([1, 0.5, 0, 0, 0.1, 0.05, 0, 0, 1, 0], step_s=1.0)
    own.seconds[-1, 1] = 10.0
    assert timeline(own, cells=10, encoding=encoding) == f"0.0 s |{drawn}| 10.0 s"


def test_cells_average_what_is_on_screen() -> None:
    own = groups([1, 0, 0.5, 0.5], step_s=1.0)
    own.seconds[-1, 1] = 4.0
    assert cell_shares(own, 2).tolist() == [0.5, 0.5]
    assert cell_shares(own, 1).tolist() == [0.5]
    assert cell_shares(own, 8).tolist() == [1, 1, 0, 0, 0.5, 0.5, 0.5, 0.5]
    still = groups([0.25])
    still.seconds[:] = 3.0
    assert cell_shares(still, 5).tolist() == [0.25] * 5


def test_groups_are_those_of_the_selection() -> None:
    model = tiny_video_lm()
    visuals = [video(3, 1), video(5, 2)]
    asked = [sample("What moves?", (0,)), sample("When?", (1,))]
    rules = [KeepRule(budget=7), KeepRule(ratio=0.5)]
    choice = model.choose(visuals, model.compress(visuals), asked, rules)
    assert choice is not None
    for pair, (length, kept) in enumerate([(3, 7), (5, 40)]):
        own = kept_groups(choice, pair)
        assert own.share.shape == own.score.shape == (length,)
        assert (own.tokens_seen, own.tokens_kept) == (length * 16, kept)
        assert own.seconds.tolist() == visuals[pair].times_s[:, [0, 3]].tolist()
        assert own.score[0] == pytest.approx(choice.selection.scores[pair, 0].mean().item())
