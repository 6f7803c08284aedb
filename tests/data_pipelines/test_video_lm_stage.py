"""The stage ``video_lm``: what is asked, by hand; then an exported tiny model in the whole pipeline."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from data_pipelines.config import PruneConfig
from data_pipelines.media_pictures import decode_picture
from data_pipelines.pipeline import Models, prune
from data_pipelines.prune import model_of, video_lm_node
from data_pipelines.sample_signals import Question
from data_pipelines.signals.blind import NO_QUESTION
from data_pipelines.summary import Summary
from data_pipelines.video_lm_stage import SAMPLE_SIGNALS, VIDEO_LM_COLUMNS, score_questions
from recot.checkpoints.hf_folder import save_video_lm
from recot.checkpoints.inference import Inference
from recot.errors import ConfigError, DataError
from recot.models.generation import GenerationSettings
from recot.models.selection import KeepRule
from recot.models.video_likelihood import VideoReplyLikelihood
from recot.video_io import FrameSampling
from tests.models.tiny_video_lm import tiny_video_lm

CHOICE = Question("What colour is it?", "blue", ["red", "blue", "green"], "open")
FREE = Question("What moves?", "a ball", [], "open")


class Seer:
    """Knows the answer the better the more it sees; of one frame it goes by that frame's brightness."""

    def look(self, frames: np.ndarray, times_s: Sequence[float]) -> float:
        assert len(frames) == len(times_s)
        assert all(time == frame.max() for time, frame in zip(times_s, frames, strict=True))
        return float(times_s[0]) if len(frames) == 1 else float(len(frames))

    def letter_nll(self, seen: float, prompts: Sequence[str], letters: str) -> np.ndarray | None:
        """The right letter is likelier by ``seen`` nats, and A by 1 more."""
        found = np.full((len(prompts), len(letters)), 10.0)
        for row, prompt in zip(found, prompts, strict=True):
            row["ABC".index(prompt[prompt.index(". blue") - 1])] -= seen
        found[:, 0] -= 1.0
        return found

    def reply_nll(self, seen: float, prompt: str, reply: str) -> tuple[float, int] | None:
        if prompt == NO_QUESTION:
            return (0.01 if reply == "not shown" else 30.0), 4
        return 20.0 - 2 * seen, 4


def asked(question: Question, model: object, count: int = 7) -> dict[str, object]:
    frames = np.stack([np.full((8, 8, 3), value, np.uint8) for value in range(count)])
    row = score_questions(frames, [float(n) for n in range(count)], [question], model=model)  # type: ignore[arg-type]
    assert row.keys() == set(VIDEO_LM_COLUMNS.names)
    return {name: values[0] for name, values in row.items()}


def test_margin_and_gains_by_hand() -> None:
    """The middle one of 7 frames is number 3. A letter that is always likelier cancels out over rotations."""
    choice = asked(CHOICE, Seer())
    assert choice["one_frame_margin"] == pytest.approx(3)
    assert choice["one_frame_margin_detail"] == "0.00 without the frame"
    assert (choice["video_gain"], choice["single_frame"]) == (pytest.approx(7), pytest.approx(4))
    free = asked(FREE, Seer())
    p = np.exp(-14.0)
    assert free["one_frame_margin"] == pytest.approx(np.log(p / (1 - p)))
    assert (free["video_gain"], free["single_frame"]) == (pytest.approx(14 / 4), pytest.approx(8 / 4))
    assert {choice[f"{name}_status"] for name in ("one_frame_margin", "video_gain", "single_frame")} == {"ok"}


def test_what_is_said_of_any_frame_is_not_read_off_it() -> None:
    usual = asked(Question(FREE.question, "not shown", [], "open"), Seer())
    p, p_unasked = np.exp(-14.0), np.exp(-0.01)
    assert usual["one_frame_margin"] == pytest.approx(np.log(p / (1 - p)) - np.log(p_unasked / (1 - p_unasked)))
    assert usual["single_frame"] == asked(FREE, Seer())["single_frame"]


def test_a_video_of_one_frame_is_that_frame() -> None:
    one = asked(CHOICE, Seer(), count=1)
    assert one["single_frame"] == 0


class ShortSighted(Seer):
    """Reads no more than one frame."""

    def letter_nll(self, seen: float, prompts: Sequence[str], letters: str) -> np.ndarray | None:
        return None if seen > 3 else super().letter_nll(seen, prompts, letters)


@pytest.mark.parametrize(
    ("question", "model", "why"),
    [
        (Question("Describe the video.", "A ball moves.", [], "caption"), Seer(), "a caption"),
        (Question("What colour is it?", "black", ["red", "blue"], "open"), Seer(), "none of the 2 options"),
        (CHOICE, ShortSighted(), "longer than the model reads"),
    ],
)
def test_what_cannot_be_asked(question: Question, model: Seer, why: str) -> None:
    found = asked(question, model)
    for name in ("one_frame_margin", "video_gain", "single_frame"):
        assert (found[name], found[f"{name}_status"]) == (None, "na")
        assert why in str(found[f"{name}_detail"])


INFERENCE = Inference(
    frame_size=(64, 64),
    sampling=FrameSampling(fps=8.0, max_frames=64),
    keep=KeepRule(ratio=0.5),
    generation=GenerationSettings(max_new_tokens=4),
)
QUESTIONS: list[dict[str, Any]] = [
    {"question": "What colour is the circle?", "options": ["red", "blue", "green"], "answer": "blue"},
    {"question": "What shape is red?", "options": ["square", "circle"], "answer": "circle"},
    {"question": "How many circles are there?", "answer": "two"},
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two exported models that differ in their random weights."""
    made = [tmp_path_factory.mktemp("models") / name for name in ("one", "other")]
    for seed, folder in enumerate(made):
        save_video_lm(tiny_video_lm(seed), folder, INFERENCE)
    return made


RULE = "+pruning.policy.rules.one_frame_enough={signal: one_frame_margin, max: %r, source: test}"


@pytest.fixture
def config(clips: Path, tmp_path: Path, make_config: Callable[..., PruneConfig]) -> Callable[..., PruneConfig]:
    """Three questions about each of two clips."""
    source = tmp_path / "rows.json"
    source.write_text(json.dumps([{"video": f"a/{i}.mp4", **asked} for i in range(2) for asked in QUESTIONS]))
    given = [f"source={source}", f"video_root={clips}", "pruning=none", "write_shards=false", "workers=1"]
    given += ["scorers.frame_size=64", "scorers.frames=5"]
    return lambda name, *more: make_config(*given, f"output={tmp_path / name}", *more)


def run(config: PruneConfig) -> tuple[Summary, list[dict[str, Any]]]:
    """As the entry does it."""
    summary = prune(config, Models(video_lm=model_of(video_lm_node(config.scorers))))
    return summary, pq.read_table(f"{config.output}/manifest.parquet").to_pylist()


def margins(manifest: list[dict[str, Any]]) -> list[float]:
    assert [row["one_frame_margin_status"] for row in manifest] == ["ok"] * len(manifest)
    return [row["one_frame_margin"] for row in manifest]


def written(scores: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in scores.glob("video_lm/*/*.parquet")}


def test_without_a_model_the_rule_judges_nothing_and_says_so(config: Callable[..., PruneConfig]) -> None:
    summary, manifest = run(config("out", RULE % -1000.0))
    assert (summary.not_judged, summary.questions.dropped) == (["one_frame_enough"], 0)
    assert "one_frame_margin" not in manifest[0]


def test_an_exported_model_in_the_pipeline(
    folders: list[Path], tmp_path: Path, config: Callable[..., PruneConfig]
) -> None:
    chosen = f"scorers.video_lm={folders[0]}"
    _, manifest = run(config("all", chosen))

    # The manifest has what the model says when it is asked directly, about the frames that the stage media kept.
    directly = VideoReplyLikelihood(tiny_video_lm(0), frame_size=(64, 64), keep=INFERENCE.keep)
    stored = {row["key"]: row for path in tmp_path.glob("scores/media/*/*") for row in pq.read_table(path).to_pylist()}
    for row, text in zip(manifest, QUESTIONS * 2, strict=True):
        media = stored[row["key"]]
        frames = np.stack([decode_picture(code, 64) for code in media["pictures"]])
        asked = Question(text["question"], text["answer"], text.get("options", []), row["task_type"])
        alone = score_questions(frames, media["frame_times_s"], [asked], model=directly)
        for name in SAMPLE_SIGNALS:
            assert row[name] == pytest.approx(alone[name][0], abs=1e-5)
    found = sorted(margins(manifest))
    assert len(set(found)) == 6

    # A threshold is applied to what is in the ledger, and a loss there is made good by the same bytes.
    before = written(tmp_path / "scores")
    assert len(before) == 2
    lost, kept = sorted(before)
    content = lost.read_bytes()
    lost.unlink()
    summary, manifest = run(config("rule", chosen, RULE % found[3]))
    assert written(tmp_path / "scores")[kept] == before[kept]
    assert lost.read_bytes() == content
    assert (summary.not_judged, summary.question_reasons) == ([], {"one_frame_enough": 2})
    assert [row["reason_codes"] for row in manifest] == [
        ["one_frame_enough"] if value > found[3] else [] for value in margins(manifest)
    ]

    # A copy of the model elsewhere is the same model; other weights in its place are another one.
    place = tmp_path / "model"
    shutil.copytree(folders[0], place)
    before = written(tmp_path / "scores")
    run(config("copy", f"scorers.video_lm={place}"))
    assert written(tmp_path / "scores") == before
    shutil.copyfile(folders[1] / "model.safetensors", place / "model.safetensors")
    with pytest.raises(DataError, match=r"made with another input or models.*overwrite=true"):
        run(config("copy", f"scorers.video_lm={place}"))
    _, manifest = run(config("copy", f"scorers.video_lm={place}", "overwrite=true"))
    assert len(written(tmp_path / "scores")) == 4
    assert not set(margins(manifest)) & set(found)


def test_presets_have_the_rule(make_config: Callable[..., PruneConfig]) -> None:
    for preset, bound in (("balanced", 4.0), ("strict", 2.0)):
        rule = make_config("source=a", "output=b", f"pruning={preset}").pruning.policy.rules["one_frame_enough"]
        assert (rule.signal, rule.max, rule.enabled) == ("one_frame_margin", bound, True)


def test_a_folder_without_a_model(tmp_path: Path, make_config: Callable[..., PruneConfig]) -> None:
    with pytest.raises(ConfigError, match=r"scorers.video_lm=.*: there is no model \(no config.json\)"):
        make_config("source=a", "output=b", f"scorers.video_lm={tmp_path}").check()
