"""The stage ``embed`` with the tiny world's SigLIP model, against that model's own forward pass."""

import pickle
from functools import cache, partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from transformers import AutoTokenizer, SiglipModel

from data_pipelines.ledger import Ledger, config_hash
from data_pipelines.media_pictures import encode_picture
from data_pipelines.sample_signals import Question, sample_columns, video_columns
from data_pipelines.supervised import Failure
from data_pipelines.vision_stage import (
    EMBED_COLUMNS,
    EMBED_VERSION,
    SAMPLE_SIGNALS,
    VIDEO_SIGNALS,
    EmbedSettings,
    EmbedWork,
    embed_item,
    embed_video,
)
from recot.data.schema import QA
from recot.errors import DataError
from recot.models.siglip_encoder import SiglipEncoder, pretrained_siglip
from recot.tiny_world.render import render_frame
from recot.tiny_world.scene import make_scene
from recot.tiny_world.truth import questions
from tests.conftest import REPO

FOLDER = str(REPO / "src/recot/tiny_world/backbones/vision")
SETTINGS = EmbedSettings(top_k=1, same_cosine=0.9)
MEDIA_COLUMNS = pa.schema([("frame_size", pa.int64()), ("pictures", pa.list_(pa.binary()))])


@pytest.fixture(scope="module")
def encoder() -> SiglipEncoder:
    return pretrained_siglip(name_or_path=FOLDER)


@cache
def frames_of(seed: int) -> np.ndarray:
    """(8, 64, 64, 3) uint8, from the middles of 8 equal spans."""
    scene = make_scene(seed, frames=64)
    return np.stack([render_frame(scene, number) for number in range(4, 64, 8)])


def as_questions(qa: list[QA]) -> list[Question]:
    return [Question(q.question, q.answer, q.options, q.task_type) for q in qa]


def test_relevance_is_what_the_forward_pass_says(encoder: SiglipEncoder) -> None:
    model = SiglipModel.from_pretrained(FOLDER).eval()
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    frames = frames_of(1)
    sentences = ["In front of a plain background, a red circle moves left.", "A blue square."]
    ids = tokenizer(sentences, padding="max_length", truncation=True, return_tensors="pt")["input_ids"]
    pixels = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        logits = model(input_ids=ids, pixel_values=pixels).logits_per_text
        cosines = (logits - model.logit_bias) / model.logit_scale.exp()
    asked = [
        Question("", " ".join(sentences), [], "caption"),
        Question("What is shown?", "A blue square.", [], "open"),
        Question("Describe it.", sentences[0], [], "open"),
    ]
    row = embed_video(frames, asked, 8.0, encoder=encoder, settings=SETTINGS)
    best = cosines.amax(dim=1)
    assert row["relevance"][0] == pytest.approx(float(best.mean()), abs=1e-5)
    assert row["relevance"][2] == pytest.approx(float(best[0]), abs=1e-5)
    assert row["relevance_caption"] == pytest.approx(float((2 * best[0] + best[1]) / 3), abs=1e-5)
    assert row["relevance_status"] == ["ok"] * 3
    embeddings = np.array(row["embeddings"], np.float32).reshape(row["embedding_frames"], -1)
    assert np.linalg.norm(embeddings, axis=1) == pytest.approx(np.ones(8))
    assert row["effective_per_min"] == pytest.approx(row["effective_frames"] / 8 * 60)


def test_captions_fit_their_own_video_best(encoder: SiglipEncoder) -> None:
    seeds = range(3)
    captions = [as_questions(questions(make_scene(seed, frames=64))[:1]) for seed in seeds]
    fits = np.array(
        [
            [
                embed_video(frames_of(seed), caption, 8.0, encoder=encoder, settings=SETTINGS)["relevance_caption"]
                for caption in captions
            ]
            for seed in seeds
        ]
    )
    assert (fits.argmax(axis=1) == np.arange(3)).all()
    assert np.diag(fits).min() > 0.03 > fits[~np.eye(3, dtype=bool)].mean()


def test_one_picture_and_no_texts(encoder: SiglipEncoder) -> None:
    frames = np.repeat(frames_of(2)[:1], 8, axis=0)
    row = embed_video(frames, [], 0.0, encoder=encoder, settings=SETTINGS)
    assert row["effective_frames"] == 1
    assert (row["effective_per_min"], row["effective_per_min_status"]) == (None, "na")
    assert (row["relevance_caption"], row["relevance_caption_status"]) == (None, "na")
    assert row["relevance"] == []
    silent = embed_video(frames, [Question("", "...", [], "caption")], 8.0, encoder=encoder, settings=SETTINGS)
    assert silent["relevance_caption_status"] == "na"
    assert silent["relevance_status"] == ["na"]


class Broken:
    """An encoder that overflows."""

    def embed_frames(self, frames: np.ndarray) -> np.ndarray:
        return np.full((len(frames), 4), np.inf, np.float32)

    def embed_texts(self, texts: list[str]) -> np.ndarray:
        return np.ones((len(texts), 4), np.float32)


@pytest.fixture
def media(tmp_path: Path) -> Ledger:
    ledger = Ledger(tmp_path / "media", "m" * 16, MEDIA_COLUMNS)
    for seed in range(3):
        pictures = [encode_picture(frame) for frame in frames_of(seed)]
        ledger.write(f"{seed:064x}", {"frame_size": 64, "pictures": pictures})
    return ledger


def test_items_through_work_and_ledger_and_into_tables(media: Ledger, tmp_path: Path) -> None:
    qa = [questions(make_scene(seed, frames=64)) for seed in range(3)]
    items = [embed_item(f"{seed:064x}", qa[seed], duration_s=8.0) for seed in range(3)]
    work = EmbedWork(media, partial(pretrained_siglip, name_or_path=FOLDER), SETTINGS)
    contents = []
    for name, order in (("one", [0, 1, 2]), ("other", [2, 0])):
        ledger = Ledger(tmp_path / name, config_hash({"top_k": 1}, EMBED_VERSION), EMBED_COLUMNS)
        with pickle.loads(pickle.dumps(work))() as run:
            for i, outcome in zip(order, run([items[i] for i in order]), strict=True):
                assert outcome.failure is None, outcome.failure
                ledger.write(items[i]["id"], outcome.result)
                assert {name: ledger.read(items[i]["id"])[name] for name in EMBED_COLUMNS.names} == outcome.result
        contents.append([ledger.path(items[i]["id"]).read_bytes() for i in (0, 2)])
        ledger.write("f" * 64, Failure("exception", "ValueError", "too dark"))
    assert contents[0] == contents[1], "the order of work and the items beside it decide nothing"
    first = Ledger(tmp_path / "one", config_hash({"top_k": 1}, EMBED_VERSION), EMBED_COLUMNS)
    rows = first.read_table([items[1]["id"], "f" * 64, items[0]["id"]])
    wanted = [items[0]["id"], None, "f" * 64, items[1]["id"]]
    videos = video_columns(rows, VIDEO_SIGNALS, wanted)
    assert videos["relevance_caption_status"].to_pylist() == ["ok", "error", "error", "ok"]
    assert videos["relevance_caption_detail"].to_pylist() == ["", None, "exception", ""]
    assert videos["relevance_caption"][0].as_py() == first.read(items[0]["id"])["relevance_caption"]
    samples = sample_columns(rows, SAMPLE_SIGNALS, wanted, [len(qa[0]), 2, 1, len(qa[1])])
    expected = [*first.read(items[0]["id"])["relevance"], *[None] * 3, *first.read(items[1]["id"])["relevance"]]
    assert samples["relevance"].to_pylist() == expected
    assert samples["relevance_status"].to_pylist()[len(qa[0]) : len(qa[0]) + 3] == ["error"] * 3
    with pytest.raises(ValueError, match="scores for"):
        sample_columns(rows, SAMPLE_SIGNALS, wanted, [len(qa[0]) + 1, 2, 1, len(qa[1])])


def test_ids_change_with_what_is_read() -> None:
    qa = QA("1", "What?", "a dog", "open", ["a dog", "a cat"])
    same = QA("2", "What?", "a dog", "open", ["a dog", "a cat"], t_start=1.0)
    base = embed_item("a" * 64, [qa], duration_s=1.0)["id"]
    assert embed_item("a" * 64, [same], duration_s=1.0)["id"] == base
    others = [
        embed_item("b" * 64, [qa], duration_s=1.0),
        embed_item("a" * 64, [qa, qa], duration_s=1.0),
        embed_item("a" * 64, [QA("1", "What?", "a dog", "open", ["a dog"])], duration_s=1.0),
        embed_item("a" * 64, [QA("1", "What?", "a dog", "needle", ["a dog", "a cat"])], duration_s=1.0),
    ]
    assert len({base, *(item["id"] for item in others)}) == 5


def test_an_encoder_that_overflows_fails_its_video(media: Ledger) -> None:
    with EmbedWork(media, Broken, SETTINGS)() as run:
        (outcome,) = run([embed_item(f"{0:064x}", [], duration_s=8.0)])
    assert outcome.failure is not None
    assert outcome.failure.reason == "exception"
    assert "not finite" in outcome.failure.message


def test_what_is_a_caption() -> None:
    long = "A man walks into a room and sits down at a table."
    captions = [
        ("Describe the video.", "short", "caption"),
        ("", "a dog", "open"),
        ("Please describe it.", long, "open"),
    ]
    assert all(Question(q, a, [], kind).is_caption for q, a, kind in captions)
    asked = [("Who describes the dog?", long, "open"), ("Describe the dog.", "brown", "open"), ("What?", long, "open")]
    assert not any(Question(q, a, [], kind).is_caption for q, a, kind in asked)


def test_a_fingerprint_tells_models_apart(encoder: SiglipEncoder) -> None:
    other = pretrained_siglip(name_or_path=FOLDER)
    assert other.fingerprint() == encoder.fingerprint()
    with torch.no_grad():
        other.model.logit_bias += 1e-6
    assert other.fingerprint() != encoder.fingerprint()


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no SigLIP model .*Give a hub name"):
        pretrained_siglip(name_or_path=str(tmp_path))
