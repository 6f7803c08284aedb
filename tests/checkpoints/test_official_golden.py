"""Imported checkpoints whose weights are those of the reference cases: the whole model gives the reference numbers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from einops import rearrange
from torch import Tensor

from recot.checkpoints.hf_folder import load_video_lm
from recot.checkpoints.import_official import import_official
from recot.grouping import insert_duplicates, pad_indices
from recot.models.prompt import Prompt
from recot.models.selection import KeepRule
from recot.models.video_input import Sample, VisualInput
from recot.models.video_lm import VideoLM
from recot.models.vision_encoder import interpolate_grid
from tests.checkpoints.official_checkpoint import (
    NEW,
    OLD,
    SMALL_VISION,
    official_keys,
    random_state,
    small_config,
    write_official,
)
from tests.golden_cases import CASES, assert_matches, outputs, regenerate

IMAGE = -200  # where the visual sequence goes, in prompts of the reference cases


def imported(
    folder: Path, weights: dict[str, Tensor], *, width: int, tower: str, dtype: torch.dtype = torch.float32
) -> VideoLM:
    """The narrow release with some weights of a reference case, written, imported and loaded."""
    config = small_config(width)
    state = random_state(official_keys(config, vision=SMALL_VISION, tower=tower), 7)
    assert weights.keys() <= state.keys()
    state = {name: tensor.to(dtype) for name, tensor in (state | weights).items()}
    write_official(folder / "official", state, config, shard_bytes=1_000_000)
    import_official(folder / "official", folder / "model", vision=SMALL_VISION)
    return load_video_lm(folder / "model", dtype="float32")[0]


def compressor(name: str) -> dict[str, Tensor]:
    params = CASES[name]["params"]
    sae = {f"model.sae.{key}": value for key, value in regenerate(params["sae"]).items()}
    return sae | {f"model.mm_projector.{key}": value for key, value in regenerate(params["projector"]).items()}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> VideoLM:
    return imported(tmp_path_factory.mktemp("full"), compressor("encode_video_8f"), width=32, tower=OLD)


@pytest.fixture(scope="module")
def half_encoder(tmp_path_factory: pytest.TempPathFactory) -> VideoLM:
    folder = tmp_path_factory.mktemp("half")
    return imported(folder, compressor("encode_video_8f"), width=32, tower=NEW, dtype=torch.float16)


ENCODE = [
    ("encode_video_8f", pad_indices(8)[0], False),
    ("encode_video_3f", pad_indices(3)[0], False),
    ("encode_video_6f_random_dup", insert_duplicates(6, [1, 5]), False),
    ("encode_image_2", np.repeat(np.arange(2), 4), True),
]


def compressed(model: VideoLM, name: str, index: np.ndarray, *, still: bool) -> Tensor:
    """From the vision tower's features on, as the model does it."""
    features = interpolate_grid(regenerate(CASES[name]["inputs"])["vision_features"], model.vision_encoder.grid)
    groups = rearrange(features[index], "(g t) h w c -> g t h w c", t=4)
    times = torch.zeros(len(groups), 4, dtype=torch.float64)
    return model.compress([VisualInput(times_s=times, features=groups, still=still)])[0]


@torch.no_grad()
@pytest.mark.parametrize(("name", "index", "still"), ENCODE)
def test_from_features_to_projected_tokens(encoder: VideoLM, name: str, index: np.ndarray, still: bool) -> None:
    assert all(CASES[name]["params"] == CASES[other]["params"] for other, *_ in ENCODE)
    assert_matches(name, "y", compressed(encoder, name, index, still=still))


@torch.no_grad()
@pytest.mark.parametrize(("name", "index", "still"), ENCODE)
def test_weights_rounded_to_float16_stay_near(half_encoder: VideoLM, name: str, index: np.ndarray, still: bool) -> None:
    gold = outputs(name)["out.y"]
    error = (compressed(half_encoder, name, index, still=still) - gold).abs().max()
    assert 1e-5 < error / gold.abs().max() < 1e-2  # rounded they are, by 2^-11


def selecting(folder: Path, name: str) -> VideoLM:
    params = {f"model.{key}": value for key, value in regenerate(CASES[name]["params"]).items()}
    weights = params | {"model.embed_tokens.weight": regenerate(CASES[name]["inputs"])["embed_table"]}
    return imported(folder, weights, width=64, tower=OLD)


def seconds_of(ids: Tensor) -> Tensor:
    """(G, T) times that a reference case's time tokens say, which the model is to write as the same tokens."""
    letters = {10: "", 11: "", 12: ".", 13: "", 14: "|"}
    said = "".join(letters.get(token, str(token)) for token in ids.tolist() if token != 151654)
    return torch.tensor([float(second) for second in said.split("|")[:-1]], dtype=torch.float64)[:, None].expand(-1, 4)


def prompt_of(ids: Tensor) -> Prompt:
    nothing = torch.zeros(len(ids), dtype=torch.bool)
    return Prompt(ids.masked_fill(ids == IMAGE, -1), nothing, torch.full_like(ids, -100))


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "suffixes"), [("score_select_g3", ("_0p7", "_0p85", "_0p99")), ("score_select_drift", ("",))]
)
def test_from_a_prompt_to_what_the_language_model_reads(tmp_path: Path, name: str, suffixes: tuple[str, ...]) -> None:
    """Time as text, scores, selection, rotary positions, additive scores and assembly, with the model's own parts."""
    model, stored = selecting(tmp_path, name), outputs(name)
    times = seconds_of(stored["in.time_token_ids"])
    visual = VisualInput(times_s=times, tokens=regenerate(CASES[name]["inputs"])["video_features"])
    sample = Sample(prompt=prompt_of(stored["in.input_ids"][0]), visuals=(0,))
    constants = CASES[name]["constants"]
    for suffix, rate in zip(suffixes, constants.get("rates", [constants.get("rate")]), strict=True):
        choice = model.choose([visual], model.compress([visual]), [sample], [KeepRule(ratio=rate, multiple_of=16)])
        assert choice is not None
        assert_matches(name, "scores", choice.selection.scores.flatten())
        assert_matches(name, f"selected{suffix}", choice.selection.positions(choice.visual)[0])
        packed = model.join(model.compress([visual]), [sample], choice)
        assert_matches(name, f"inputs_embeds{suffix}", packed.embeddings)


@torch.no_grad()
def test_two_videos_with_padded_prompts(tmp_path: Path) -> None:
    """The release scores padding too; after it nothing is read, so only what stands before is compared."""
    name = "score_select_batch2"
    model, stored, made = selecting(tmp_path, name), outputs(name), regenerate(CASES[name]["inputs"])
    visuals = [
        VisualInput(times_s=seconds_of(stored[f"in.time_token_ids_{i}"]), tokens=made[f"video_features_{i}"])
        for i in range(2)
    ]
    samples = [Sample(prompt=prompt_of(ids), visuals=(i,)) for i, ids in enumerate(stored["in.input_ids"])]
    tokens = model.compress(visuals)
    rule = KeepRule(ratio=CASES[name]["constants"]["rate"], multiple_of=16)
    choice = model.choose(visuals, tokens, samples, [rule] * 2)
    assert choice is not None
    packed = model.join(tokens, samples, choice)
    for i, embeddings in enumerate(packed.embeddings[0].split(packed.lengths)):
        assert_matches(name, f"scores_{i}", choice.selection.scores[i, : len(tokens[i])].flatten())
        assert_matches(name, f"selected_{i}", choice.selection.positions(choice.visual)[i])
        gold = stored["out.inputs_embeds"][i][stored["out.attention_mask"][i].bool()]
        worst = (embeddings[: len(gold)] - gold).abs().max()
        assert worst <= CASES[name]["outputs"]["inputs_embeds"]["tol_rel_to_absmax"] * gold.abs().max()
