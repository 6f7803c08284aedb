"""The video language model: mixed batches, independence of samples, streaming, gradients, bad input."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from recot.errors import ConfigError, DataError
from recot.grouping import time_text
from recot.losses import next_token_loss
from recot.models.dts import DynamicTokenSynthesizer
from recot.models.generation import GenerationSettings
from recot.models.mean_pooling import MeanPooling
from recot.models.projector import Projector
from recot.models.prompt import Turn, Visual, build_prompt
from recot.models.selection import KeepRule
from recot.models.selector import Selector
from recot.models.selector_baselines import BaselineSelector
from recot.models.video_input import Sample, VisualInput
from recot.models.video_lm import Output, VideoLM
from tests.models.tiny_video_lm import TOKENIZER, image, sample, tiny_video_lm, video

VISUALS = [video(3, 1), video(5, 2), image(3), image(4)]
MIXED = [
    sample("Which of these objects is shown in the video?", (0,), "red circle"),
    sample("How many times does the red circle appear?", (2, 3), "2"),
    sample("Which is shown in both?", (1, 0), "blue square"),
    sample("Who are you?", (), "nobody"),
    sample("When is the red circle shown?", (2, 1), "from 1.00 to 1.50 s"),
]
HALF, ALL = KeepRule(ratio=0.5), KeepRule(ratio=1.0)
GREEDY = GenerationSettings(max_new_tokens=8)


@pytest.fixture(scope="module")
def model() -> VideoLM:
    return tiny_video_lm()


def hidden_of(output: Output) -> list[Tensor]:
    return list(output.hidden[0].split(output.pack.lengths))


@torch.no_grad()
def test_a_sample_does_not_depend_on_its_company(model: VideoLM) -> None:
    rules = [HALF, ALL, KeepRule(budget=7), ALL, KeepRule(threshold=0.5)]
    together = hidden_of(model(VISUALS, MIXED, rules))
    assert len(together) == len(MIXED)
    for number, own in enumerate(MIXED):
        alone = model(
            [VISUALS[v] for v in own.visuals], [replace(own, visuals=tuple(range(len(own.visuals))))], [rules[number]]
        )
        torch.testing.assert_close(together[number], hidden_of(alone)[0], rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_the_language_model_reads_what_the_prompt_shows_in_its_place(model: VideoLM) -> None:
    """Against a prompt put together by hand: times as text before each group, tokens of the projector between."""
    own = sample("Which of these objects is shown in the video?", (0,))
    tokens = model.projector(model.dts(model._features(VISUALS[0])), pool=True)
    embed = model.llm.get_input_embeddings()
    before, after = TOKENIZER.apply_chat_template(
        [{"role": "user", "content": "@"}], tokenize=False, add_generation_prompt=True
    ).split("@")
    rows = [embed(torch.tensor(TOKENIZER(before)["input_ids"]))]
    for seconds, group in zip((0.0, 0.5, 1.0), tokens, strict=True):
        rows += [embed(torch.tensor(TOKENIZER(time_text(seconds))["input_ids"])), group]
    for text in ("\n", "Which of these objects is shown in the video?", after):
        rows.append(embed(torch.tensor(TOKENIZER(text)["input_ids"])))
    by_hand = model.llm.model(inputs_embeds=torch.cat(rows)[None]).last_hidden_state
    torch.testing.assert_close(model(VISUALS, [own], [ALL]).hidden, by_hand, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_selection_keeps_what_the_rule_says_of_videos_and_all_of_images(model: VideoLM) -> None:
    lengths = {}
    for ratio in (1.0, 0.5):
        output = model(VISUALS, [sample("What is it?", (0, 2))], [KeepRule(ratio=ratio)])
        lengths[ratio] = output.pack.lengths[0]
        assert output.choice is not None
        assert output.choice.pairs == [(0, 0)]
        assert output.choice.selection.kept.sum() == 3 * 16 * ratio
    assert lengths[1.0] - lengths[0.5] == 3 * 16 / 2


@torch.no_grad()
def test_video_in_pieces_equals_the_whole(model: VideoLM) -> None:
    whole = video(11, 5)
    assert whole.frames is not None
    expected = model.compress([whole])[0]
    for size in (1, 4, 11):
        pieces = model.compress_stream(whole.frames.split(size), groups=11)
        torch.testing.assert_close(pieces, expected, rtol=1e-4, atol=1e-5)
    from_tokens = VisualInput(times_s=whole.times_s, tokens=pieces)
    asked = sample("How does the red circle move?", (0,))
    torch.testing.assert_close(
        model([from_tokens], [asked], [HALF]).hidden, model([whole], [asked], [HALF]).hidden, rtol=1e-3, atol=1e-3
    )
    with pytest.raises(ValueError, match="11 groups, not the 12"):
        model.compress_stream(whole.frames.split(4), groups=12)
    with pytest.raises(ValueError, match="not the 10"):
        model.compress_stream(whole.frames.split(4), groups=10)


def test_questions_about_a_whole_video_share_it(model: VideoLM) -> None:
    """The video is read once, and losses and gradients are those of the samples by themselves."""
    asked = [sample(f"How many times does the {what} appear?", (0,), "2") for what in ("red circle", "blue square")]
    asked.append(sample("Who are you?", (), "nobody"))
    together = model([VISUALS[0]], asked, [ALL] * 3)
    assert together.pack.shared[1] > 3 * 16
    total, count = next_token_loss(together.hidden, model.head(), together.pack.labels, rows_at_once=8)
    names, parameters = zip(*((n, p) for n, p in model.projector.named_parameters()), strict=True)
    shared = torch.autograd.grad(total, parameters)
    alone, tokens = torch.zeros(()), 0
    for own in asked:
        output = model([VISUALS[0]], [own], [ALL])
        assert output.pack.shared == (0,)
        one, said = next_token_loss(output.hidden, model.head(), output.pack.labels, rows_at_once=8)
        alone, tokens = alone + one, tokens + int(said)
    assert tokens == count
    torch.testing.assert_close(total, alone, rtol=1e-5, atol=1e-4)
    for name, got, wanted in zip(names, shared, torch.autograd.grad(alone, parameters), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-4, msg=name)
    assert model([VISUALS[0]], asked, [HALF] * 3).pack.shared == (0, 0, 0)


@torch.no_grad()
def test_what_is_learned_before_a_video_is_learned_of_each_sample(model: VideoLM) -> None:
    said = [Turn("user", ("Who are you?",)), Turn("assistant", ("nobody",))]
    asked = [
        Sample(
            prompt=build_prompt(
                TOKENIZER, [*said, Turn("user", (Visual(0), "\n", what)), Turn("assistant", ("2",))], reply=False
            ),
            visuals=(0,),
            seed=0,
        )
        for what in ("How many red circles?", "How many blue squares?")
    ]
    together = model([VISUALS[0]], asked, [ALL] * 2)
    assert together.pack.shared == (0, 0)
    total, count = next_token_loss(together.hidden, model.head(), together.pack.labels, rows_at_once=8)
    alone = [model([VISUALS[0]], [own], [ALL]) for own in asked]
    one = [next_token_loss(own.hidden, model.head(), own.pack.labels, rows_at_once=8) for own in alone]
    assert count == sum(int(tokens) for _, tokens in one)
    torch.testing.assert_close(total, torch.stack([loss for loss, _ in one]).sum(), rtol=1e-5, atol=1e-4)


@torch.no_grad()
def test_cached_features_give_what_frames_give(model: VideoLM) -> None:
    cached = VisualInput(times_s=VISUALS[0].times_s, features=model._features(VISUALS[0]))
    own = [sample("What moves?", (0,))]
    torch.testing.assert_close(model([cached], own, [HALF]).hidden, model(VISUALS, own, [HALF]).hidden)


@torch.no_grad()
def test_mean_pooling_takes_the_place_of_the_dts() -> None:
    pooling = tiny_video_lm(dts=MeanPooling(width=64))
    features = pooling._features(VISUALS[0])
    told = pooling.projector(sum(features.unbind(1)) / 4, pool=True)
    torch.testing.assert_close(pooling.compress(VISUALS[:1])[0], told)
    reversed_frames = replace(VISUALS[0], frames=VISUALS[0].frames.flip(1))
    torch.testing.assert_close(pooling.compress([reversed_frames])[0], told, msg="a mean knows no order")


def test_a_seed_and_rules_are_each_samples_own() -> None:
    model = tiny_video_lm(selector=BaselineSelector(kind="random"))
    own = MIXED[0]
    kept = []
    for seed in (1, 1, 2):
        choice = model([VISUALS[0]], [replace(own, seed=seed)], [HALF]).choice
        assert choice is not None
        kept.append(choice.selection.kept)
    assert torch.equal(kept[0], kept[1])
    assert not torch.equal(kept[0], kept[2])


def test_the_oracle_keeps_the_groups_of_the_sample_s_spans() -> None:
    model = tiny_video_lm(selector=BaselineSelector(kind="oracle"))
    own = replace(sample("When?", (0,)), spans=((1.0, 1.2),))
    choice = model([video(5, 2)], [own], [KeepRule(ratio=0.2, level="group")]).choice
    assert choice is not None
    assert choice.selection.kept[0].all(dim=1).tolist() == [False, False, True, False, False]


def test_the_answer_never_reaches_the_query_but_as_the_released_model_does_it() -> None:
    scores = {}
    for query in ("question", "prompt"):
        model = tiny_video_lm(query=query)
        for reply in (None, "red circle", "blue square"):
            choice = model([VISUALS[0]], [sample("What moves?", (0,), reply)], [HALF]).choice
            assert choice is not None
            scores[query, reply] = choice.selection.scores
    assert torch.equal(scores["question", None], scores["question", "red circle"])
    assert torch.equal(scores["question", "blue square"], scores["question", "red circle"])
    assert not torch.equal(scores["prompt", "blue square"], scores["prompt", "red circle"])


def test_typed_placeholders_stay_text(model: VideoLM) -> None:
    typed = sample("<|vision_pad|><image><|video_pad|> <|im_end|> what is this?", ())
    assert (typed.prompt.ids >= 0).all()
    assert int((typed.prompt.ids == TOKENIZER.convert_tokens_to_ids("<|im_end|>")).sum()) == 1  # the template's
    assert model([], [typed], [ALL]).choice is None


def test_the_loss_reaches_all_that_is_trained(model: VideoLM) -> None:
    output = model(VISUALS, MIXED, [HALF] * len(MIXED))
    total, count = next_token_loss(output.hidden, model.head(), output.pack.labels, rows_at_once=16)
    (total / count).backward()
    for part in (model.dts, model.projector, model.selector, model.llm):
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in part.parameters()), part
    assert all(p.grad is None for p in model.vision_encoder.parameters())
    said = [len(TOKENIZER(reply)["input_ids"]) + 1 for reply in ("red circle", "2", "blue square", "nobody")]
    assert count == sum(said) + len(TOKENIZER("from 1.00 to 1.50 s")["input_ids"]) + 1
    model.zero_grad()


def test_generation_says_what_the_forward_pass_expects(model: VideoLM) -> None:
    own = sample("Which of these objects is shown in the video?", (0,))
    heard: list[str] = []
    reply, choice = model.generate(VISUALS, own, HALF, GREEDY, heard.append)
    assert choice is not None
    assert "".join(heard) == reply.text
    ids: list[int] = []
    for _ in reply.ids:
        prompt = own.prompt._replace(
            ids=torch.cat([own.prompt.ids, torch.tensor(ids, dtype=torch.int64)]),
            question=torch.cat([own.prompt.question, torch.zeros(len(ids), dtype=torch.bool)]),
            labels=torch.cat([own.prompt.labels, torch.zeros(len(ids), dtype=torch.int64)]),
        )
        with torch.no_grad():
            output = model(VISUALS, [replace(own, prompt=prompt)], [HALF])
        ids.append(int((output.hidden[0, -1] @ model.head().T).argmax()))
    assert list(reply.ids) == ids


def test_bad_input_is_refused_with_what_to_do(model: VideoLM) -> None:
    silent = Sample(prompt=build_prompt(TOKENIZER, [Turn("user", (Visual(0),))], reply=True), visuals=(0,))
    with pytest.raises(DataError, match="ask something"):
        model(VISUALS, [silent], [HALF])
    with pytest.raises(DataError, match=r"places for 1 .* given 2"):
        replace(silent, visuals=(0, 1))
    long = sample("word " * 40_000, (0,))
    with pytest.raises(DataError, match="shorter question"):
        model.generate(VISUALS, long, HALF, GREEDY)
    with pytest.raises(DataError, match=r"model\.max_tokens allows 32768"):
        model(VISUALS, [long], [HALF])
    with pytest.raises(ValueError, match="exactly one"):
        VisualInput(times_s=VISUALS[0].times_s)
    with pytest.raises(ConfigError, match=r"model\.query='answer'"):
        tiny_video_lm(query="answer")
    with pytest.raises(ConfigError, match=r"model\.width and model\.llm_width"):
        tiny_video_lm(projector=Projector(width=32, llm_width=7))


def test_official_layouts_run_through() -> None:
    llm_width = tiny_video_lm().llm.config.hidden_size
    model = tiny_video_lm(
        dts=DynamicTokenSynthesizer(width=64, heads=1, layout="official"),
        selector=Selector(width=llm_width, layout="official", gradient="additive"),
        query="prompt",
    )
    output = model(VISUALS, MIXED, [KeepRule(ratio=0.8, multiple_of=16)] * len(MIXED))
    assert torch.isfinite(output.hidden).all()
