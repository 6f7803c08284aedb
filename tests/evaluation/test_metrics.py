"""Validation measures against NumPy, batch by batch or at once."""

import numpy as np
import torch

from recot.evaluation.metrics import REORDERING, OrderSensitivity, ReconstructionMetrics, moving_tokens


def batch(seed: int, groups: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    target = torch.randn(groups, 4, 4, 4, 8, generator=generator)
    predicted = target + 0.3 * torch.randn(groups, 4, 4, 4, 8, generator=generator)
    masked = torch.rand(groups, 4, 4, 4, generator=generator) < 0.5
    valid = torch.ones(groups, 4, dtype=torch.bool)
    valid[-1, 2:] = False
    return predicted, target, masked, valid


def explained(predicted: np.ndarray, target: np.ndarray) -> float:
    error = target - predicted
    return float(1 - error.var(axis=0).sum() / target.var(axis=0).sum())


def test_against_numpy_and_independent_of_batching() -> None:
    batches = [batch(0, 3), batch(1, 5)]
    metrics = ReconstructionMetrics(width=8)
    for parts in batches:
        metrics.update(*parts)
        metrics.order_sensitivity.update(parts[0][:, 0], parts[1][:, 0])
    got = {name: value.item() for name, value in metrics.compute().items()}
    predicted, target, masked, valid = (torch.cat(parts) for parts in zip(*batches, strict=True))
    real = valid[:, :, None, None].expand_as(masked)
    for which, where in (("masked", masked & real), ("visible", ~masked & real)):
        expected = explained(predicted[where].numpy(), target[where].numpy())
        np.testing.assert_allclose(got[f"explained_variance_{which}"], expected, rtol=1e-5)
        cosine = torch.nn.functional.cosine_similarity(predicted[where], target[where], dim=-1).mean()
        np.testing.assert_allclose(got[f"cosine_{which}"], cosine, rtol=1e-5)
    np.testing.assert_allclose(got["baseline_interpolation/explained_variance_visible"], 1.0, rtol=1e-6)
    moving = moving_tokens(target) & real[:, 1:]
    np.testing.assert_allclose(got["masked_given_moving"], masked[:, 1:][moving].float().mean(), rtol=1e-5)
    z, y = predicted[:, 0].double(), target[:, 0].double()
    spread = (z - z.mean(dim=(0, 1, 2))).square().sum(-1).mean()
    np.testing.assert_allclose(got["order_sensitivity"], ((z - y).square().sum(-1).mean() / spread).sqrt(), rtol=1e-5)
    metrics.reset()
    metrics.update(*batches[0])
    metrics.order_sensitivity.update(z.float(), z.float())
    assert metrics.compute()["order_sensitivity"] == 0


def test_moving_tokens_are_the_changed_quarter() -> None:
    target = torch.zeros(1, 4, 4, 4, 8)
    target[0, 2, 1] = 5.0
    moving = moving_tokens(target)
    assert moving[0, 1].sum() == 4
    assert moving[0, 1, 1].all()


def test_order_sensitivity_of_a_mean_is_zero_and_of_the_first_frame_is_not() -> None:
    frames = torch.randn(16, 4, 3, 3, 8)
    blind, sighted = OrderSensitivity(8), OrderSensitivity(8)
    shuffled = frames[:, list(REORDERING)]
    blind.update(frames.mean(1), shuffled.mean(1))
    sighted.update(frames[:, 0], shuffled[:, 0])
    assert blind.compute() < 1e-3
    assert abs(sighted.compute() - 2**0.5) < 0.15
