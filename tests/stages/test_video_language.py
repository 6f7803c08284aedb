"""What the stages on the video language model make of batches, and what counts as a right reply."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch.utils.data import DataLoader

from recot.batch import Chat, VideoBatch
from recot.errors import ConfigError, DataError
from recot.losses import next_token_loss
from recot.models.generation import GenerationSettings
from recot.models.lora import lora_parameters
from recot.models.packing import Pack
from recot.models.selection import KeepRule
from recot.models.selector import Layout, Selector
from recot.stages.questions import asked, question_turns, samples_of, visuals_of
from recot.stages.video_language import grounding_loss, said_right
from tests.models.tiny_video_lm import TOKENIZER, tiny_video_lm, video
from tests.stages.small_stage import fit, trainer
from tests.stages.video_stage import LORA, video_batch, video_stage

QUESTIONS = ["Which of these objects is shown in the video?", "How does the red circle move?", "When is it shown?"]
HALF = KeepRule(ratio=0.5)


def chat(user: str, reply: str, spans: tuple[tuple[float, float], ...] = ()) -> Chat:
    return Chat(user=user, reply=reply, spans=spans, sample_id=user, task="needle", options=())


def batch(*chats: list[Chat]) -> VideoBatch:
    """A video of 3 groups, an image, a video of 5 groups, as far as there are chats."""
    sizes = [3, 1, 5][: len(chats)]
    clips = [video(size, seed) for seed, size in enumerate(sizes)]
    valid = torch.ones(sum(sizes), 4, dtype=torch.bool)
    if len(sizes) > 1:
        valid[3, 1:] = False
    return VideoBatch(
        frames=torch.cat([clip.frames for clip in clips if clip.frames is not None]),
        features=None,
        valid=valid,
        times_s=torch.cat([clip.times_s for clip in clips]),
        sample=torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes)),
        keys=[f"key{n}" for n in range(len(sizes))],
        seeds=[10 + n for n in range(len(sizes))],
        chats=list(chats),
    )


def test_each_question_becomes_a_sample_of_its_video() -> None:
    first, second, third = (chat(question, "yes", ((0.0, float(n)),)) for n, question in enumerate(QUESTIONS))
    own = batch([first, second], [third], [first])
    visuals = visuals_of(own)
    assert [len(v.times_s) for v in visuals] == [3, 1, 5]
    assert [v.still for v in visuals] == [False, True, False]
    samples = samples_of(own, TOKENIZER)
    assert [sample.visuals for sample in samples] == [(0,), (0,), (1,), (2,)]
    assert [sample.spans for sample in samples] == [((0.0, n),) for n in (0.0, 1.0, 2.0, 0.0)]
    assert len({sample.seed for sample in samples}) == 4
    assert [c.user for _, _, c in asked(own)] == [QUESTIONS[0], QUESTIONS[1], QUESTIONS[2], QUESTIONS[0]]
    for sample, question in zip(samples, [0, 1, 2, 0], strict=True):
        assert TOKENIZER.decode(sample.prompt.ids[sample.prompt.question]) == QUESTIONS[question]
        assert TOKENIZER.decode(sample.prompt.labels[sample.prompt.labels >= 0]) == "yes<|im_end|>"
    with pytest.raises(ValueError, match=r"data\.questions"):
        samples_of(replace(own, chats=None), TOKENIZER)


def test_a_reply_is_right_if_greedy_decoding_says_it() -> None:
    model = tiny_video_lm()
    asked_of = batch([chat(question, "") for question in QUESTIONS])
    visuals = visuals_of(asked_of)
    said = []
    for sample in samples_of(asked_of, TOKENIZER):
        ends = int((sample.prompt.labels >= 0).nonzero()[0])
        prompt = sample.prompt._replace(**{name: value[:ends] for name, value in sample.prompt._asdict().items()})
        reply, _ = model.generate(visuals, replace(sample, prompt=prompt), HALF, GenerationSettings(max_new_tokens=64))
        assert reply.stopped_by == "end"
        said.append(reply.text)
    for spoilt in range(len(said)):
        given = [text + "!" * (number == spoilt) for number, text in enumerate(said)]
        own = batch([chat(question, text) for question, text in zip(QUESTIONS, given, strict=True)])
        with torch.no_grad():
            output = model(visuals, samples_of(own, TOKENIZER), [HALF] * 3)
        assert said_right(output, model.head()) == [number != spoilt for number in range(3)]


def test_grounding_raises_the_scores_of_groups_that_show_the_answer() -> None:
    model = tiny_video_lm()
    own = batch([chat(QUESTIONS[0], "yes", ((0.6, 0.7),)), chat(QUESTIONS[1], "no")])  # the second group of three
    samples = samples_of(own, TOKENIZER)
    output = model(visuals_of(own), samples, [HALF] * 2)
    assert output.choice is not None
    logits = output.choice.selection.logits
    for pool in ("mean", "max"):
        (gradient,) = torch.autograd.grad(grounding_loss(output, samples, pool), logits, retain_graph=True)
        reached = torch.ones_like(logits[0]) if pool == "mean" else logits[0] == logits[0].amax(dim=1, keepdim=True)
        assert torch.equal(gradient[0].sign(), reached * torch.tensor([1.0, -1, 1])[:, None])
    assert (gradient[1] == 0).all(), "where the answer is seen isn't known"


def validated(folder: Path, most: int | None, keep: KeepRule = HALF) -> tuple[dict[str, float], list[list[int]]]:
    """What validation logs of three questions about a video and one about an image, and all tokens of each pack's
    samples."""
    shown = ((0.6, 0.7),)
    questions = [chat(QUESTIONS[0], "up", shown), chat(QUESTIONS[1], "down"), chat(QUESTIONS[2], "never", shown)]
    stage = video_stage(val_pack_tokens=most)
    stage.val_keep = keep
    read, packed = stage.model.read, []

    def noted(own: Pack) -> torch.Tensor:
        packed.append([length + shared for length, shared in zip(own.lengths, own.shared, strict=True)])
        return read(own)

    stage.model.read = noted  # type: ignore[method-assign, assignment]
    loader: Any = DataLoader([batch(questions, [chat(QUESTIONS[1], "a cross")])], batch_size=None)  # type: ignore[arg-type]
    (logged,) = trainer(folder, steps=1).validate(stage, loader, verbose=False)
    return dict(logged), packed


def test_validation_in_packs_measures_what_one_pack_does(tmp_path: Path) -> None:
    expected, (whole,) = validated(tmp_path, None)
    assert len(whole) == 4
    assert "val/evidence_recall" in expected
    for most, samples in ((1, [1, 1, 1, 1]), (250, [3, 1])):
        logged, packed = validated(tmp_path, most)
        assert [len(own) for own in packed] == samples
        assert logged == pytest.approx(expected, rel=1e-4)


def test_packs_of_validation_are_counted_before_tokens_are_selected_away(tmp_path: Path) -> None:
    _, (whole,) = validated(tmp_path, None, KeepRule(ratio=1.0))
    for keep in (KeepRule(ratio=1.0), HALF):
        for most, samples in ((sum(whole), [4]), (sum(whole) - 1, [3, 1]), (sum(whole[:3]) - 1, [2, 2])):
            _, packed = validated(tmp_path, most, keep)
            assert [len(own) for own in packed] == samples


@pytest.mark.parametrize("most", [0, -1, 1.5, True])
def test_impossible_packs_of_validation(most: Any) -> None:
    with pytest.raises(ConfigError, match=r"stage\.val_pack_tokens must be null or a whole number"):
        video_stage(val_pack_tokens=most)


def test_training_keeps_whole_groups_where_validation_does(tmp_path: Path) -> None:
    stage = video_stage()
    stage.val_keep = KeepRule(ratio=0.5, level="group", pool="mean")
    seen: list[KeepRule] = []
    stage.model.register_forward_pre_hook(lambda _, given: seen.extend(given[2]))
    fit(stage, [video_batch([0, 2])], trainer(tmp_path, steps=1), save=tmp_path / "x.ckpt")
    assert {(rule.level, rule.pool) for rule in seen} == {("group", "mean")}
    assert len({rule.ratio for rule in seen}) == 2, "each sample draws its own"


def test_grounding_is_the_same_however_samples_are_cut_into_batches() -> None:
    model = tiny_video_lm()
    chats = [
        chat(QUESTIONS[0], "yes", ((0.6, 0.7),)),
        chat(QUESTIONS[1], "not at all, never"),
        chat(QUESTIONS[2], "a long answer", ((0.1, 0.2),)),
    ]

    def summed(*batches: VideoBatch) -> float:
        given = [(own, samples_of(own, TOKENIZER)) for own in batches]
        found = [grounding_loss(model(visuals_of(own), s, [HALF] * len(s)), s, "max") for own, s in given]
        return sum(loss.item() for loss in found)

    whole = summed(batch(chats))
    assert whole > 0
    assert summed(batch(chats[:1]), batch(chats[1:])) == pytest.approx(whole, rel=1e-5)
    assert summed(*(batch([own]) for own in chats)) == pytest.approx(whole, rel=1e-5)


@pytest.mark.parametrize("layout", ["native", "official"])
def test_scores_are_float32_in_mixed_precision(layout: Layout) -> None:
    """GPUs train in bfloat16 by default; what is kept must not hang on its rounding."""
    model = tiny_video_lm(selector=Selector(width=160, layout=layout, time_tokens=1))
    own = batch([chat(QUESTIONS[0], "yes")], [chat(QUESTIONS[1], "no")])
    with torch.autocast("cpu", torch.bfloat16):
        output = model(visuals_of(own), samples_of(own, TOKENIZER), [HALF] * 2)
        total, count = next_token_loss(output.hidden, model.head(), output.pack.labels, rows_at_once=8)
    (total / count).backward()
    assert output.choice is not None
    assert output.choice.selection.logits.dtype == torch.float32
    exact = model(visuals_of(own), samples_of(own, TOKENIZER), [HALF] * 2).choice
    assert exact is not None
    torch.testing.assert_close(output.choice.selection.scores, exact.selection.scores, rtol=0, atol=0.05)
    assert model.selector.question_proj.weight.grad.isfinite().all()  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", ["use_dora", "use_rslora"])
def test_other_kinds_of_adapters_train(tmp_path: Path, kind: str) -> None:
    """Those that DoRA can't adapt, whose weights have rows of zeros, are left out."""
    lora = replace(LORA, targets=["v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"], **{kind: True})
    stage = video_stage(lora=lora)
    before = {name: p.detach().clone() for name, p in lora_parameters(stage.model.llm).items()}
    fit(stage, [video_batch([0, 1])], trainer(tmp_path, steps=1), save=tmp_path / "x.ckpt")
    after = lora_parameters(stage.model.llm)
    assert all(p.isfinite().all() for p in stage.parameters())
    trained = [name for name in before if "lora_A" not in name]  # of which, at first, the gradient is 0
    assert len(trained) == 5 * 5 * (2 if kind == "use_dora" else 1)
    assert all(not torch.equal(after[name], before[name]) for name in trained)


RATES = {"lora": 1e-2, "projector": 1e-2, "selector": 1e-2, "dts": 1e-3}


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of one step of two."""
    folder = tmp_path_factory.mktemp("half")
    fit(video_stage(train=RATES), [video_batch([0, 1])] * 2, trainer(folder, steps=1), save=folder / "half.ckpt")
    return folder / "half.ckpt"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"train": RATES | {"dts": None}},
            r"say\. dts: learning rate 0\.001, .* in the checkpoint, frozen here; dts \(",
        ),
        ({"train": RATES | {"projector": 0.02}}, r"projector: learning rate 0\.01, .*learning rate 0\.02, .* here"),
        ({"train": RATES | {"llm": 1e-5}}, r"llm: frozen in the checkpoint, learning rate 1e-05, .* here"),
        ({"weight_decay": 0.1}, r"weight decay 0\.05, .* weight decay 0\.1, .*init_from=<checkpoint>"),
        ({"betas": (0.8, 0.95)}, r"betas \(0\.9, 0\.95\) in .* betas \(0\.8, 0\.95\) here"),
    ],
)
def test_resume_continues_the_same_training_and_no_other(
    half: Path, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    data = [video_batch([0, 1])] * 2
    with pytest.raises(DataError, match=message):
        fit(video_stage(**changes), data, trainer(tmp_path, steps=2), save=tmp_path / "x.ckpt", resume=half)


def test_a_resumed_run_drops_what_an_unbroken_one_does(tmp_path: Path) -> None:
    lora = replace(LORA, dropout=0.5)
    data = [video_batch([0, 1]), video_batch([2, 3])]
    whole, first, rest = (video_stage(lora=lora) for _ in range(3))
    fit(whole, data, trainer(tmp_path, steps=2), save=tmp_path / "whole.ckpt")
    fit(first, data, trainer(tmp_path, steps=1), save=tmp_path / "first.ckpt")
    torch.manual_seed(5)  # another process is in another state
    fit(rest, data[1:], trainer(tmp_path, steps=2), save=tmp_path / "rest.ckpt", resume=tmp_path / "first.ckpt")
    for (name, value), other in zip(whole.state_dict().items(), rest.state_dict().values(), strict=True):
        assert torch.equal(value, other), name
    still = video_stage(lora=LORA)
    fit(still, data, trainer(tmp_path, steps=2), save=tmp_path / "still.ckpt")
    assert any(not torch.equal(a, b) for a, b in zip(whole.parameters(), still.parameters(), strict=True))


def test_what_was_trained_does_not_matter_to_measure_or_to_resume_as_it_was(half: Path, tmp_path: Path) -> None:
    data = [video_batch([0, 1])] * 2
    own = trainer(tmp_path, steps=2)
    fit(video_stage(), data, own, save=tmp_path / "x.ckpt", resume=half)
    assert own.global_step == 2
    loader = DataLoader(data, batch_size=None)
    other = video_stage(train=RATES | {"dts": None})
    (measured,) = trainer(tmp_path, steps=1).validate(other, loader, ckpt_path=half, weights_only=True, verbose=False)
    assert measured["val/loss"] > 0


@pytest.mark.parametrize(
    "given", [0.5, "abc", None, [0.5], [0.5, 0.6, 0.7], ["a", "b"], [0.9, 0.7], [0, 0.5], [0.5, 1.5], [0.5, math.nan]]
)
def test_a_range_of_ratios_that_cannot_be(given: object) -> None:
    for same in (given, OmegaConf.create({"given": given}).given):  # as configs give it
        with pytest.raises(ConfigError, match=r"stage\.train_ratio=.* must be \[least, most\], two numbers with"):
            video_stage(train_ratio=same)


def test_a_range_of_ratios_may_be_one_ratio_or_everything() -> None:
    assert video_stage(train_ratio=OmegaConf.create([1, 1])).train_ratio == (1.0, 1.0)


@pytest.mark.parametrize("rows", [0, 2.5, "many"])
def test_logits_of_no_row_at_once(rows: object) -> None:
    with pytest.raises(ConfigError, match=r"stage\.module\.rows_at_once must be a whole number from 1 up, got"):
        video_stage(rows_at_once=rows)


def test_question_turns_put_the_video_before_the_question() -> None:
    turns = question_turns("What?", "That.")
    assert [turn.role for turn in turns] == ["user", "assistant"]
    assert turns[0].parts[1:] == ("\n", "What?")
