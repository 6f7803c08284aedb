"""Linear probes: how much of an attribute can be read off frozen features by a linear map.

Ridge classification on standardised features, solved in closed form over clips (there are fewer clips than
dimensions). Every representation goes through the same probe with the same search of its regularisation, on training
clips alone. Our choice throughout.

Legend: N training clips, M test clips, D dimensions, K classes.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

VALIDATION_SHARE = 0.2
REGULARISATION = tuple(10.0**exponent for exponent in torch.arange(-4, 3.1, 0.5).tolist())
"""Penalties tried, in units of the mean eigenvalue of the clips' Gram matrix: they mean the same in every width."""
DRAWS = 2000
Z95 = 1.959964


@dataclass(frozen=True, eq=False)
class ProbeResult:
    """What a probe reached on test clips.

    Attributes:
        correct: (M,) bool, by test clip.
        train_clips: N.
        regularisation: the penalty that validation chose, one of ``REGULARISATION``.
    """

    correct: Tensor
    train_clips: int
    regularisation: float

    @property
    def accuracy(self) -> float:
        """Share of the test clips."""
        return float(self.correct.double().mean())

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the accuracy."""
        return wilson(int(self.correct.sum()), len(self.correct))


def linear_probe(features: Tensor, labels: Tensor, test_features: Tensor, test_labels: Tensor) -> ProbeResult:
    """Fit on training clips and count on test clips.

    The last fifth of the training clips chooses the penalty (on a tie, the largest); the probe is then fitted to all.

    Args:
        features: (N, ...) float, flattened to D dimensions.
        labels: (N,) int64 in 0..K-1, in random order.
        test_features: (M, ...).
        test_labels: (M,) int64.

    Raises:
        ValueError: if there are fewer than 10 training clips, or features that aren't finite.
    """
    if len(features) < 10:
        raise ValueError(f"a probe needs at least 10 training clips, got {len(features)}")
    train, test = _standardise(features.flatten(1).float(), test_features.flatten(1).float())
    if not (train.isfinite().all() and test.isfinite().all()):
        raise ValueError("features for a probe must be finite, got NaN or infinity")
    gram, cross = (train @ train.T).double(), (test @ train.T).double()
    targets = F.one_hot(labels, int(max(labels.max(), test_labels.max())) + 1).double()
    fit = len(train) - round(VALIDATION_SHARE * len(train))
    held_out = _Ridge(gram[:fit, :fit], targets[:fit])
    hits = {p: int((held_out.predict(gram[fit:, :fit], p) == labels[fit:]).sum()) for p in REGULARISATION}
    best = max(REGULARISATION, key=lambda penalty: (hits[penalty], penalty))
    predicted = _Ridge(gram, targets).predict(cross, best)
    return ProbeResult(predicted == test_labels, len(train), best)


class _Ridge:
    """Ridge regression in its dual form: one decomposition of the Gram matrix for all penalties."""

    def __init__(self, gram: Tensor, targets: Tensor) -> None:
        self.mean = targets.mean(dim=0)
        self.values, self.vectors = torch.linalg.eigh(gram)
        self.projected = self.vectors.T @ (targets - self.mean)
        self.unit = self.values.mean()

    def predict(self, cross: Tensor, penalty: float) -> Tensor:
        """(M, N) products with the fitted clips -> (M,) classes."""
        weights = self.vectors @ (self.projected / (self.values.clamp(min=0) + penalty * self.unit)[:, None])
        return (cross @ weights + self.mean).argmax(dim=1)


def _standardise(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    """Mean 0 and variance 1 in every dimension over the training clips; constant dimensions become 0."""
    mean, spread = train.mean(dim=0), train.std(dim=0)
    scale = torch.where(spread > 1e-6 * spread.max(), 1 / spread, 0.0)
    return (train - mean) * scale, (test - mean) * scale


def wilson(hits: int, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share."""
    share, z2 = hits / count, Z95**2
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = Z95 * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2)) / (1 + z2 / count)
    return max(0.0, middle - half), min(1.0, middle + half)


def ratio_interval(correct: Tensor, reference: Tensor, seed: int = 0) -> tuple[float, float]:
    """95 % bootstrap interval of the ratio of two accuracies on the same test clips.

    Args:
        correct: (M,) bool.
        reference: (M,) bool, of the probe divided by.
        seed: of the resampling.
    """
    generator = torch.Generator().manual_seed(seed)
    draws = torch.randint(len(correct), (DRAWS, len(correct)), generator=generator)
    ratios = correct.double()[draws].mean(dim=1) / reference.double()[draws].mean(dim=1)
    low, high = ratios.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return low, high
