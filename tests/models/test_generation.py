"""Replies of language models, against whole computations without a cache and transformers' own generation."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import DynamicCache, Qwen2ForCausalLM

from recot.errors import ConfigError, DataError
from recot.models.generation import GenerationSettings, Reply, generate, option_log_likelihoods, prefill
from recot.models.llm import pretrained_llm
from recot.models.prompt import Turn, build_prompt
from recot.models.reply_likelihood import ReplyLikelihood
from tests.models.random_llm import (
    CONFIG,
    FOLDER,
    PROMPT,
    TOKENIZER,
    VOCABULARY,
    WINDOW,
    embed,
    random_ids,
    random_llm,
    whole_logits,
)

LLM = random_llm()


@pytest.mark.parametrize("chunk", [1, 5, 36, 37, 64])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("config", [{}, WINDOW], ids=["full", "window"])
def test_reading_in_chunks_is_reading_as_a_whole(config: dict, attention: str, chunk: int) -> None:
    llm = random_llm(attention, **config)
    embeddings = embed(llm, random_ids(1))
    hidden, cache = prefill(llm, embeddings, chunk=chunk)
    assert hidden.shape == (1, CONFIG["hidden_size"])
    torch.testing.assert_close(llm.lm_head(hidden)[0].detach(), whole_logits(llm, embeddings)[-1], atol=1e-5, rtol=1e-5)
    assert cache.get_seq_length() == PROMPT
    with torch.no_grad():
        llm(None, None, None, whole := DynamicCache(), embeddings)
    for ours, theirs in zip(cache.layers, whole.layers, strict=True):
        torch.testing.assert_close(ours.keys, theirs.keys, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(ours.values, theirs.values, atol=1e-5, rtol=1e-5)


def test_what_is_computed_at_once_is_a_chunk_and_one_row_of_logits() -> None:
    llm = random_llm()
    read: list[int] = []
    rows: list[int] = []
    llm.model.layers[0].register_forward_pre_hook(lambda module, args: read.append(args[0].shape[1]))
    llm.lm_head.register_forward_pre_hook(lambda module, args: rows.append(args[0].numel() // CONFIG["hidden_size"]))
    embeddings = embed(llm, random_ids(2))
    prefill(llm, embeddings, chunk=10)
    assert (read, rows) == ([10, 10, 10, 7], [])
    read.clear()
    generate(llm, TOKENIZER, embeddings, GenerationSettings(max_new_tokens=4, prefill_chunk=10))
    assert (read, rows) == ([10, 10, 10, 7, 1, 1, 1], [1, 1, 1, 1])
    read.clear()
    rows.clear()
    option_log_likelihoods(llm, embeddings, [random_ids(3, 5), random_ids(4, 1)], chunk=20)
    assert (read, rows) == ([20, 17, 4], [5, 1])


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("seed", range(3))
def test_greedy_replies_are_those_of_transformers(seed: int, attention: str) -> None:
    llm = random_llm(attention, seed)
    ids = random_ids(seed)
    reply = generate(llm, TOKENIZER, embed(llm, ids), GenerationSettings(max_new_tokens=30, prefill_chunk=8))
    theirs = llm.generate(ids[None], do_sample=False, max_new_tokens=30, eos_token_id=TOKENIZER.eos_token_id)
    assert list(reply.ids) == theirs[0, PROMPT:].tolist()
    assert len(set(reply.ids)) > 1, "one token over and over would show little"


@pytest.fixture(scope="module")
def tiny() -> Qwen2ForCausalLM:
    return pretrained_llm(name_or_path=FOLDER)


FACTS = "scene 1: red circle moves left\nscene 2: blue square moves up"


@pytest.mark.parametrize(
    ("question", "answer"),
    [("How does the blue square move?", "moves up"), ("How does the red circle move?", "moves left")],
)
def test_the_tiny_model_answers(tiny: Qwen2ForCausalLM, question: str, answer: str) -> None:
    ids = build_prompt(TOKENIZER, [Turn("user", (f"{FACTS}\n{question}",))], reply=True).ids
    shown: list[str] = []
    how = GenerationSettings(max_new_tokens=8, prefill_chunk=16)
    reply = generate(tiny, TOKENIZER, embed(tiny, ids), how, shown.append)
    assert (reply.text, reply.stopped_by, "".join(shown)) == (answer, "end", answer)
    theirs = tiny.generate(ids[None], do_sample=False, max_new_tokens=8)[0, len(ids) :]
    assert list(reply.ids) == theirs.tolist()
    assert TOKENIZER.decode(theirs, skip_special_tokens=True) == reply.text


@settings(max_examples=15, deadline=None)
@given(st.integers(1, PROMPT + 3), st.sampled_from([0.0, 1.0]), st.integers(0, 5))
def test_chunks_never_change_a_reply(chunk: int, temperature: float, seed: int) -> None:
    def reply(chunk: int) -> Reply:
        how = GenerationSettings(max_new_tokens=8, temperature=temperature, seed=seed, prefill_chunk=chunk)
        return generate(LLM, TOKENIZER, embed(LLM, random_ids(seed)), how)

    assert reply(chunk) == reply(PROMPT)


def nucleus(logits: np.ndarray, *, temperature: float, top_p: float) -> np.ndarray:
    """Probabilities of what may be drawn, token by token."""
    scaled = logits.astype(np.float64) / temperature
    probabilities = np.exp(scaled - scaled.max())
    probabilities /= probabilities.sum()
    kept = np.zeros_like(probabilities)
    for token in np.argsort(-probabilities):
        if kept.sum() >= top_p:
            break
        kept[token] = probabilities[token]
    return kept / kept.sum()


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.7, 0.8), (2.0, 0.3)])
def test_draws_are_those_of_a_loop_without_a_cache(temperature: float, top_p: float) -> None:
    ids = random_ids(5)
    how = GenerationSettings(max_new_tokens=12, temperature=temperature, top_p=top_p, seed=4, prefill_chunk=9)
    drawn = generate(LLM, TOKENIZER, embed(LLM, ids), how).ids
    generator = torch.Generator().manual_seed(4)
    expected: list[int] = []
    while len(expected) < 12 and TOKENIZER.eos_token_id not in expected:
        logits = whole_logits(LLM, embed(LLM, torch.tensor([*ids, *expected])))[-1].numpy()
        probabilities = torch.from_numpy(nucleus(logits, temperature=temperature, top_p=top_p)).float()
        expected.append(int(torch.multinomial(probabilities, 1, generator=generator)))
    assert list(drawn) == expected


def test_draws_come_as_often_as_they_should() -> None:
    """Twelve tokens with the probabilities of a softmax; expected counts are at least 5."""
    logits = torch.full((1, VOCABULARY), -100.0)
    logits[0, 20:32] = torch.linspace(0, 3, 12)
    llm = random_llm(num_hidden_layers=1)
    llm.lm_head.forward = lambda hidden: logits
    prompt = embed(llm, random_ids(0, 1))
    expected = nucleus(logits[0].numpy(), temperature=1.5, top_p=0.9)
    draws = 500
    counts = np.zeros(VOCABULARY)
    for seed in range(draws):
        how = GenerationSettings(max_new_tokens=1, temperature=1.5, top_p=0.9, seed=seed)
        counts[list(generate(llm, TOKENIZER, prompt, how).ids)] += 1
    assert not counts[expected == 0].any()
    possible = expected > 0
    chi_square = ((counts - draws * expected)[possible] ** 2 / (draws * expected[possible])).sum()
    assert chi_square < possible.sum() - 1 + 4 * np.sqrt(2 * possible.sum())


def test_draws_depend_on_the_seed_alone() -> None:
    prompt = embed(LLM, random_ids(6))

    def drawn(seed: int) -> tuple[int, ...]:
        return generate(LLM, TOKENIZER, prompt, GenerationSettings(max_new_tokens=10, temperature=1.0, seed=seed)).ids

    before = torch.random.get_rng_state()
    first = drawn(0)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(99)
    assert drawn(0) == first
    assert len({drawn(seed) for seed in range(5)}) == 5


@pytest.mark.parametrize("chunk", [1, 10, 100])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("config", [{}, WINDOW], ids=["full", "window"])
def test_options_are_as_likely_as_without_a_cache(config: dict, attention: str, chunk: int) -> None:
    llm = random_llm(attention, **config)
    ids = random_ids(7)
    options = [random_ids(8 + n, tokens) for n, tokens in enumerate((3, 1, 12, 3))] + [random_ids(8, 3)]
    found = option_log_likelihoods(llm, embed(llm, ids), options, chunk=chunk)
    assert found.dtype == torch.float32
    for option, likelihood in zip(options, found, strict=True):
        logits = whole_logits(llm, embed(llm, torch.cat([ids, option])))[PROMPT - 1 : -1]
        expected = logits.double().log_softmax(dim=-1)[torch.arange(len(option)), option].sum()
        assert float(likelihood) == pytest.approx(float(expected), abs=2e-5, rel=1e-6)
    assert found[0] == found[-1]
    again = option_log_likelihoods(llm, embed(llm, ids), options[::-1], chunk=chunk).flip(0)
    torch.testing.assert_close(again, found, atol=0, rtol=0)


def test_options_are_as_likely_as_the_replies_of_pruning(tiny: Qwen2ForCausalLM) -> None:
    asked = f"{FACTS}\nHow does the blue square move?"
    replies = ["moves up", "moves left", "red", ""]
    ids = build_prompt(TOKENIZER, [Turn("user", (asked,))], reply=True).ids
    said = TOKENIZER([f"{reply}<|im_end|>" for reply in replies], add_special_tokens=False)["input_ids"]
    options = [torch.tensor(option) for option in said]
    found = option_log_likelihoods(tiny, embed(tiny, ids), options, chunk=20)
    other = ReplyLikelihood(tiny, TOKENIZER)
    assert found.tolist() == pytest.approx([-other.reply_nll(asked, reply) for reply in replies], abs=1e-4)
    assert int(found.argmax()) == 0


def test_bfloat16() -> None:
    llm = random_llm().to(torch.bfloat16)
    embeddings = embed(llm, random_ids(0))
    how = GenerationSettings(max_new_tokens=5, temperature=1.0, top_p=0.9, prefill_chunk=8)
    assert len(generate(llm, TOKENIZER, embeddings, how).ids) == 5
    found = option_log_likelihoods(llm, embeddings, [random_ids(1, 4)], chunk=8)
    whole = option_log_likelihoods(random_llm(), embed(random_llm(), random_ids(0)), [random_ids(1, 4)], chunk=8)
    assert float(found) == pytest.approx(float(whole), rel=0.1)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"max_new_tokens": 0}, r"max_new_tokens=0: give a whole number from 1"),
        ({"max_new_tokens": 1.5}, r"max_new_tokens=1.5: give a whole number"),
        ({"temperature": -1.0}, r"temperature=-1.0: give 0 "),
        ({"temperature": 1e-9}, r"temperature=1e-09"),
        ({"temperature": float("nan")}, r"temperature=nan"),
        ({"temperature": float("inf")}, r"temperature=inf"),
        ({"top_p": 0.0}, r"top_p=0.0: give a number above 0"),
        ({"top_p": 1.1}, r"top_p=1.1"),
        ({"stop": "end"}, r"stop='end': give a list"),
        ({"stop": ("a", "")}, r"stop=\('a', ''\)"),
        ({"stop": (3,)}, r"stop=\(3,\)"),
        ({"seed": -1}, r"seed=-1: give a whole number from 0"),
        ({"seed": 2**63}, r"seed=9223372036854775808"),
        ({"prefill_chunk": 0}, r"prefill_chunk=0: give a whole number from 1"),
    ],
)
def test_impossible_settings(value: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        GenerationSettings(**{"max_new_tokens": 5} | value)


@pytest.mark.parametrize(
    "ask",
    [
        lambda llm: prefill(llm, torch.zeros(2, 5, 32), chunk=4),
        lambda llm: prefill(llm, torch.zeros(1, 0, 32), chunk=4),
        lambda llm: prefill(llm, torch.zeros(5, 32), chunk=4),
        lambda llm: prefill(llm, torch.zeros(1, 5, 32), chunk=0),
        lambda llm: prefill(random_llm().train(), torch.zeros(1, 5, 32), chunk=4),
    ],
    ids=["two prompts", "no tokens", "no batch", "no chunk", "training"],
)
def test_impossible_prompts(ask: Callable) -> None:
    with pytest.raises(ValueError, match=r"chunks of|training mode"):
        ask(LLM)


@pytest.mark.parametrize("options", [[], [torch.tensor([3]), torch.tensor([], dtype=torch.int64)]])
def test_options_without_tokens(options: list[Tensor]) -> None:
    with pytest.raises(DataError, match="one token or more"):
        option_log_likelihoods(LLM, torch.zeros(1, 3, 32), options, chunk=4)


def test_logits_that_are_no_numbers() -> None:
    llm = random_llm()
    llm.model.norm.weight.data.fill_(float("nan"))
    with pytest.raises(DataError, match=r"logits aren't numbers.*bfloat16"):
        generate(llm, TOKENIZER, torch.zeros(1, 3, 32), GenerationSettings(max_new_tokens=2))
