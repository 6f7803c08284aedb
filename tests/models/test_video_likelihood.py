"""Likelihoods of replies about frames, against forward passes of one prompt and against reading from the cache."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from recot.errors import ConfigError, DataError
from recot.models.generation import option_log_likelihoods
from recot.models.selection import KeepRule
from recot.models.video_input import VisualInput
from recot.models.video_likelihood import VideoReplyLikelihood
from recot.models.video_lm import VideoLM
from tests.models.tiny_video_lm import TOKENIZER, sample, tiny_video_lm

HALF = KeepRule(ratio=0.5)
TIMES = [0.5 * n for n in range(5)]
QUESTION = "What colour is the circle?"
PROMPTS = [f"{QUESTION}\nA. red\nB. blue\nC. green", f"{QUESTION}\nA. blue", "Which?"]


@pytest.fixture(scope="module")
def model() -> VideoLM:
    return tiny_video_lm()


@pytest.fixture
def likelihood(model: VideoLM) -> VideoReplyLikelihood:
    return VideoReplyLikelihood(model, frame_size=(64, 64), keep=HALF)


def frames(count: int, side: int = 64) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def visual(shown: np.ndarray) -> list[VisualInput]:
    """Groups of 4 written down once more: the last frame fills the last one, and one frame is an image."""
    if not len(shown):
        return []
    padded = [*range(len(shown)), *[len(shown) - 1] * (-len(shown) % 4)]
    grouped = torch.from_numpy(shown[padded]).view(-1, 4, 64, 64, 3)
    times = torch.tensor([TIMES[i] for i in padded], dtype=torch.float64).view(-1, 4)
    return [VisualInput(times_s=times, frames=grouped, still=len(shown) == 1)]


@pytest.mark.parametrize("count", [0, 1, 5])
@torch.no_grad()
def test_the_nll_of_a_reply_is_that_of_its_tokens_and_the_end_of_the_turn(
    model: VideoLM, likelihood: VideoReplyLikelihood, count: int
) -> None:
    shown = frames(count)
    found = likelihood.reply_nll(likelihood.look(shown, TIMES[:count]), QUESTION, "dark red")
    said = TOKENIZER("dark red<|im_end|>")["input_ids"]
    after = len(TOKENIZER("\n")["input_ids"])  # what the template writes behind the end of a turn
    numbers = tuple(range(len(visual(shown))))
    hidden = model(visual(shown), [sample(QUESTION, numbers, reply="dark red")], [HALF]).hidden[0]
    logits = (hidden @ model.head().T)[-len(said) - after - 1 : -after - 1]
    assert found is not None
    assert found[1] == len(said)
    expected = F.cross_entropy(logits.double(), torch.tensor(said), reduction="sum")
    assert found[0] == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize("count", [0, 1, 5])
@torch.no_grad()
def test_the_nll_of_letters_is_what_the_cache_says_of_each_prompt_alone(
    model: VideoLM, likelihood: VideoReplyLikelihood, count: int
) -> None:
    shown = frames(count)
    found = likelihood.letter_nll(likelihood.look(shown, TIMES[:count]), PROMPTS, "ABC")
    letters = [torch.tensor(TOKENIZER(letter)["input_ids"]) for letter in "ABC"]
    assert found is not None
    assert found.dtype == np.float64
    for prompt, nll in zip(PROMPTS, found, strict=True):
        visuals = visual(shown)
        asked = sample(prompt, tuple(range(len(visuals))))
        tokens = model.compress(visuals)
        packed = model.join(tokens, [asked], model.choose(visuals, tokens, [asked], [HALF]))
        expected = -option_log_likelihoods(model.llm, packed.embeddings, letters, chunk=64)
        assert nll == pytest.approx(expected.numpy(), abs=1e-4)


def test_frames_tell_the_model_something(likelihood: VideoReplyLikelihood) -> None:
    sights = [likelihood.look(frames(count), TIMES[:count]) for count in (0, 1, 5)]
    nothing, frame, video = (likelihood.reply_nll(seen, QUESTION, "red") for seen in sights)
    assert len({nothing, frame, video}) == 3
    assert likelihood.reply_nll(sights[1], QUESTION, "red") == frame


def test_larger_frames_are_resized_as_in_training(model: VideoLM) -> None:
    narrow = VideoReplyLikelihood(model, frame_size=(64, 64), keep=HALF)
    large = frames(1, side=96)
    small = np.stack([np.asarray(Image.fromarray(frame).resize((64, 64), Image.Resampling.BICUBIC)) for frame in large])
    one, other = (narrow.look(shown, [0.0]) for shown in (large, small))
    assert one[0].tokens is not None
    assert other[0].tokens is not None
    assert torch.equal(one[0].tokens, other[0].tokens)


def test_smaller_frames_are_refused(likelihood: VideoReplyLikelihood) -> None:
    with pytest.raises(ConfigError, match=r"scorers.frame_size=32: .* 64 x 64 .*Set scorers.frame_size=64"):
        likelihood.look(frames(1, side=32), [0.0])


def test_what_is_longer_than_the_model_reads(model: VideoLM) -> None:
    short = VideoReplyLikelihood(tiny_video_lm(max_tokens=64), frame_size=(64, 64), keep=HALF)
    assert short.letter_nll([], ["Which?"], "AB") is not None
    assert short.letter_nll([], ["Which?", "Which? " * 64], "AB") is None
    assert short.reply_nll([], "Which?", "red " * 64) is None


def test_letters_must_be_tokens(likelihood: VideoReplyLikelihood) -> None:
    with pytest.raises(DataError, match="each must be one token"):
        likelihood.letter_nll([], ["Which?"], "A\u00c4")
