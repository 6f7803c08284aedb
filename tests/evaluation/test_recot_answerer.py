"""What the tiny model is shown and told under each control, against frames decoded and prompts built here."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from recot.errors import ConfigError, VideoError
from recot.evaluation.answerer import Answered
from recot.evaluation.controls import CONTROLS, Control, shown_frames
from recot.evaluation.items import Item, Needle, Prompt
from recot.evaluation.needles import insert
from recot.evaluation.recot_answerer import RecotAnswerer, Scoring
from recot.evaluation.shown_video import Shown, VideoReader
from recot.evaluation.suites import TinyWorld
from recot.inference.ask import ask
from recot.inference.usage import Usage
from recot.inference.video import choose_frames
from recot.models.prompt import Turn, Visual, build_prompt
from recot.models.selection import KeepRule
from recot.models.selector import Selector
from recot.models.video_input import Sample, VisualInput
from recot.models.video_lm import VideoLM
from recot.video_io import FrameSampling, decode
from tests.evaluation.conftest import INFERENCE
from tests.models.tiny_video_lm import TOKENIZER, tiny_video_lm

FRAMES = 32  # sampled of each video


@pytest.fixture(scope="module")
def model() -> VideoLM:
    return tiny_video_lm()


@pytest.fixture(scope="module")
def suite(world: Path) -> TinyWorld:
    return TinyWorld(annotations=world, videos=world, counts=None)


@pytest.fixture(scope="module")
def items(suite: TinyWorld) -> list[Item]:
    return suite.load()


def answer(model: VideoLM, suite: TinyWorld, item: Item, control: Control, **changes: object) -> Answered:
    answerer = RecotAnswerer(model, replace(INFERENCE, **changes), control=control, scoring="generate")
    return answerer.answer(item, partial(suite.prompt, item))


def read(model: VideoLM, item: Item, control: Control) -> Shown:
    reader = VideoReader(model, control=control, sampling=INFERENCE.sampling, frame_size=INFERENCE.frame_size)
    with torch.inference_mode():
        return reader.read(item, Usage(torch.device("cpu")))


def frames_of(item: Item, sampling: FrameSampling = INFERENCE.sampling) -> tuple[np.ndarray, np.ndarray]:
    """All sampled frames, (F, H, W, 3), and their times."""
    chosen = choose_frames(item.video, sampling)
    decoded = decode(item.video, chosen.indices, INFERENCE.frame_size)
    return decoded.frames, decoded.times_s


@torch.inference_mode()
def compressed(model: VideoLM, frames: np.ndarray) -> torch.Tensor:
    """Of whole groups."""
    grouped = torch.from_numpy(frames).unflatten(0, (-1, 4))
    times = torch.arange(len(frames), dtype=torch.float64).view(-1, 4)
    return model.compress([VisualInput(times_s=times, frames=grouped)])[0]


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, atol=1e-4, rtol=1e-4)


def test_a_plain_answer_is_what_ask_gives(model: VideoLM, suite: TinyWorld, items: list[Item]) -> None:
    item = items[0]
    ours = answer(model, suite, item, Control())
    theirs = ask(
        model,
        item.video,
        choose_frames(item.video, INFERENCE.sampling),
        suite.prompt(item, ()).user,
        frame_size=INFERENCE.frame_size,
        rule=INFERENCE.keep,
        settings=INFERENCE.generation,
    )
    assert ours.reply == theirs.reply.text
    assert theirs.groups is not None
    seen = {name: ours.saw[name] for name in ("frames", "tokens_seen", "tokens_kept")}
    assert seen == {"frames": FRAMES, "tokens_seen": theirs.tokens_seen, "tokens_kept": theirs.tokens_kept}
    assert set(ours.saw["seconds"]) == {"probe", "decode", "compress", "tokenize", "select", "generate"}  # type: ignore[arg-type]
    assert len(ours.saw["timeline"]) == 60  # type: ignore[arg-type]
    height, width = INFERENCE.frame_size
    assert ours.saw["pixels"] == FRAMES * height * width


def test_blind_never_opens_the_video(model: VideoLM, suite: TinyWorld, items: list[Item]) -> None:
    gone = replace(items[0], video=Path("/nowhere/film.mp4"))
    answered = answer(model, suite, gone, CONTROLS["blind"])
    assert answered.saw["frames"] == answered.saw["tokens_kept"] == 0
    words = build_prompt(TOKENIZER, [Turn("user", (suite.prompt(gone, ()).user,))], reply=True)
    assert answered.saw["prompt_tokens"] == len(words.ids)
    with pytest.raises(VideoError):
        answer(model, suite, gone, Control())


def test_a_blank_video_is_black_frames_at_the_video_s_times(model: VideoLM, items: list[Item]) -> None:
    shown, plain = read(model, items[0], CONTROLS["blank_video"]), read(model, items[0], Control())
    assert torch.equal(shown.visual.times_s, plain.visual.times_s)
    assert same(shown.tokens, compressed(model, np.zeros((FRAMES, 64, 64, 3), np.uint8)))
    assert not same(shown.tokens, plain.tokens)


def test_shuffled_groups_have_the_tokens_of_groups_in_order(model: VideoLM, items: list[Item]) -> None:
    """Of the frames of two groups and a half, the half stays where it is."""
    sampling = FrameSampling(count=10)
    reader = VideoReader(model, control=CONTROLS["shuffled_groups"], sampling=sampling, frame_size=INFERENCE.frame_size)
    plain = VideoReader(model, control=Control(), sampling=sampling, frame_size=INFERENCE.frame_size)
    moved = 0
    with torch.inference_mode():
        whole = plain.read(items[0], Usage(torch.device("cpu"))).tokens
        for item in items[:8]:
            shown = reader.read(replace(item, video=items[0].video), Usage(torch.device("cpu")))
            _, times = frames_of(items[0], sampling)
            places = shown_frames("shuffled_groups", times, (), seed=0, item_id=item.id)
            assert places[8:].tolist() == [8, 9]
            order = [place // 4 for place in places[::4]]
            torch.testing.assert_close(shown.tokens, whole[order])
            assert shown.times_s.tolist() == times.tolist()
            moved += order != [0, 1, 2]
    assert moved


def test_shuffled_frames_keep_the_times_of_their_places(model: VideoLM, items: list[Item]) -> None:
    shown, plain = read(model, items[0], CONTROLS["shuffled_frames"]), read(model, items[0], Control())
    frames, times = frames_of(items[0])
    assert same(plain.tokens, compressed(model, frames))
    assert not same(shown.tokens, plain.tokens)
    assert torch.equal(shown.visual.times_s, plain.visual.times_s)
    assert shown.times_s.tolist() == times.tolist()
    places = shown_frames("shuffled", times, (), seed=0, item_id=items[0].id)
    assert same(shown.tokens, compressed(model, frames[places]))
    assert not same(shown.tokens, read(model, items[1], CONTROLS["shuffled_frames"]).tokens)  # drawn for each question


def test_frames_of_the_evidence_alone_and_of_all_but_it(model: VideoLM, items: list[Item]) -> None:
    item = replace(items[0], evidence=((2.0, 3.0), (5.0, 5.5)))
    only, removed = (read(model, item, CONTROLS[f"evidence_{which}"]).times_s for which in ("only", "removed"))
    times = frames_of(item)[1]
    inside = ((times >= 2) & (times < 3)) | ((times >= 5) & (times < 5.5))
    assert only.tolist() == times[inside].tolist()
    assert removed.tolist() == times[~inside].tolist()
    single = read(model, item, CONTROLS["single_frame"])
    assert len(single.times_s) == 1
    assert single.tokens.shape[0] == 1


@pytest.mark.parametrize(
    ("name", "inside", "expected"),
    [
        ("evidence_only", False, "within the question's evidence, as control.frames=evidence_only"),
        ("evidence_removed", False, "within the question's evidence, as control.frames=evidence_removed"),
        ("evidence_removed", True, "outside the question's evidence"),
    ],
)
def test_evidence_that_too_few_frames_are_sampled_for(
    name: str, inside: bool, expected: str, model: VideoLM, items: list[Item]
) -> None:
    """Between two frames, or around all: showing all frames, or none, would be no control."""
    times = frames_of(items[0])[1]
    span = (times[0], times[-1] + 0.01) if inside else (times[3] + 0.01, times[4] - 0.01)
    with pytest.raises(VideoError, match=rf"the video is fine.*{expected}.*sample more frames") as refused:
        read(model, replace(items[0], evidence=(span,)), CONTROLS[name])
    assert refused.value.reason == "evidence_not_sampled"


def test_all_frames_may_be_evidence(model: VideoLM, items: list[Item]) -> None:
    times = frames_of(items[0])[1]
    item = replace(items[0], evidence=((times[0], times[-1] + 0.01),))
    assert read(model, item, CONTROLS["evidence_only"]).times_s.tolist() == times.tolist()


def test_a_single_frame_is_what_ask_shows_of_it(model: VideoLM, suite: TinyWorld, items: list[Item]) -> None:
    """An image, as in training, of which every selector keeps everything."""
    item, sampling = items[0], FrameSampling(count=1)
    theirs = ask(
        model,
        item.video,
        choose_frames(item.video, sampling),
        suite.prompt(item, ()).user,
        frame_size=INFERENCE.frame_size,
        rule=INFERENCE.keep,
        settings=INFERENCE.generation,
    )
    for control in (Control(), Control(selector="uniform"), CONTROLS["single_frame"], CONTROLS["blank_video"]):
        ours = answer(model, suite, item, control, sampling=sampling)
        seen = {name: ours.saw[name] for name in ("frames", "tokens_seen", "tokens_kept")}
        assert seen == {"frames": 1, "tokens_seen": 64, "tokens_kept": 64}
        assert "timeline" not in ours.saw
        assert ours.reply == theirs.reply.text or control.video == "blank"


def test_evidence_is_measured_where_all_frames_are_shown(model: VideoLM, suite: TinyWorld, items: list[Item]) -> None:
    item = items[0]
    assert item.evidence
    for name in ("single_frame", "evidence_only", "shuffled_frames", "wrong_video"):
        asked = next(own for own in CONTROLS[name].items(items) if own.id == item.id)
        assert not any("evidence" in key for key in answer(model, suite, asked, CONTROLS[name]).saw)
    whole = KeepRule(ratio=1.0)
    assert answer(model, suite, item, Control(), keep=whole).saw["all_evidence"] == 1
    _, times = frames_of(item)
    between = (float(times[3]) + 1e-3, float(times[4]) - 1e-3)  # of two groups
    inside = (float(times[4]) + 1e-3, float(times[5]) - 1e-3)  # of one
    for gap in (between, inside):
        cut = replace(item, evidence=(*item.evidence, gap))
        assert answer(model, suite, cut, Control(), keep=whole).saw["all_evidence"] == 0
        alone = answer(model, suite, replace(item, evidence=(gap,)), Control(), keep=whole).saw
        assert alone["all_evidence"] == 0
        assert "evidence_recall" not in alone, "of no group"
        with pytest.raises(VideoError, match=r"none of the 32 sampled frames .*control\.selector=oracle") as refused:
            answer(model, suite, replace(item, evidence=(gap,)), Control(selector="oracle"))
        assert refused.value.reason == "evidence_not_sampled"


def test_other_selectors_keep_as_many_tokens_of_their_own_choice(
    model: VideoLM, suite: TinyWorld, items: list[Item]
) -> None:
    item = replace(items[0], evidence=((6.0, 7.0),))
    kinds = ("model", "uniform", "uniform_groups", "random", "first_k", "oracle")
    saw = {kind: answer(model, suite, item, Control(selector=kind)).saw for kind in kinds}
    assert len({saw[kind]["tokens_kept"] for kind in kinds}) == 1
    assert saw["oracle"]["evidence_tokens"] == saw["oracle"]["evidence_recall"] == saw["oracle"]["all_evidence"] == 1
    assert saw["first_k"]["kept_spans"] == [[0.0, 1.75]]
    assert saw["first_k"]["evidence_recall"] == 0
    assert [kind for kind in kinds if "evidence_auroc" in saw[kind]] == ["model"]
    again, other = (answer(model, suite, item, Control(selector="random", seed=seed)).saw for seed in (0, 1))
    assert again["timeline"] == saw["random"]["timeline"]
    assert other["timeline"] != saw["random"]["timeline"]
    shuffled = answer(model, suite, item, CONTROLS["shuffled_frames"]).saw
    assert "evidence_recall" not in shuffled, "what was at these seconds is elsewhere"


def test_another_selector_changes_nothing_but_the_choice(model: VideoLM, suite: TinyWorld, items: list[Item]) -> None:
    """Where everything is kept, a selector that adds scores to its rows gives the same reply under any control."""
    adding = tiny_video_lm(selector=Selector(width=model.llm.config.hidden_size, gradient="additive"))
    assert adding.selector.changes_rows
    nll = []
    for selector in ("model", "uniform"):
        own = replace(INFERENCE, keep=KeepRule(ratio=1.0))
        answerer = RecotAnswerer(adding, own, control=Control(selector=selector), scoring="likelihood")
        nll.append(answerer.answer(items[0], partial(suite.prompt, items[0])).saw["letter_nll"])
    assert nll[0] == nll[1]


def test_a_video_is_read_once_for_its_questions(model: VideoLM, suite: TinyWorld, items: list[Item]) -> None:
    first, second = items[0], items[1]
    assert first.video == second.video
    fresh = answer(model, suite, second, Control())
    answerer = RecotAnswerer(model, INFERENCE, control=Control(), scoring="generate")
    answerer.answer(first, partial(suite.prompt, first))
    reused = answerer.answer(second, partial(suite.prompt, second))
    assert set(reused.saw["seconds"]) == {"tokenize", "select", "generate"}  # type: ignore[arg-type]
    assert [own.saw["video_read"] for own in (fresh, reused)] == [True, False]
    assert list(reused.saw["peak_memory_mib"]) == ["process_so_far"]  # type: ignore[call-overload]
    for name in ("tokens_kept", "timeline", "frames"):
        assert reused.saw[name] == fresh.saw[name]
    assert reused.reply == fresh.reply
    other = next(item for item in items if item.video != first.video)
    assert "decode" in answerer.answer(other, partial(suite.prompt, other)).saw["seconds"]  # type: ignore[operator]


@pytest.mark.parametrize("damage", ["all of it", "frames"])
def test_a_video_that_cannot_be_read_is_tried_once_for_its_questions(
    damage: str, model: VideoLM, items: list[Item], tmp_path: Path
) -> None:
    content = bytearray(items[0].video.read_bytes())
    start, length = (0, len(content)) if damage == "all of it" else (content.index(b"mdat") + 4, 1500)
    content[start : start + length] = bytes(length)
    (tmp_path / "damaged.mp4").write_bytes(content)
    broken = [replace(item, video=tmp_path / "damaged.mp4") for item in items[:2]]
    reader = VideoReader(model, control=Control(), sampling=INFERENCE.sampling, frame_size=INFERENCE.frame_size)
    told, steps = [], []
    for item in broken:
        usage = Usage(torch.device("cpu"))
        with torch.inference_mode(), pytest.raises(VideoError) as caught:
            reader.read(item, usage)
        told.append((caught.value.reason, caught.value.message))
        steps.append(set(usage.seconds))
    assert told[0] == told[1]
    assert "probe" in steps[0]
    assert not steps[1]
    with torch.inference_mode():
        assert reader.read(items[0], Usage(torch.device("cpu"))).tokens.numel()


@pytest.mark.parametrize("place", [0, 10, 31])
def test_a_needle_is_painted_before_the_model(place: int, model: VideoLM, items: list[Item]) -> None:
    """Only its groups are made anew; the result is that of all frames with it."""
    needle = Needle("red circle", length=FRAMES, place=place, frames=min(3, FRAMES - place), x=0.5, y=0.5, radius=0.3)
    plain = replace(items[0], needle=replace(needle, place=20))
    item = replace(items[0], needle=needle)
    frames, _ = frames_of(item, FrameSampling(count=FRAMES))
    reader = VideoReader(model, control=Control(), sampling=FrameSampling(fps=1.0), frame_size=INFERENCE.frame_size)
    with torch.inference_mode():
        reader.read(plain, Usage(torch.device("cpu")))
        usage = Usage(torch.device("cpu"))
        shown = reader.read(item, usage)
    assert "probe" not in usage.seconds
    assert same(shown.tokens, compressed(model, insert(frames, 0, needle)))
    assert not same(shown.tokens, compressed(model, frames))
    gone = read(model, replace(item, needle=replace(needle, frames=0)), Control())
    assert same(gone.tokens, compressed(model, frames)), "a needle that is nowhere still says how many frames are seen"
    shuffled = read(model, item, CONTROLS["shuffled_frames"])
    assert shown.tokens.shape == shuffled.tokens.shape


@torch.inference_mode()
def test_likelihoods_are_those_of_a_whole_forward_pass(model: VideoLM, suite: TinyWorld, items: list[Item]) -> None:
    item = items[0]
    answerer = RecotAnswerer(model, INFERENCE, control=Control(), scoring="likelihood")
    answered = answerer.answer(item, partial(suite.prompt, item))
    frames, times = frames_of(item)
    visual = VisualInput(
        times_s=torch.from_numpy(times).view(-1, 4), frames=torch.from_numpy(frames).unflatten(0, (-1, 4))
    )
    turns = [Turn("user", (Visual(0), "\n", suite.prompt(item, ()).user))]
    sample = Sample(prompt=build_prompt(TOKENIZER, turns, reply=True), visuals=(0,))
    output = model([visual], [sample], [INFERENCE.keep])
    logits = output.hidden[0, -1] @ model.head().T
    ids = [TOKENIZER(letter)["input_ids"][0] for letter in "ABCDEFGH"[: len(item.options)]]
    expected = -logits.log_softmax(dim=-1)[ids]
    torch.testing.assert_close(torch.tensor(answered.saw["letter_nll"]), expected, atol=1e-3, rtol=1e-3)
    assert answered.reply == "ABCDEFGH"[int(expected.argmin())]


def test_the_beginning_of_a_reply_and_a_system_text_are_told(model: VideoLM, items: list[Item]) -> None:
    told = Prompt(user="Which?\nA. one\nB. two", system="Watch.", reply="Best Option: (")
    answerer = RecotAnswerer(model, INFERENCE, control=CONTROLS["blind"], scoring="generate")
    turns = [Turn("system", ("Watch.",)), Turn("user", (told.user,))]
    ids = build_prompt(TOKENIZER, turns, reply=True).ids
    begun = TOKENIZER("Best Option: (", add_special_tokens=False)["input_ids"]
    assert answerer.answer(items[0], lambda times: told).saw["prompt_tokens"] == len(ids) + len(begun)


def test_the_prompt_knows_the_times_of_the_frames(model: VideoLM, items: list[Item]) -> None:
    given = []

    def prompt(times: object) -> Prompt:
        given.append(times)
        return Prompt(user="What?")

    for control in (Control(), CONTROLS["blind"]):
        RecotAnswerer(model, INFERENCE, control=control, scoring="generate").answer(items[0], prompt)
    assert given == [frames_of(items[0])[1].tolist(), ()]


def test_a_video_that_is_too_long_fails_by_itself(suite: TinyWorld, items: list[Item]) -> None:
    short = tiny_video_lm(max_tokens=40)
    with pytest.raises(VideoError, match="the model reads 40: lower keep") as refused:
        answer(short, suite, items[0], Control())
    assert refused.value.reason == "too_long"


def test_a_video_that_no_memory_is_left_for_fails_by_itself(
    suite: TinyWorld, items: list[Item], monkeypatch: pytest.MonkeyPatch
) -> None:
    full = tiny_video_lm()

    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("tried to allocate 80 GiB")

    monkeypatch.setattr(full, "join", fail)
    with pytest.raises(VideoError, match="tried to allocate 80 GiB") as refused:
        answer(full, suite, items[0], Control())
    assert refused.value.reason == "out_of_memory"


@pytest.mark.parametrize("scoring", ["generate", "likelihood"])
def test_a_video_that_overflows_fails_by_itself(suite: TinyWorld, items: list[Item], scoring: Scoring) -> None:
    broken = tiny_video_lm()
    broken.llm.get_output_embeddings().weight.data.fill_(torch.nan)
    answerer = RecotAnswerer(broken, INFERENCE, control=Control(), scoring=scoring)
    with pytest.raises(VideoError, match="aren't numbers") as refused:
        answerer.answer(items[0], partial(suite.prompt, items[0]))
    assert refused.value.reason == "not_numbers"


@pytest.mark.parametrize(
    ("control", "scoring", "expected"),
    [
        (Control(selector="oracle", frames="shuffled"), "generate", "the evidence isn't where"),
        (Control(selector="oracle", frames="shuffled_groups"), "generate", "the evidence isn't where"),
        (Control(selector="oracle", frames="evidence_removed"), "generate", "the evidence isn't where"),
        (Control(selector="oracle", video="blank"), "generate", "the evidence isn't where"),
        (Control(frames="evidence_only", video="wrong"), "generate", "the evidence isn't where"),
        (Control(), "guess", "scoring='guess': use one of generate, likelihood"),
    ],
)
def test_settings_that_make_no_sense(model: VideoLM, control: Control, scoring: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        RecotAnswerer(model, INFERENCE, control=control, scoring=scoring)  # type: ignore[arg-type]
