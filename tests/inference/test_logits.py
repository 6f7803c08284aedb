"""Logits from which no token can be chosen, and such as only rule tokens out."""

import math

import pytest
from torch import Tensor, nn

from recot.errors import DataError
from recot.models.generation import GenerationSettings, Reply, generate
from tests.models.random_llm import TOKENIZER, VOCABULARY, embed, random_ids, random_llm


def reply_with(values: dict[int, float], temperature: float) -> Reply:
    """What a model says whose logits of some tokens are replaced."""
    llm = random_llm()

    def replaced(module: nn.Module, inputs: object, logits: Tensor) -> Tensor:
        logits = logits.clone()
        for token, value in values.items():
            logits[..., token] = value
        return logits

    llm.lm_head.register_forward_hook(replaced)
    settings = GenerationSettings(max_new_tokens=8, temperature=temperature)
    return generate(llm, TOKENIZER, embed(llm, random_ids(1)), settings)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_infinite_logits_are_refused_as_those_that_are_no_numbers(value: float, temperature: float) -> None:
    with pytest.raises(DataError, match=r"aren't numbers, or are infinite.*--dtype"):
        reply_with({7: value}, temperature)
    with pytest.raises(DataError, match="infinite"):
        reply_with(dict.fromkeys(range(VOCABULARY), -math.inf), temperature)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_tokens_may_be_ruled_out(temperature: float) -> None:
    allowed = {11, 12}
    said = reply_with({token: -math.inf for token in range(VOCABULARY) if token not in allowed}, temperature)
    assert len(said.ids) == 8
    assert set(said.ids) <= allowed
