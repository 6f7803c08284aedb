"""How well a selector finds what a question needs, where the seconds that show the answer are known.

Legend: V pairs of a sample and a video it shows, G groups, P tokens a group.
"""

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric
from torchmetrics.functional.classification import binary_auroc

from recot.models.selection import Selection, evidence_groups
from recot.models.visual_groups import Spans, VisualGroups


class SelectorMetrics(nn.Module):
    """Means over samples with known evidence; each counts alike, however long. Our choice of measures.

    ``evidence_recall``: of the groups that show the answer, the share with a kept token. ``evidence_tokens``: of their
    tokens, the share kept (the keep ratio, for a selector that knows nothing). ``all_evidence``: whether every group
    that shows the answer has a kept token. ``evidence_auroc``: how often such a group has a higher mean score than
    another; of scores that are all equal, 0.5.
    """

    def __init__(self) -> None:
        super().__init__()
        self.evidence_recall = MeanMetric()
        self.evidence_tokens = MeanMetric()
        self.all_evidence = MeanMetric()
        self.evidence_auroc = MeanMetric()

    def update(self, visual: VisualGroups, selection: Selection, spans: list[Spans]) -> None:
        """Add V pairs; those without spans count nowhere.

        Args:
            visual: the videos.
            selection: what was kept of them.
            spans: where each answer is seen, V lists of (start, end) in seconds.
        """
        assert visual.seconds is not None
        evidence = evidence_groups(visual.seconds, spans, visual.valid)
        for pair in evidence.any(dim=1).nonzero()[:, 0].tolist():
            shown, real = evidence[pair], visual.valid[pair]
            kept = selection.kept[pair, shown].float()
            found = kept.amax(dim=1)
            self.evidence_recall.update(found.mean())
            self.evidence_tokens.update(kept.mean())
            self.all_evidence.update(found.min())
            if not shown[real].all():
                scores = selection.scores[pair, real].mean(dim=1)
                self.evidence_auroc.update(binary_auroc(scores, shown[real].long()))

    def compute(self) -> dict[str, Tensor]:
        """Scalars by name; none if no sample had evidence."""
        return {
            name: metric.compute()
            for name, metric in self.named_children()
            if isinstance(metric, MeanMetric) and bool(torch.as_tensor(metric.weight) > 0)
        }

    def reset(self) -> None:
        """Forget all samples."""
        for metric in self.children():
            assert isinstance(metric, MeanMetric)
            metric.reset()
