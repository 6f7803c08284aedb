"""Videos that show alike things are grouped, and a selection with a budget takes some of each group."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipelines.config import PruneConfig
from data_pipelines.embedding_clusters import ClusterSettings, embedding_clusters
from data_pipelines.pipeline import Models, prune
from data_pipelines.scoring import Model
from recot.tiny_world.video import encode_mp4
from tests.conftest import REPO

GROUPS, EACH, WIDTH = 6, 40, 16


def embedded(vectors: list[np.ndarray | None]) -> pa.Table:
    """Videos with (k, C) frame embeddings, or none."""
    return pa.table(
        {
            "video_id": [f"{i:04}" for i in range(len(vectors))],
            "embeddings": pa.array([None if v is None else v.ravel() for v in vectors], pa.list_(pa.float32())),
            "embedding_frames": pa.array([None if v is None else len(v) for v in vectors], pa.int64()),
        }
    )


def around(rng: np.random.Generator, direction: np.ndarray, frames: int) -> np.ndarray:
    """Frames that point almost there, of any length."""
    return (direction + 0.1 * rng.normal(size=(frames, WIDTH))) * rng.uniform(0.5, 5, (frames, 1))


@pytest.fixture(scope="module")
def planted() -> pa.Table:
    """Video i is of group i % 6; some have fewer frames than others."""
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(GROUPS, WIDTH))
    return embedded([around(rng, directions[i % GROUPS], frames=8 - i % 3) for i in range(GROUPS * EACH)])


@pytest.mark.parametrize(("size", "most"), [(EACH, EACH), (7, 7), (None, 22)])  # sqrt(2 x 240) is 21.9
def test_what_is_alike_is_together(planted: pa.Table, size: int | None, most: int) -> None:
    cluster = embedding_clusters(planted, ClusterSettings(size=size)).to_pylist()
    assert max(Counter(cluster).values()) <= most
    group_of = {(label, i % GROUPS) for i, label in enumerate(cluster)}
    assert len(group_of) == len(set(cluster))  # each cluster is of one planted group
    assert list(dict.fromkeys(cluster)) == list(range(len(set(cluster))))


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32))
def test_the_order_of_rows_does_not_matter_but_the_seed_does(planted: pa.Table, seed: int) -> None:
    order = pa.array(np.random.default_rng(seed).permutation(len(planted)))
    found = embedding_clusters(planted, ClusterSettings(size=9))
    assert embedding_clusters(planted.take(order), ClusterSettings(size=9)).equals(found.take(order))
    assert not embedding_clusters(planted, ClusterSettings(size=9, seed=1)).equals(found)


def test_without_embeddings_and_all_alike() -> None:
    same = np.ones((4, WIDTH))
    found = embedding_clusters(embedded([None, *[same] * 50, None]), ClusterSettings(size=10))
    assert found.to_pylist() == [None, *[0] * 50, None]
    nothing = embedding_clusters(embedded([None] * 3), ClusterSettings(size=10))
    assert nothing.to_pylist() == [None] * 3
    assert nothing.type == pa.int64()


class MeanColour:
    """Embeds frames by their mean colour, and texts anywhere."""

    def embed_frames(self, frames: np.ndarray) -> np.ndarray:
        return frames.mean(axis=(1, 2)).astype(np.float32) + 1

    def embed_texts(self, texts: list[str]) -> np.ndarray:
        return np.ones((len(texts), 3), np.float32)


def test_a_budget_is_shared_out_over_clusters(
    tmp_path: Path, make_config: Callable[..., PruneConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten red videos and two blue ones, of equal worth: of two that may stay, one is blue."""
    rng = np.random.default_rng(0)
    (tmp_path / "clips").mkdir()
    for i in range(12):
        frames = rng.integers(0, 60, (8, 32, 32, 3), dtype=np.uint8)
        frames[..., 0 if i < 10 else 2] += 190
        (tmp_path / "clips" / f"{i:02}.mp4").write_bytes(encode_mp4(frames, size=32, fps=8.0))
    clips = f"{tmp_path / 'clips'}"
    chosen = ["budget=2", "strata=[embedding_cluster]", "weights={}", "floor=1"]
    changes = ["workers=1", "pruning=none", "pruning.clusters.size=10", "write_shards=false"]
    changes += [f"pruning.policy.selection.{text}" for text in chosen]
    arguments = [f"source={clips}", f"evaluation_sets=[{clips}]", f"output={tmp_path / 'out'}", *changes]
    monkeypatch.chdir(REPO)  # where workers find the package of the tests
    prune(make_config(*arguments), Models(encoder=Model(MeanColour, {"name": "mean colour"})))
    rows = pq.read_table(tmp_path / "out" / "manifest.parquet").to_pylist()
    assert [row["embedding_cluster"] for row in rows] == [0] * 10 + [1] * 2
    assert [row["stratum"] for row in rows] == ["0"] * 10 + ["1"] * 2
    assert [row["embedding_cluster"] for row in rows if row["decision"] == "keep"] == [0, 1]
    assert [row["leak_of"] for row in rows] == [row["video_id"] for row in rows]
