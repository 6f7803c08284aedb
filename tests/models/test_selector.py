"""The selector: padding, batches and order change nothing; both gradient routes; rules; baselines."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recot.errors import ConfigError
from recot.losses import grounding
from recot.models.selection import KeepRule, draw_rule, evidence_groups, normalised, pooled, select
from recot.models.selector import Selector
from recot.models.selector_baselines import BaselineSelector
from recot.models.visual_groups import Query, VisualGroups
from recot.models.window_attention import WindowTimeAttention

WIDTH, TOKENS, TIME = 32, 6, 3


def selector(layout: str = "native", gradient: str = "straight_through") -> Selector:
    torch.manual_seed(0)
    made = Selector(width=WIDTH, layout=layout, gradient=gradient, time_tokens=TIME, chunk_groups=2)  # type: ignore[arg-type]
    torch.nn.init.normal_(made.attention.out_proj.weight, std=0.2)
    return made


def batch(
    lengths: list[int], *, seed: int = 0, padding: float = torch.nan, more: int = 0
) -> tuple[VisualGroups, Query]:
    """Sample b depends on b and ``seed`` alone; padding holds ``padding``."""
    b, g = len(lengths), max(lengths) + more
    tokens = torch.full((b, g, TOKENS, WIDTH), padding)
    time = torch.full((b, g, TIME + more, WIDTH), padding)
    question = torch.full((b, 5 + more, WIDTH), padding)
    time_valid, valid = torch.zeros(b, g, TIME + more, dtype=torch.bool), torch.zeros(b, g, dtype=torch.bool)
    asked = torch.zeros(b, 5 + more, dtype=torch.bool)
    for i, n in enumerate(lengths):
        generator = torch.Generator().manual_seed(1000 * seed + i)
        words = 2 + i % 3
        question[i, :words], asked[i, :words] = torch.randn(words, WIDTH, generator=generator), True
        tokens[i, :n] = torch.randn(n, TOKENS, WIDTH, generator=generator)
        time[i, :n, :TIME] = torch.randn(n, TIME, WIDTH, generator=generator)
        valid[i, :n], time_valid[i, :n, :TIME] = True, True
    times_s = torch.arange(g, dtype=torch.float64)[None, :, None] * 4 + torch.arange(4, dtype=torch.float64)
    return VisualGroups(tokens, time, time_valid, valid, times_s.expand(b, -1, -1)), Query(
        question, asked, seeds=range(b)
    )


def one(visual: VisualGroups, query: Query, b: int) -> tuple[VisualGroups, Query]:
    n, time, words = int(visual.valid[b].sum()), TIME, int(query.valid[b].sum())
    alone = VisualGroups(
        visual.tokens[b : b + 1, :n],
        visual.time[b : b + 1, :n, :time],
        visual.time_valid[b : b + 1, :n, :time],
        visual.valid[b : b + 1, :n],
    )
    return alone, Query(query.tokens[b : b + 1, :words], query.valid[b : b + 1, :words])


@torch.no_grad()
@settings(max_examples=15, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    seed=st.integers(0, 99),
    more=st.integers(0, 2),
    ratio=st.floats(0.05, 1),
    layout=st.sampled_from(["native", "official"]),
)
def test_padding_and_company_change_nothing(
    lengths: list[int], seed: int, more: int, ratio: float, layout: str
) -> None:
    visual, query = batch(lengths, seed=seed, more=more)
    model, rule = selector(layout), KeepRule(ratio=ratio)
    together = model(visual, query, [rule] * len(lengths))
    assert not together.scores[~visual.valid].any()
    assert not together.kept[~visual.valid].any()
    for b, n in enumerate(lengths):
        alone = model(*one(visual, query, b), [rule])
        torch.testing.assert_close(together.scores[b, :n], alone.scores[0], rtol=0, atol=2e-6)
        assert torch.equal(together.positions(visual)[b], alone.positions(one(visual, query, b)[0])[0])


@torch.no_grad()
@pytest.mark.parametrize("layout", ["native", "official"])
@pytest.mark.parametrize("budget", [1, 4, 10**6])
def test_times_of_groups_that_are_left_out_can_be_left_out(layout: str, budget: int) -> None:
    visual, query = batch([5, 3], padding=0.0)
    model = selector(layout)
    plain = model(visual, query, [KeepRule(budget=budget)] * 2)
    mixed = model(visual, query, [KeepRule(budget=budget, times="kept"), KeepRule(budget=budget)])
    assert torch.equal(mixed.kept, plain.kept)
    for b, (ours, every) in enumerate(zip(model.rows(visual, mixed), model.rows(visual, plain), strict=True)):
        read = visual.valid[b] if b else plain.kept[b].any(dim=1)
        places, positions = plain.places(visual, b)
        here = read[places[:, 0]]
        assert torch.equal(mixed.positions(visual)[b], positions[here])
        assert torch.equal(ours, every[here])
        tokens = min(budget, int(visual.valid[b].sum()) * TOKENS)
        assert len(ours) == tokens + int(visual.time_valid[b, read].sum())


@torch.no_grad()
@pytest.mark.parametrize("layout", ["native", "official"])
def test_order_of_samples_is_free(layout: str) -> None:
    visual, query = batch([3, 5, 2])
    turned = [2, 0, 1]
    moved = VisualGroups(visual.tokens[turned], visual.time[turned], visual.time_valid[turned], visual.valid[turned])
    model, rules = selector(layout), [KeepRule(ratio=0.5)] * 3
    before = model(visual, query, rules)
    after = model(moved, Query(query.tokens[turned], query.valid[turned]), rules)
    torch.testing.assert_close(after.scores, before.scores[turned], rtol=0, atol=2e-6)
    assert torch.equal(after.kept, before.kept[turned])


def test_tokens_outside_the_query_mask_change_nothing() -> None:
    """An answer after the question, or a template before it, is masked by the caller and never read."""
    visual, query = batch([4])
    rule = [KeepRule(budget=7)]
    longer = Query(
        torch.cat([query.tokens, torch.randn(1, 9, WIDTH)], 1), torch.cat([query.valid, torch.zeros(1, 9) > 0], 1)
    )
    assert torch.equal(selector()(visual, query, rule).logits, selector()(visual, longer, rule).logits)


@pytest.mark.parametrize("layout", ["native", "official"])
def test_folded_scores_equal_the_plain_attention(layout: str) -> None:
    attention = WindowTimeAttention(width=WIDTH, heads=4, layout=layout)  # type: ignore[arg-type]
    torch.nn.init.normal_(attention.out_proj.weight, std=0.2)
    video, time = torch.randn(5, TOKENS, WIDTH), torch.randn(5, TIME, WIDTH)
    real = torch.rand(5, TIME) < 0.6
    real[0] = False
    query = torch.randn(5, WIDTH)
    plain = torch.einsum("npd,nd->np", attention(video, time, real), query)
    torch.testing.assert_close(attention.scores(video, time, real, query), plain, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("layout", ["native", "official"])
@pytest.mark.parametrize("gradient", ["straight_through", "additive"])
def test_gradient_reaches_the_query(layout: str, gradient: str) -> None:
    visual, query = batch([3, 2], padding=0.0)
    model = selector(layout, gradient)
    selection = model(visual, query, [KeepRule(ratio=0.5)] * 2)
    rows = model.rows(visual, selection)
    if (layout, gradient) == ("native", "straight_through"):
        for b in range(2):
            assert torch.equal(rows[b], visual.rows(b, selection.places(visual, b)[0]))
    sum(r.square().sum() for r in rows).backward()  # type: ignore[union-attr]
    used = ["q_proj", "k_proj", "out_proj"] + (["v_proj"] if layout == "native" else [])
    weights = [model.question_proj.weight, *(getattr(model.attention, name).weight for name in used)]
    assert all(w.grad is not None and w.grad.abs().max() > 0 for w in weights)
    assert layout == "native" or model.attention.v_proj.weight.grad is None


def test_grounding_teaches_which_groups_matter() -> None:
    visual, query = batch([8, 5], padding=0.0)
    evidence = evidence_groups(visual.times_s, [[(4, 6)], [(12.5, 17)]], visual.valid)  # type: ignore[arg-type]
    assert evidence.nonzero().tolist() == [[0, 1], [1, 3], [1, 4]]
    model = selector()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(60):
        logits = pooled(model(visual, query, [KeepRule(ratio=1)] * 2).logits, "max")
        loss = grounding(logits, evidence, visual.valid).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    kept = model(visual, query, [KeepRule(budget=n * TOKENS, level="group") for n in (1, 2)]).kept.all(dim=2)
    assert torch.equal(kept, evidence)


def test_grounding_ignores_padding_and_samples_without_evidence() -> None:
    logits = torch.tensor([[0.3, -1.0, 50.0], [2.0, 1.0, 0.0]], requires_grad=True)
    evidence = torch.tensor([[True, False, False], [False, False, False]])
    valid = torch.tensor([[True, True, False], [True, True, True]])
    loss = grounding(logits, evidence, valid)
    expected = (torch.log1p(torch.exp(torch.tensor(-0.3))) + torch.log1p(torch.exp(torch.tensor(-1.0)))) / 2
    torch.testing.assert_close(loss, torch.stack([expected, torch.zeros(())]))
    loss.sum().backward()
    assert logits.grad is not None
    assert logits.grad[0, 2] == 0
    assert not logits.grad[1].any()
    assert not grounding(logits, torch.zeros_like(evidence), valid).any()


def test_constant_scores_and_ties() -> None:
    valid = torch.tensor([[True, True, False], [False, False, False]])
    scores = normalised(torch.full((2, 3, 2), 7.0), valid)
    assert not scores.any()
    rules = [KeepRule(budget=3)] * 2
    assert select(scores, valid, rules).flatten(1).nonzero().tolist() == [[0, 0], [0, 1], [0, 2]]


def test_rules() -> None:
    scores = torch.tensor([[[0.1, 0.9], [0.5, 0.6], [0.0, 1.0]]])
    valid = torch.ones(1, 3, dtype=torch.bool)

    def kept(**rule: object) -> list[int]:
        return select(scores, valid, [KeepRule(**rule)]).flatten().nonzero()[:, 0].tolist()  # type: ignore[arg-type]

    assert kept(ratio=0.5) == [1, 3, 5]
    assert kept(ratio=0.01) == [5]
    assert kept(ratio=0.99, multiple_of=4) == [1, 2, 3, 5]
    assert kept(budget=2) == [1, 5]
    assert kept(budget=100) == [0, 1, 2, 3, 4, 5]
    assert kept(threshold=0.6) == [1, 3, 5]
    assert kept(budget=3, level="group", pool="mean") == [2, 3]
    assert kept(budget=3, level="group") == [4, 5]
    with pytest.raises(ConfigError, match="no room for one group"):
        kept(budget=1, level="group")


@pytest.mark.parametrize(
    "rule",
    [
        {},
        {"ratio": 0.5, "budget": 3},
        {"ratio": 0},
        {"ratio": 1.1},
        {"ratio": "half"},
        {"ratio": True},
        {"budget": "3"},
        {"threshold": "high"},
        {"ratio": float("nan")},
        {"budget": 0},
        {"budget": 64.0},
        {"budget": 2.5},
        {"threshold": 2},
        {"ratio": 0.5, "level": "frame"},
        {"ratio": 0.5, "times": "some"},
        {"ratio": 0.5, "multiple_of": 0},
    ],
)
def test_impossible_rules_are_named(rule: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"keep|kept"):
        KeepRule(**rule)  # type: ignore[arg-type]


def test_drawn_ratios_are_seeded_and_in_range() -> None:
    draws = [draw_rule(0.7, 0.99, torch.Generator().manual_seed(seed)).ratio for seed in range(200)]
    again = [draw_rule(0.7, 0.99, torch.Generator().manual_seed(seed)).ratio for seed in range(200)]
    assert draws == again
    values = [d for d in draws if d is not None]
    assert min(values) >= 0.7
    assert max(values) <= 0.99
    assert max(values) - min(values) > 0.25
    with pytest.raises(ConfigError, match="train_ratio"):
        draw_rule(0, 0.5, torch.Generator())


@pytest.mark.parametrize("level", ["token", "group"])
@pytest.mark.parametrize("kind", ["uniform", "uniform_groups", "random", "first_k", "oracle"])
def test_baselines_keep_as_much_as_the_selector(kind: str, level: str) -> None:
    visual, query = batch([8, 3])
    query = Query(query.tokens, query.valid, seeds=[5, 6], spans=[[(8, 9)], [(0, 1)]])
    rules = [KeepRule(ratio=0.5, level=level)] * 2  # type: ignore[arg-type]
    baseline = BaselineSelector(kind=kind)
    selection = baseline(visual, query, rules)
    assert torch.equal(selection.kept.sum((1, 2)), selector()(visual, query, rules).kept.sum((1, 2)))
    assert torch.equal(selection.kept, baseline(visual, query, rules).kept)
    assert [len(r) for r in baseline.rows(visual, selection)] == [len(p) for p in selection.positions(visual)]
    if kind == "oracle":
        assert selection.kept[0, 2].all()
        assert selection.kept[1, 0].all()
    if kind == "uniform_groups":
        assert selection.kept[0].all(dim=1).nonzero()[:, 0].tolist() == [1, 3, 5, 7]
    if (kind, level) == ("uniform", "group"):
        assert selection.kept[0, :, 0].nonzero()[:, 0].tolist() == [1, 3, 5, 7]
    if (kind, level) == ("first_k", "group"):
        assert selection.kept[0, :, 0].nonzero()[:, 0].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(("groups", "per_group", "ratio"), [(256, 16, 1 / 4), (256, 16, 1 / 64), (64, 144, 1 / 4)])
def test_an_even_choice_is_even_over_groups_and_over_places(groups: int, per_group: int, ratio: float) -> None:
    """A stride that divides the grid would keep one of its columns, or one place, of a whole video."""
    times_s = torch.arange(4 * groups, dtype=torch.float64).view(1, groups, 4)
    tokens, time = torch.zeros(1, groups, per_group, 1), torch.zeros(1, groups, 0, 1)
    valid = torch.ones(1, groups, dtype=torch.bool)
    visual = VisualGroups(tokens, time, time[..., 0].bool(), valid, times_s)
    query = Query(tokens[:, 0], torch.ones(1, per_group, dtype=torch.bool), spans=[[(0, 4 * groups)]])
    for kind in ("uniform", "oracle"):
        kept = BaselineSelector(kind=kind)(visual, query, [KeepRule(ratio=ratio)]).kept[0].double()
        per = kept.sum(dim=1)
        each = max(1, round(1 / (ratio * per_group)))
        assert per.view(-1, each).sum(dim=1).unique().tolist() == [max(1, round(ratio * per_group))]
        mean, places = groups * ratio, kept.sum(dim=0)
        assert (places - mean).abs().max() < 5 * mean**0.5, "no place is kept more than by chance"
        assert (places > 0).double().mean() > 0.9, "hardly one is left out"


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 9), st.floats(0.01, 1))
def test_whole_groups_are_spread_evenly(groups: int, per_group: int, ratio: float) -> None:
    tokens, time = torch.zeros(1, groups, per_group, 1), torch.zeros(1, groups, 0, 1)
    visual = VisualGroups(tokens, time, time[..., 0].bool(), torch.ones(1, groups, dtype=torch.bool))
    rule = KeepRule(ratio=ratio)
    query = Query(tokens[:, 0], torch.ones(1, per_group, dtype=torch.bool))
    kept = BaselineSelector(kind="uniform_groups")(visual, query, [rule]).kept[0]
    count = rule.count(groups, per_group)
    assert kept.sum() == count
    shown = kept.any(dim=1).nonzero()[:, 0]
    assert len(shown) == -(-count // per_group)
    assert kept[shown[:-1]].all()
    steps = [shown[0] + 0.5, *shown.diff().tolist(), groups - shown[-1] - 0.5]
    assert all(abs(step - groups / len(shown)) <= 1 for step in steps[1:-1])
    assert all(abs(step - groups / len(shown) / 2) <= 1 for step in (steps[0], steps[-1]))


def test_baselines_name_what_they_lack() -> None:
    visual, query = batch([2])
    with pytest.raises(ConfigError, match="threshold"):
        BaselineSelector(kind="uniform")(visual, query, [KeepRule(threshold=0.5)])
    with pytest.raises(ValueError, match="seeds"):
        BaselineSelector(kind="random")(visual, Query(query.tokens, query.valid), [KeepRule(ratio=0.5)])
    with pytest.raises(ValueError, match="spans"):
        BaselineSelector(kind="oracle")(visual, query, [KeepRule(ratio=0.5)])
    with pytest.raises(ConfigError, match="kind='best'"):
        BaselineSelector(kind="best")


def test_a_question_without_tokens_is_refused() -> None:
    visual, query = batch([2])
    with pytest.raises(ValueError, match="no token"):
        selector()(visual, Query(query.tokens, torch.zeros_like(query.valid)), [KeepRule(ratio=0.5)])
