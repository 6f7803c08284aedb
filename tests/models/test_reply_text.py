"""Where a reply ends, and what is shown of it while it is made."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from recot.models.generation import GenerationSettings, Reply, end_tokens, generate
from tests.models.random_llm import TOKENIZER, VOCABULARY, embed, random_ids, random_llm

SPEAKER = random_llm(num_hidden_layers=1)


class Script(nn.Module):
    """A head that lets its model say given tokens, one a call."""

    def __init__(self, ids: list[int]) -> None:
        super().__init__()
        self.left = list(ids)

    def forward(self, hidden: Tensor) -> Tensor:
        return 9.0 * nn.functional.one_hot(torch.tensor([self.left.pop(0)]), VOCABULARY)


def say(text: str | list[int], *, stop: tuple[str, ...] = (), length: int = 10_000) -> tuple[Reply, list[str]]:
    """The reply of a model that says ``text``, and the pieces in which it is shown."""
    ids = TOKENIZER(text, add_special_tokens=False)["input_ids"] if isinstance(text, str) else text
    SPEAKER.set_output_embeddings(Script([*ids, TOKENIZER.eos_token_id]))
    shown: list[str] = []
    how = GenerationSettings(max_new_tokens=length, stop=stop)
    return generate(SPEAKER, TOKENIZER, embed(SPEAKER, random_ids(0, 3)), how, shown.append), shown


def test_a_reply_ends_at_any_end_token() -> None:
    llm = random_llm()
    llm.generation_config.eos_token_id = [31, 32]
    llm.config.eos_token_id = 33
    assert end_tokens(llm, TOKENIZER) == {31, 32, 33, TOKENIZER.eos_token_id}
    for end in (31, 32, 33, TOKENIZER.eos_token_id):
        llm.set_output_embeddings(Script([40, 41, end, 42, 43]))
        reply = generate(llm, TOKENIZER, embed(llm, random_ids(0)), GenerationSettings(max_new_tokens=5))
        assert reply == Reply(TOKENIZER.decode([40, 41]), (40, 41, end), "end")


def test_a_reply_ends_at_its_length() -> None:
    reply, shown = say([40, 41, 42, 43], length=3)
    assert reply == Reply(TOKENIZER.decode([40, 41, 42]), (40, 41, 42), "length")
    assert "".join(shown) == reply.text
    assert say([40, 41], length=3)[0].stopped_by == "end"


def test_a_stop_string_over_several_tokens_is_found_and_never_shown() -> None:
    text = "scene 1: red circle\nscene 2: blue ##"
    tokens = TOKENIZER(text, add_special_tokens=False)["input_ids"]
    assert not any("e\nsc" in TOKENIZER.decode([token]) for token in tokens)
    reply, shown = say(text, stop=("never", "e\nsc", "blue"))
    assert (reply.text, reply.stopped_by) == ("scene 1: red circl", "stop")
    assert "".join(shown) == reply.text
    assert len(reply.ids) < len(tokens)


def test_the_first_of_two_stop_strings_in_a_token_counts() -> None:
    (token,) = TOKENIZER(" red", add_special_tokens=False)["input_ids"]
    for stop in (("d", "re"), ("re", "d")):
        assert say([40, token], stop=stop)[0].text == TOKENIZER.decode([40]) + " "


def test_what_only_began_like_a_stop_string_is_shown_in_the_end() -> None:
    reply, shown = say("a ##", stop=("###",))
    assert (reply.text, reply.stopped_by) == ("a ##", "end")
    assert shown[-1] == "##"
    assert "".join(shown) == "a ##"


def test_a_special_token_can_be_a_stop_string() -> None:
    start = TOKENIZER.convert_tokens_to_ids("<|im_start|>")
    assert say([40, start, 41], stop=("<|im_start|>",))[0].text == TOKENIZER.decode([40])


LETTERS = st.text(alphabet="ab#\n é你🙂", max_size=12)


@settings(max_examples=60, deadline=None)
@given(LETTERS, st.lists(LETTERS.filter(bool).map(lambda text: text[:3]), max_size=2))
def test_any_text_is_shown_whole_up_to_any_stop_string(text: str, stop: list[str]) -> None:
    reply, shown = say(text, stop=tuple(stop))
    assert "".join(shown) == reply.text
    found = [at for string in stop if (at := text.find(string)) >= 0]
    assert (reply.stopped_by == "stop") == bool(found)
    if found:
        assert reply.text in {text[:at] for at in found}
        assert not any(string in reply.text for string in stop)
    else:
        assert reply.text == text
    so_far = ""
    for piece in shown:
        so_far += piece
        assert reply.text.startswith(so_far)


def test_characters_are_shown_when_they_are_whole() -> None:
    text = "naïve 你好 🙂!"
    tokens = TOKENIZER(text, add_special_tokens=False)["input_ids"]
    assert len(tokens) > len(text)
    reply, shown = say(text)
    assert reply.text == "".join(shown) == text
    assert {"ï", "你", "好", "🙂"} <= set(shown)


def test_a_character_cut_by_the_length_is_left_out() -> None:
    tokens = len(TOKENIZER("ab 🙂", add_special_tokens=False)["input_ids"])
    for missing in (1, 2, 3):
        reply, shown = say("ab 🙂", length=tokens - missing)
        assert (reply.text, reply.stopped_by, "".join(shown)) == ("ab ", "length", "ab ")
        assert len(reply.ids) == tokens - missing


def test_bytes_that_are_no_character_stay_visible_inside() -> None:
    smile = TOKENIZER("🙂", add_special_tokens=False)["input_ids"]
    reply, shown = say([40, *smile[:2], 41])
    assert reply.text == "".join(shown)
    assert reply.text.startswith(TOKENIZER.decode([40]))
    assert "\ufffd" in reply.text
