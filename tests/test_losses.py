"""Losses against independent references, and what they must ignore."""

import math

import numpy as np
import pytest
import torch

from recot.losses import (
    IGNORED,
    ReconstructionWeights,
    local_contrastive,
    next_token_loss,
    normalised_target,
    reconstruction_terms,
    sigmoid_contrastive,
    weighted_sum,
    words_shown,
)


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


def plain_sigmoid_loss(image, text, positive, log_scale, bias):  # type: ignore[no-untyped-def]
    """Algorithm of arXiv 2303.15343, section 3.2, pair by pair in plain Python."""
    total = 0.0
    for i, x in enumerate(image):
        for j, y in enumerate(text):
            cosine = sum(a * b for a, b in zip(x, y, strict=True)) / (math.hypot(*x) * math.hypot(*y))
            logit = math.exp(log_scale) * cosine + bias
            sign = 1 if positive[i][j] else -1
            total += math.log(1 + math.exp(-sign * logit))
    return total / len(image)


def test_sigmoid_contrastive_against_plain_python_and_its_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    image, text = (torch.randn(n, 5, generator=generator, dtype=torch.float64) for n in (4, 6))
    positive = torch.rand(4, 6, generator=generator) < 0.3
    values = {"image": image, "text": text, "log_scale": torch.tensor([1.2]), "bias": torch.tensor([-0.7])}
    leaves = {name: value.float().requires_grad_() for name, value in values.items()}
    loss = sigmoid_contrastive(**leaves, positive=positive)
    loss.backward()

    def plain(changed: dict[str, torch.Tensor]) -> float:
        scale, bias = changed["log_scale"].item(), changed["bias"].item()
        return plain_sigmoid_loss(changed["image"].tolist(), changed["text"].tolist(), positive.tolist(), scale, bias)

    exact = {name: leaf.detach().double() for name, leaf in leaves.items()}
    assert loss.item() == pytest.approx(plain(exact), rel=1e-5)
    for name, place in (("image", (1, 2)), ("text", (5, 0)), ("log_scale", (0,)), ("bias", (0,))):
        step = torch.zeros_like(exact[name])
        step[place] = 1e-5
        slope = (plain(exact | {name: exact[name] + step}) - plain(exact | {name: exact[name] - step})) / 2e-5
        assert leaves[name].grad[place].item() == pytest.approx(slope, rel=1e-4)


def test_local_contrastive_against_plain_python() -> None:
    generator = torch.Generator().manual_seed(3)
    patches, phrases = torch.randn(6, 4, generator=generator), torch.randn(3, 4, generator=generator)
    shown, scale = torch.tensor([0, 2, 2, 1, 2, 2]), torch.tensor([math.log(5.0)])
    losses: dict[bool, list[float]] = {True: [], False: []}
    for patch, right in zip(patches.tolist(), shown.tolist(), strict=True):
        cosines = [
            sum(a * b for a, b in zip(patch, phrase, strict=True)) / math.hypot(*patch) / math.hypot(*phrase)
            for phrase in phrases.tolist()
        ]
        odds = [math.exp(5 * cosine) for cosine in cosines]
        losses[right < 2].append(-math.log(odds[right] / sum(odds)))
    wanted = sum(sum(part) / len(part) for part in losses.values()) / 2
    assert local_contrastive(patches, phrases, shown, 2, log_scale=scale).item() == pytest.approx(wanted, rel=1e-5)


def test_sigmoid_contrastive_makes_no_negative_of_an_equal_caption() -> None:
    image, text = torch.eye(4)[:2], torch.ones(2, 4)
    scale, bias = torch.tensor([2.0]), torch.tensor([0.0])
    both = torch.ones(2, 2, dtype=torch.bool)
    equal = sigmoid_contrastive(image, text, both, log_scale=scale, bias=bias)
    as_negatives = sigmoid_contrastive(image, text, torch.eye(2, dtype=torch.bool), log_scale=scale, bias=bias)
    assert equal < as_negatives


def language_case(dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(3, 7, 8, generator=generator, dtype=dtype).requires_grad_()
    head = torch.randn(50, 8, generator=generator, dtype=dtype).requires_grad_()
    labels = torch.randint(50, (3, 7), generator=generator)
    labels[torch.rand(3, 7, generator=generator) < 0.4] = IGNORED
    return hidden, head, labels


@pytest.mark.parametrize("rows_at_once", [1, 2, 5, 1000])
def test_next_token_loss_is_that_of_all_logits(rows_at_once: int) -> None:
    hidden, head, labels = language_case()
    total, count = next_token_loss(hidden, head, labels, rows_at_once=rows_at_once)
    gradients = torch.autograd.grad(total, [hidden, head])
    logits = (hidden @ head.T)[:, :-1].flatten(0, 1)
    expected = torch.nn.functional.cross_entropy(logits, labels[:, 1:].flatten(), reduction="sum")
    assert count == (labels[:, 1:] != IGNORED).sum()
    torch.testing.assert_close(total.double(), expected, rtol=1e-6, atol=0)
    for got, wanted in zip(gradients, torch.autograd.grad(expected, [hidden, head]), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-6)


def test_next_token_loss_keeps_no_logits() -> None:
    hidden, head, labels = language_case(torch.float32)
    kept: list[tuple[int, ...]] = []

    def note(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tuple(tensor.shape))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        next_token_loss(hidden, head, labels, rows_at_once=2)
    assert kept
    assert not [shape for shape in kept if shape[-1:] == (50,)]


def test_next_token_loss_of_nothing() -> None:
    hidden, head, labels = language_case()
    total, count = next_token_loss(hidden, head, torch.full_like(labels, IGNORED), rows_at_once=4)
    assert (total.item(), count.item()) == (0.0, 0)
    assert all(not g.any() for g in torch.autograd.grad(total, [hidden, head]))
    with pytest.raises(ValueError, match="rows_at_once=0"):
        next_token_loss(hidden, head, labels, rows_at_once=0)


def shown_by_hand(tokens: np.ndarray, words: np.ndarray, said: list[float]) -> float:
    """In float64, word by word."""
    t, w = (x.astype(np.float64) for x in (tokens, words))
    cosine = [[a @ b / np.linalg.norm(a) / np.linalg.norm(b) for b in w] for a in t]
    share = [[math.exp(c / 0.07) / sum(math.exp(o / 0.07) for o in row) for c in row] for row in cosine]
    total = 0.0
    for v, wanted in enumerate(said):
        missed = math.prod(1 - row[v] for row in share)
        if not math.isnan(wanted):
            total -= math.log(1 - missed if wanted else missed)
    mean_length = sum(np.linalg.norm(b) for b in w) / len(w)
    return total + float(np.mean([(np.linalg.norm(a) / mean_length - 1) ** 2 for a in t]))


def test_words_shown_against_plain_python() -> None:
    generator = torch.Generator().manual_seed(2)
    tokens, words = torch.randn(5, 8, generator=generator), torch.randn(4, 8, generator=generator)
    for said in ([1.0, 0.0, 0.0, 1.0], [1.0, math.nan, 0.0, math.nan], [math.nan] * 4):
        found = words_shown(tokens, words, torch.tensor(said))
        np.testing.assert_allclose(found, shown_by_hand(tokens.numpy(), words.numpy(), said), rtol=1e-4)


def test_words_shown_knows_a_word_on_one_token_from_its_absence() -> None:
    words = torch.eye(4) * 3
    tokens = words[[0, 0, 2]].clone().requires_grad_()
    right, wrong = torch.tensor([1.0, 0, 1, 0]), torch.tensor([0.0, 1, 1, 0])
    assert words_shown(tokens, words, right) < 0.01 < 1 < words_shown(tokens, words, wrong)
    # A token can stand for a word so surely that its share rounds to 1, above all in bfloat16.
    with torch.autocast("cpu", torch.bfloat16):
        loss = words_shown(tokens, words, right) + words_shown(tokens, words, wrong)
    (gradient,) = torch.autograd.grad(loss, tokens)
    assert loss.isfinite()
    assert gradient.isfinite().all()
