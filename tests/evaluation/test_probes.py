"""The linear probe: finds what is there linearly, nothing in noise, and its intervals are right."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from torch import Tensor

from recot.evaluation.probes import linear_probe, ratio_interval, wilson
from recot.models.vision_encoder import seeded_encoder
from recot.tiny_world.probe_clips import make_clips


def planted(count: int, width: int, strength: float, seed: int) -> tuple[Tensor, Tensor]:
    """Noise, plus one direction a class; the directions are the same for every seed."""
    directions = torch.randn(4, width, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(4, (count,), generator=generator)
    return torch.randn(count, width, generator=generator) + strength * directions[labels], labels


@pytest.mark.parametrize("width", [50, 2000])
def test_a_planted_signal_is_found_in_any_unit_and_noise_is_chance(width: int) -> None:
    scale = torch.logspace(-3, 3, width)
    (x, y), (test_x, test_y) = planted(400, width, 0.7, 1), planted(400, width, 0.7, 2)
    found = linear_probe(x * scale + 5, y, test_x * scale + 5, test_y)
    assert found.accuracy > 0.9
    assert found.accuracy == linear_probe(x, y, test_x, test_y).accuracy
    (x, y), (test_x, test_y) = planted(400, width, 0.0, 1), planted(400, width, 0.0, 2)
    nothing = linear_probe(x, y, test_x, test_y)
    assert nothing.interval[0] < 0.25 < nothing.interval[1]


def test_predictions_are_those_of_scikit_learn_at_the_chosen_penalty() -> None:
    (x, y), (test_x, test_y) = planted(200, 300, 0.2, 3), planted(500, 300, 0.2, 4)
    result = linear_probe(x, y, test_x, test_y)
    mean, spread = x.mean(dim=0), x.std(dim=0)
    train, test = ((v - mean) / spread for v in (x, test_x))
    penalty = result.regularisation * float(torch.linalg.matrix_norm(train) ** 2) / len(x)
    reference = Ridge(alpha=penalty).fit(train.numpy(), np.eye(4)[y.numpy()])
    predicted = reference.predict(test.numpy()).argmax(axis=1)
    assert np.mean((predicted == test_y.numpy()) == result.correct.numpy()) > 0.995  # rounding may tip a tie
    assert 0.3 < result.accuracy < 0.95


def test_constant_dimensions_are_left_out_and_bad_features_refused() -> None:
    (x, y), (test_x, test_y) = planted(100, 20, 1.0, 5), planted(100, 20, 1.0, 6)
    constant, other = torch.full((100, 1), 3.0), torch.full((100, 1), 4.0)
    with_constant = linear_probe(torch.cat([x, constant], 1), y, torch.cat([test_x, other], 1), test_y)
    assert torch.equal(with_constant.correct, linear_probe(x, y, test_x, test_y).correct)
    x[0, 0] = torch.nan
    with pytest.raises(ValueError, match="finite"):
        linear_probe(x, y, test_x, test_y)
    with pytest.raises(ValueError, match="at least 10"):
        linear_probe(test_x[:9], test_y[:9], test_x, test_y)


def test_intervals_against_known_figures() -> None:
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)  # Brown, Cai & DasGupta 2001, formula (4)
    assert wilson(0, 10)[0] == 0
    generator = torch.Generator().manual_seed(0)
    reference = torch.rand(1000, generator=generator) < 0.8
    correct = reference & (torch.rand(1000, generator=generator) < 0.9)
    low, high = ratio_interval(correct, reference)
    assert low < 0.9 < high
    assert high - low < 0.06
    assert ratio_interval(reference, reference) == (1.0, 1.0)


def test_order_needs_the_order_of_frames() -> None:
    encoder = seeded_encoder(
        config={
            "hidden_size": 64,
            "intermediate_size": 256,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "image_size": 64,
            "patch_size": 8,
        },
        drop_layers=1,
        grid=8,
        seed=0,
    )
    tokens, labels = [], []
    for split, count in (("train", 300), ("test", 200)):
        clips = make_clips("order", count, split=split)
        tokens.append(encoder(torch.from_numpy(clips.frames).flatten(0, 1)).unflatten(0, (-1, 4)))
        labels.append(torch.from_numpy(clips.labels))
    uncompressed = linear_probe(tokens[0], labels[0], tokens[1], labels[1])
    pooled = linear_probe(tokens[0].mean(dim=1), labels[0], tokens[1].mean(dim=1), labels[1])
    assert uncompressed.accuracy > 0.9
    assert pooled.interval[0] < 0.5 < pooled.interval[1]
