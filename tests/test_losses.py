"""The stage-1 loss against NumPy, and what it must ignore."""

import numpy as np
import torch

from recot.losses import ReconstructionWeights, normalised_target, reconstruction_terms, weighted_sum


def example() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    predicted, features = (torch.randn(2, 4, 3, 3, 16, generator=generator) for _ in range(2))
    masked = torch.rand(2, 4, 3, 3, generator=generator) < 0.5
    valid = torch.ones(2, 4, dtype=torch.bool)
    valid[1, 2:] = False
    return predicted, normalised_target(features), masked, valid


def test_terms_against_numpy() -> None:
    predicted, target, masked, valid = example()
    p, t, m = (x.numpy() for x in (predicted, target, masked))
    real = np.broadcast_to(valid.numpy()[:, :, None, None], m.shape)
    squared = ((p - t) ** 2).mean(-1)
    cosine = 1 - (p * t).sum(-1) / np.linalg.norm(p, axis=-1) / np.linalg.norm(t, axis=-1)
    change = ((np.diff(p, axis=1) - np.diff(t, axis=1)) ** 2).mean(-1)
    terms = reconstruction_terms(predicted, target, masked, valid)
    np.testing.assert_allclose(terms["masked"], squared[m & real].mean(), rtol=1e-5)
    np.testing.assert_allclose(terms["visible"], squared[~m & real].mean(), rtol=1e-5)
    np.testing.assert_allclose(terms["cosine"], cosine[real].mean(), rtol=1e-5)
    np.testing.assert_allclose(terms["difference"], change[real[:, 1:] & real[:, :-1]].mean(), rtol=1e-5)
    weights = ReconstructionWeights(masked=1.0, visible=2.0, cosine=0.5, difference=0.25)
    expected = terms["masked"] + 2 * terms["visible"] + 0.5 * terms["cosine"] + 0.25 * terms["difference"]
    torch.testing.assert_close(weighted_sum(terms, weights), expected)


def test_padding_frames_count_nowhere() -> None:
    predicted, target, masked, valid = example()
    before = reconstruction_terms(predicted, target, masked, valid)
    predicted[1, 2:] += 100
    after = reconstruction_terms(predicted, target, masked, valid)
    assert before == after


def test_target_is_normalised_per_token() -> None:
    target = normalised_target(5 + 3 * torch.randn(10, 64))
    torch.testing.assert_close(target.mean(-1), torch.zeros(10), atol=1e-5, rtol=0)
    torch.testing.assert_close(target.var(-1, correction=0), torch.ones(10), atol=1e-3, rtol=0)


def test_difference_term_sees_a_reconstruction_that_ignores_order() -> None:
    _, target, masked, valid = example()
    blind = target.mean(dim=1, keepdim=True).expand_as(target)
    assert reconstruction_terms(blind, target, masked, valid)["difference"] > 0.1
    assert reconstruction_terms(target, target, masked, valid)["difference"] == 0
