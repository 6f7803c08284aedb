"""How well a selector finds what a question needs, where the seconds that show the answer are known.

Legend: V pairs of a sample and a video it shows, G groups, P tokens a group.
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torchmetrics import MeanMetric

from recot.models.selection import Selection, evidence_groups, pooled
from recot.models.visual_groups import Spans, VisualGroups


def evidence_found(visual: VisualGroups, selection: Selection, spans: Sequence[Spans]) -> list[dict[str, Tensor]]:
    """How much of the evidence each of V pairs kept. Our choice of measures.

    ``evidence_recall``: of the groups that show the answer, the share with a kept token. ``evidence_tokens``: of their
    tokens, the share kept (the keep ratio, for a selector that knows nothing). ``all_evidence``: whether every group
    that shows the answer has a kept token. ``evidence_auroc``: how often the best token of such a group has a higher
    score than that of another, as the best one decides whether a group is seen at all; of scores that are all equal,
    0.5; it is missing where all groups show the answer.

    Args:
        visual: the videos.
        selection: what was kept of them.
        spans: where each answer is seen, V lists of (start, end) in seconds.

    Returns:
        Scalars by name, V times; none for a pair whose evidence isn't known or isn't shown.
    """
    assert visual.times_s is not None
    measured: list[dict[str, Tensor]] = []
    for pair, evidence in enumerate(evidence_groups(visual.times_s, spans, visual.valid)):
        measured.append({})
        if not evidence.any():
            continue
        kept = selection.kept[pair, evidence].float()
        found = kept.amax(dim=1)
        measured[-1] |= {"evidence_recall": found.mean(), "evidence_tokens": kept.mean(), "all_evidence": found.min()}
        real = visual.valid[pair]
        shows = evidence[real]
        if not shows.all():
            scores = pooled(selection.scores[pair, real], "max")
            measured[-1]["evidence_auroc"] = _auroc(scores[shows], scores[~shows])
    return measured


def _auroc(positive: Tensor, negative: Tensor) -> Tensor:
    """How often one of the first is greater than one of the others, ties half: of a few scores, this is quickest."""
    difference = positive[:, None] - negative
    return (difference.sign().mean() + 1) / 2


class SelectorMetrics(nn.Module):
    """Means of what ``evidence_found`` measures over samples with known evidence; each counts alike, however long."""

    def __init__(self) -> None:
        super().__init__()
        self.evidence_recall = MeanMetric()
        self.evidence_tokens = MeanMetric()
        self.all_evidence = MeanMetric()
        self.evidence_auroc = MeanMetric()

    def update(self, visual: VisualGroups, selection: Selection, spans: Sequence[Spans]) -> None:
        """Add V pairs; arguments as for ``evidence_found``."""
        for measured in evidence_found(visual, selection, spans):
            for name, value in measured.items():
                getattr(self, name).update(value)

    def compute(self) -> dict[str, Tensor]:
        """Scalars by name, over all ranks; none if no sample had evidence."""
        found = {}
        for name, metric in self.named_children():
            assert isinstance(metric, MeanMetric)
            metric.update(0.0, weight=0.0)  # it warns of never having been updated
            # On every rank, whether it had evidence or not: the others wait here.
            found[name] = metric.compute()
        return {name: mean for name, mean in found.items() if not mean.isnan()}

    def reset(self) -> None:
        """Forget all samples."""
        for metric in self.children():
            assert isinstance(metric, MeanMetric)
            metric.reset()
