"""Masking: exact counts for every kind, what each kind hides, and that SGM's queries learn."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recot.errors import ConfigError
from recot.models.masking import SemanticGuidedMasking, make_masking, masked_positions

KINDS = ("sgm", "random", "tube", "redundant")


def inputs(seed: int, groups: int = 3, side: int = 4, width: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(groups, 4, side, side, width, generator=generator)
    return features, torch.rand(groups, 4, side, side, generator=generator)


@settings(max_examples=25, deadline=None)
@given(ratio=st.floats(0.1, 0.9), side=st.integers(3, 8), seed=st.integers(0, 1000), training=st.booleans())
def test_all_kinds_mask_the_same_exact_count(ratio: float, side: int, seed: int, training: bool) -> None:
    features, uniform = inputs(seed, side=side)
    expected = 4 * round(ratio * side * side)
    for kind in KINDS:
        masking = make_masking(kind=kind, width=32, mask_ratio=ratio).train(training)
        mask = masking(features, uniform)
        assert mask.masked.flatten(1).sum(1).tolist() == [expected] * 3
        torch.testing.assert_close(mask.keep.detach(), (~mask.masked).float())


@pytest.mark.parametrize("kind", KINDS)
def test_mask_is_a_function_of_sample_and_noise_alone(kind: str) -> None:
    features, uniform = inputs(0)
    masking = make_masking(kind=kind, width=32, mask_ratio=0.5)
    together = masking(features, uniform).masked
    alone = torch.cat([masking(f[None], u[None]).masked for f, u in zip(features, uniform, strict=True)])
    assert torch.equal(together, alone)


def test_scores_follow_algorithm_1() -> None:
    """Against the paper's formula, written out token by token."""
    features, _ = inputs(1, groups=1)
    masking = SemanticGuidedMasking(width=32, mask_ratio=0.5)
    v = features[0].numpy()
    weights = {k: p.detach().numpy() for k, p in masking.named_parameters()}
    got = masking.scores(features)[0].detach().numpy()
    for t, h, w in [(0, 0, 0), (1, 2, 3), (3, 3, 1)]:
        previous = v[t - 1, h, w] if t else np.zeros(32)
        mean = v[t].mean(axis=(0, 1))
        temporal = weights["temporal_query.weight"] @ previous + weights["temporal_query.bias"]
        spatial = weights["spatial_query.weight"] @ mean + weights["spatial_query.bias"]
        np.testing.assert_allclose(got[t, h, w], (v[t, h, w] @ temporal + v[t, h, w] @ spatial) / 32**0.5, rtol=1e-4)


def test_sgm_masks_the_lowest_scores_without_noise_and_is_random_in_training() -> None:
    features, uniform = inputs(2)
    masking = SemanticGuidedMasking(width=32, mask_ratio=0.5)
    mask = masking.eval()(features, uniform)
    assert mask.scores is not None
    highest_masked = mask.scores.masked_fill(~mask.masked, -torch.inf).flatten(1).amax(1)
    lowest_kept = mask.scores.masked_fill(mask.masked, torch.inf).flatten(1).amin(1)
    assert (highest_masked <= lowest_kept).all()
    first = masking.train()(features, uniform).masked
    assert torch.equal(first, masking(features, uniform).masked)
    assert not torch.equal(first, masking(features, inputs(3)[1]).masked)


def test_both_queries_receive_gradient_and_learn_to_keep_what_matters() -> None:
    """Tokens along one direction matter; a loss that rewards keeping them must raise their scores."""
    torch.manual_seed(0)
    features, _ = inputs(4, groups=16)
    important = torch.zeros(16, 4, 4, 4, dtype=torch.bool)
    important[:, :, :2] = True
    features[important] += torch.linspace(1, 2, 32)
    masking = SemanticGuidedMasking(width=32, mask_ratio=0.5, noise=0.5)
    optimizer = torch.optim.Adam(masking.parameters(), lr=1e-2)

    @torch.no_grad()
    def kept_without_noise() -> float:
        masked = masking.eval()(features, torch.rand(16, 4, 4, 4)).masked
        masking.train()
        return (~masked)[important].float().mean().item()

    before = kept_without_noise()
    generator = torch.Generator().manual_seed(0)
    for step in range(60):
        mask = masking(features, torch.rand(16, 4, 4, 4, generator=generator))
        loss = -mask.keep[important].mean()
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            for query in (masking.temporal_query, masking.spatial_query):
                assert query.weight.grad is not None
                assert query.weight.grad.abs().max() > 0
        optimizer.step()
    assert kept_without_noise() > max(0.95, before + 0.1)


def test_tube_hides_the_same_positions_in_all_frames() -> None:
    mask = make_masking(kind="tube", width=32, mask_ratio=0.5)(*inputs(5)).masked
    assert torch.equal(mask, mask[:, :1].expand_as(mask))


def test_most_redundant_hides_repeated_tokens_first() -> None:
    features, uniform = inputs(6)
    features[:, 2] = features[:, 1]
    mask = make_masking(kind="redundant", width=32, mask_ratio=0.25)(features, uniform).masked
    assert mask[:, 2].all()
    assert not mask[:, [0, 1, 3]].any()


@pytest.mark.parametrize("ratio", [0, 1, 1.5, -0.1, "half", float("nan")])
def test_impossible_ratios_are_named(ratio: object) -> None:
    for kind in KINDS:
        with pytest.raises(ConfigError, match=r"stage\.mask_ratio"):
            make_masking(kind=kind, width=32, mask_ratio=ratio)  # type: ignore[arg-type]


def test_ratio_that_rounds_to_nothing_and_unknown_kind() -> None:
    with pytest.raises(ConfigError, match="at least one position"):
        masked_positions(0.001, 64)
    with pytest.raises(ConfigError, match=r"stage\.masking.*sgm"):
        make_masking(kind="semantic", width=32, mask_ratio=0.5)
