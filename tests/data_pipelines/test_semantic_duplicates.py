"""Videos that show the same in the same order are found by their embeddings."""

import numpy as np
import pyarrow as pa

from data_pipelines.duplicates import DuplicateSettings, find_duplicates
from data_pipelines.duplicates.semantic import ordered_cosine
from tests.data_pipelines.hash_tables import clusters, hash_table, noisy, sequence

DEFAULT = DuplicateSettings()


def embedded(videos: pa.Table, frames: list[np.ndarray | None], size: int = -1) -> pa.Table:
    """With (k, C) frame embeddings, in lists of a fixed size if that is given."""
    values = [None if f is None else f.reshape(-1).tolist() for f in frames]
    counts = [None if f is None else len(f) for f in frames]
    videos = videos.append_column("embeddings", pa.array(values, pa.list_(pa.float32(), size)))
    return videos.append_column("embedding_frames", pa.array(counts, pa.int64()))


def test_semantic_duplicates_show_the_same_in_the_same_order() -> None:
    rng = np.random.default_rng(2)
    shots, still = rng.normal(size=(8, 32)), np.repeat(rng.normal(size=(1, 32)), 8, 0)
    frames: dict[str, np.ndarray | None] = {
        "a": shots,
        "alike": shots + 0.2 * rng.normal(size=shots.shape),
        "in another order": shots[rng.permutation(8)],
        "reversed": shots[::-1],
        "other": rng.normal(size=(8, 32)),
        "still": still,
        "still too": still + 0.01,
        "not embedded": None,
    }
    hashes = {name: sequence(rng, 6) for name in frames}
    videos = hash_table(hashes, [noisy(rng, h, 0.5) for h in hashes.values()], [8.0] * len(frames))
    videos = embedded(videos, list(frames.values()))
    found = find_duplicates(videos, settings=DEFAULT)
    assert {group for group in clusters(found) if len(group) > 1} == {frozenset({"a", "alike"})}
    rows = {row["video_id"]: row for row in found.to_pylist()}
    assert rows["alike"]["dup_kind"] == "semantic"
    assert 0.9 < rows["alike"]["dup_score"] < 1
    chunked = pa.concat_tables([videos.slice(0, 3), videos.slice(3)])
    assert find_duplicates(chunked, settings=DEFAULT).equals(found)
    fixed = embedded(videos.select(range(6)), list(frames.values()), size=8 * 32)
    assert find_duplicates(fixed.slice(1), settings=DEFAULT).num_rows == 7
    assert find_duplicates(fixed, settings=DEFAULT).equals(found)


def test_semantic_pairs_across_many_clusters() -> None:
    """More videos than one k-means cluster may have: nearly all planted pairs are found."""
    rng = np.random.default_rng(3)
    count = 1200
    originals = rng.normal(size=(count, 4, 16)).astype(np.float32)
    copies = originals + 0.1 * rng.normal(size=originals.shape).astype(np.float32)
    names = [f"{i}" for i in range(2 * count)]
    nothing = np.zeros(0, np.uint64)
    videos = hash_table(dict.fromkeys(names, nothing), [nothing] * len(names), [4.0] * len(names))
    found = find_duplicates(embedded(videos, [*originals, *copies]), settings=DuplicateSettings(looks=3))
    cluster = found["cluster_id"].to_numpy()
    usable = np.array([kind is not None for kind in found["dup_kind"].to_pylist()])
    assert (cluster[:count] == cluster[count:]).sum() > 0.9 * usable[:count].sum() > 0.8 * count
    assert max(np.bincount(cluster)) == 2


def test_the_ordered_cosine_is_that_of_the_best_path() -> None:
    """Against all paths that never go back."""
    cosines = np.random.default_rng(4).uniform(-1, 1, (5, 3, 4))
    paths = [(i, j, k) for i in range(4) for j in range(i, 4) for k in range(j, 4)]
    best = [max(np.mean([c[row, column] for row, column in enumerate(path)]) for path in paths) for c in cosines]
    np.testing.assert_allclose(ordered_cosine(cosines), best)
