"""The selector's measures against numbers worked out by hand."""

import pytest
import torch
from torchmetrics.functional.classification import binary_auroc

from recot.evaluation.selector_metrics import SelectorMetrics, evidence_found
from recot.models.selection import Selection
from recot.models.visual_groups import VisualGroups


def test_measures_by_hand() -> None:
    """Four groups of two tokens, a second each; two samples, and one whose evidence isn't known."""
    times_s = torch.arange(4, dtype=torch.float64)[None, :, None] + torch.tensor([0.0, 0.9], dtype=torch.float64)
    visual = VisualGroups(
        tokens=torch.zeros(3, 4, 2, 1),
        time=torch.zeros(3, 4, 1, 1),
        time_valid=torch.ones(3, 4, 1, dtype=torch.bool),
        valid=torch.tensor([[True] * 4, [True, True, True, False], [True] * 4]),
        times_s=times_s.expand(3, -1, -1),
    )
    kept = torch.zeros(3, 4, 2, dtype=torch.bool)
    kept[0, 1] = True  # evidence: groups 1 and 2
    kept[1, 0, 0] = kept[1, 2, 1] = True  # evidence: group 0
    scores = torch.tensor(
        [
            [[0.1, 0.1], [0.9, 0.9], [0.6, 0.0], [0.5, 0.5]],
            [[0.2, 0.0], [0.8, 0.8], [0.05, 0.0], [1.0, 1.0]],
            [[0.0, 1.0]] * 4,
        ]
    )
    metrics = SelectorMetrics()
    assert metrics.compute() == {}
    metrics.update(visual, Selection(kept, scores, scores, ["all"] * 3), [[(1.2, 2.5)], [(0.0, 0.3)], []])
    found = {name: value.item() for name, value in metrics.compute().items()}
    assert found == pytest.approx(
        {
            "evidence_recall": (1 / 2 + 1) / 2,
            "evidence_tokens": (2 / 4 + 1 / 2) / 2,
            "all_evidence": (0 + 1) / 2,
            "evidence_auroc": (1 + 1 / 2) / 2,  # best tokens: 0.9 and 0.6 beat 0.1 and 0.5; 0.2 beats 0.05, not 0.8
        }
    )
    metrics.reset()
    assert metrics.compute() == {}


@pytest.mark.parametrize("kinds", [3, 1000])
def test_auroc_is_torchmetrics_s_with_ties_too(kinds: int) -> None:
    generator = torch.Generator().manual_seed(kinds)
    scores = torch.randint(kinds, (40, 1), generator=generator) / kinds  # torchmetrics takes others for logits
    times_s = torch.arange(40, dtype=torch.float64)[:, None] + torch.tensor([0.0, 0.9], dtype=torch.float64)
    visual = VisualGroups(
        tokens=torch.zeros(1, 40, 1, 1),
        time=torch.zeros(1, 40, 1, 1),
        time_valid=torch.ones(1, 40, 1, dtype=torch.bool),
        valid=torch.ones(1, 40, dtype=torch.bool),
        times_s=times_s[None],
    )
    selection = Selection(torch.ones(1, 40, 1, dtype=torch.bool), scores[None], scores[None], ["all"])
    (found,) = evidence_found(visual, selection, [[(5.0, 11.5), (30.0, 30.5)]])
    shows = torch.tensor([5 <= i <= 11 or i == 30 for i in range(40)])
    assert found["evidence_auroc"].item() == pytest.approx(binary_auroc(scores[:, 0], shows.long()).item(), abs=1e-6)
