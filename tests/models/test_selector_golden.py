"""Projector, window attention and selector against reference numbers of the released model's modules."""

import pytest
import torch
from einops import rearrange
from torch import Tensor

from recot.checkpoints.official import projector_from_official, selector_from_official
from recot.models.embedding_rotary import rotate_embeddings
from recot.models.projector import Projector
from recot.models.selection import KeepRule
from recot.models.selector import Selector
from recot.models.visual_groups import Query, VisualGroups
from recot.models.window_attention import WindowTimeAttention
from tests.golden_cases import CASES, assert_matches, outputs, regenerate

PLACEHOLDER = 151654


def projector(params: dict[str, Tensor]) -> Projector:
    made = Projector(width=params["0.weight"].shape[1], llm_width=params["0.weight"].shape[0])
    made.load_state_dict(projector_from_official(params))
    return made


def test_projector() -> None:
    case = CASES["projector_mlp2x_gelu"]
    x = regenerate(case["inputs"])["x"]
    y = projector(regenerate(case["params"]))(rearrange(x, "n (h w) c -> n h w c", h=3), pool=False)
    assert_matches("projector_mlp2x_gelu", "y", y)


def test_pool() -> None:
    identity = Projector(width=16, llm_width=16, depth=1)
    identity.load_state_dict({"layers.0.weight": torch.eye(16), "layers.0.bias": torch.zeros(16)})
    x = regenerate(CASES["get_2dpool"]["inputs"])["x"]
    assert_matches("get_2dpool", "average", identity(rearrange(x, "n (h w) c -> n h w c", h=24), pool=True))


def window_attention(name: str) -> tuple[WindowTimeAttention, Tensor]:
    attention = WindowTimeAttention(width=64, heads=4, layout="official")
    attention.load_state_dict(regenerate(CASES[name]["params"]))
    return attention, regenerate(CASES[name]["inputs"])["x"]


@pytest.mark.parametrize("name", [n for n in CASES if n.startswith("wtta")])
def test_window_attention(name: str) -> None:
    attention, x = window_attention(name)
    assert_matches(name, "y", attention.forward_sequence(x, time_tokens=10, video_tokens=144))


@pytest.mark.parametrize(("name", "output"), [("rotary_308x64", "y"), ("rotary_long_tail", "y_last32")])
def test_rotary(name: str, output: str) -> None:
    x = regenerate(CASES[name]["inputs"])["x"]
    kept = torch.arange(len(x))[-len(outputs(name)[f"out.{output}"]) :]
    assert_matches(name, output, rotate_embeddings(x[kept], kept))


def official_inputs(
    table: Tensor, videos: list[Tensor], ids: list[Tensor], prompt: Tensor
) -> tuple[VisualGroups, Query]:
    """Videos as VisualGroups, and the released model's query: every token of the prompt but the image's."""
    groups = max(len(video) for video in videos)
    tokens = torch.full((len(videos), groups, 144, 64), torch.nan)
    time = torch.full((len(videos), groups, 11, 64), torch.nan)
    time_valid = torch.zeros(len(videos), groups, 11, dtype=torch.bool)
    valid = torch.zeros(len(videos), groups, dtype=torch.bool)
    for b, (video, sequence) in enumerate(zip(videos, ids, strict=True)):
        tokens[b, : len(video)], valid[b, : len(video)] = video, True
        group, since = 0, 0
        for token in sequence.tolist():
            if token == PLACEHOLDER:
                since += 1
                continue
            if since:
                group, since = group + 1, 0
            slot = int(time_valid[b, group].sum())
            time[b, group, slot], time_valid[b, group, slot] = table[token], True
    text = prompt != -200
    return VisualGroups(tokens, time, time_valid, valid), Query(table[prompt.clamp(min=0)], text)


def official_selector(name: str) -> Selector:
    selector = Selector(width=64, layout="official", gradient="additive", chunk_groups=2)
    selector.load_state_dict(selector_from_official(regenerate(CASES[name]["params"])))
    return selector


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "suffixes"), [("score_select_g3", ("_0p7", "_0p85", "_0p99")), ("score_select_drift", ("",))]
)
def test_scores_and_selection_of_one_video(name: str, suffixes: tuple[str, ...]) -> None:
    stored, made = outputs(name), regenerate(CASES[name]["inputs"])
    prompt, table = stored["in.input_ids"], made["embed_table"]
    visual, query = official_inputs(table, [made["video_features"]], [stored["in.time_token_ids"]], prompt)
    selector = official_selector(name)
    sequence = visual.rows(0, visual.places(0))
    assert_matches(name, "wtta_out", selector.attention.forward_sequence(sequence, time_tokens=10, video_tokens=144))
    constants = CASES[name]["constants"]
    for suffix, rate in zip(suffixes, constants.get("rates", [constants.get("rate")]), strict=True):
        selection = selector(visual, query, [KeepRule(ratio=rate, multiple_of=16)])
        assert_matches(name, "scores", selection.scores.flatten())
        assert_matches(name, f"selected{suffix}", selection.positions(visual)[0])
        at = int((prompt[0] == -200).nonzero())
        rows = selector.rows(visual, selection)[0]
        embeds = torch.cat([table[prompt[0, :at]], rows, table[prompt[0, at + 1 :]]])
        assert_matches(name, f"inputs_embeds{suffix}", embeds[None])


@torch.no_grad()
def test_scores_and_selection_of_two_videos() -> None:
    name = "score_select_batch2"
    stored, made = outputs(name), regenerate(CASES[name]["inputs"])
    table, prompt = made["embed_table"], stored["in.input_ids"]
    videos, ids = (
        [source[f"{key}_{i}"] for i in range(2)]
        for source, key in ((made, "video_features"), (stored, "in.time_token_ids"))
    )
    visual, query = official_inputs(table, videos, ids, prompt)
    selector = official_selector(name)
    selection = selector(visual, query, [KeepRule(ratio=CASES[name]["constants"]["rate"], multiple_of=16)] * 2)
    for b, video in enumerate(videos):
        assert_matches(name, f"scores_{b}", selection.scores[b, : len(video)].flatten())
        assert_matches(name, f"selected_{b}", selection.positions(visual)[b])
        at = int((prompt[b] == -200).nonzero())
        real = prompt[b, at + 1 :][stored["in.attention_mask_in"][b, at + 1 :].bool()]
        embeds = torch.cat([table[prompt[b, :at]], selector.rows(visual, selection)[b], table[real]])
        gold = stored["out.inputs_embeds"][b]
        worst = (embeds - gold[: len(embeds)]).abs().max()
        assert worst <= CASES[name]["outputs"]["inputs_embeds"]["tol_rel_to_absmax"] * gold.abs().max()
        assert int(stored["out.attention_mask"][b].sum()) == len(embeds)


def test_foreign_and_missing_keys_are_named() -> None:
    with pytest.raises(ValueError, match=r"text_mlp\.0\.bias"):
        selector_from_official({"text_mlp.0.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"1\.weight"):
        projector_from_official({"0.weight": torch.zeros(1), "0.bias": torch.zeros(1), "1.weight": torch.zeros(1)})
