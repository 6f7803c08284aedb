"""Duplicates are found whatever was done to them, nothing else is, and the order of rows doesn't matter."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipelines.decontamination import video_leaks
from data_pipelines.duplicates import DuplicateSettings, find_duplicates, nearby
from data_pipelines.duplicates.alignment import evidence
from data_pipelines.duplicates.clusters import Groups, stars
from data_pipelines.duplicates.matching import Matcher
from data_pipelines.signals.perceptual_hash import FLAT, perceptual_hash
from recot.errors import ConfigError
from recot.tiny_world.junk.pixels import Frames, brighten, crop, decode_frames, mirror, resize
from recot.tiny_world.render import render, render_frame
from recot.tiny_world.splits import Split
from recot.tiny_world.video import encode_mp4
from tests.data_pipelines.hash_tables import EVERY, clusters, hash_table, luma, noisy, sequence, table
from tests.data_pipelines.media_scoring import score

DEFAULT = DuplicateSettings()
SCENES = Split(world=3, name="train", videos=100, frames=64)


def test_the_same_packets_in_two_rotations_are_one_cluster_with_the_copies_of_both() -> None:
    rng = np.random.default_rng(0)
    upright, turned, other = (sequence(rng, 8) for _ in range(3))
    hashes = {"a": upright, "b": turned, "copy of a": noisy(rng, upright, 0.05), "copy of b": noisy(rng, turned, 0.05)}
    hashes |= {"remuxed b": turned, "other": other}
    mirrored = [noisy(rng, h, 0.5) for h in hashes.values()]
    packets = ["same", "same", "a2", "b2", "same", "else"]
    videos = hash_table(hashes, mirrored, [len(h) / 2 for h in hashes.values()], packet_md5=packets)
    videos = videos.append_column("rotation", pa.array([0, 180, 0, 0, 180, 180]))
    for order in ([0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0]):
        found = find_duplicates(videos.take(pa.array(order)), settings=DEFAULT)
        assert clusters(found) == {frozenset({*hashes} - {"other"}), frozenset({"other"})}
    kinds = {row["video_id"]: (row["dup_kind"], row["dup_nearest"]) for row in found.to_pylist()}
    assert (kinds["copy of a"], kinds["copy of b"]) == (("perceptual", "a"), ("perceptual", "b"))
    assert kinds["remuxed b"] == ("packets", "a")


@pytest.fixture(scope="module")
def scene_lumas() -> dict[str, tuple[np.ndarray, float]]:
    """100 different scenes, not encoded."""
    return {
        f"scene {i:02d}": (luma([render_frame(scene, k) for k in range(0, scene.frames, EVERY)]), scene.duration_s)
        for i, scene in enumerate(SCENES)
    }


COPIES: dict[str, Callable[[Frames], bytes]] = {
    "reencoded": lambda frames: encode_mp4(resize(frames, 48), size=48, fps=8.0, crf=30, preset="ultrafast"),
    "cropped": lambda frames: encode_mp4(crop(frames, left=4, top=2, side=56), size=64, fps=8.0),
    "mirrored": lambda frames: encode_mp4(mirror(frames), size=64, fps=8.0),
    "brighter": lambda frames: encode_mp4(brighten(frames, 32), size=64, fps=8.0),
    "darker": lambda frames: encode_mp4(brighten(frames, -32), size=64, fps=8.0),
    "trimmed between samples": lambda frames: encode_mp4(frames[11:50], size=64, fps=8.0),
}


def test_every_kind_of_copy_is_found_among_different_scenes(scene_lumas: dict[str, tuple[np.ndarray, float]]) -> None:
    """Through real files: what the codec does to frames is part of it."""
    rows, expected = dict(scene_lumas), {name: {name} for name in scene_lumas}
    for number, (kind, make) in enumerate(COPIES.items()):
        for scene in (number, number + 10):
            original = decode_frames(encode_mp4(render(SCENES[scene]), size=64, fps=8.0))
            copy = decode_frames(make(original))
            name = f"{kind} of {scene:02d}"
            rows[name] = (luma(copy[::EVERY]), len(copy) / 8)
            expected[f"scene {scene:02d}"].add(name)
    found = find_duplicates(table(rows), settings=DEFAULT)
    assert clusters(found) == {frozenset(names) for names in expected.values()}
    kinds = {row["video_id"]: row for row in found.to_pylist()}
    assert {kinds[name]["dup_kind"] for name in rows if " of " in name} == {"perceptual"}
    assert kinds["cropped of 01"]["dup_nearest"] == "scene 01"
    assert kinds["scene 01"]["dup_nearest"] == "cropped of 01"
    assert 0.65 <= kinds["cropped of 01"]["dup_score"] <= 1
    assert kinds["scene 99"] == {
        "video_id": "scene 99",
        "cluster_id": kinds["scene 99"]["cluster_id"],
        "dup_kind": None,
        "dup_score": None,
        "dup_nearest": None,
    }


def test_different_scenes_are_not_merged(scene_lumas: dict[str, tuple[np.ndarray, float]]) -> None:
    """Not even where all pairs are compared at all offsets, plain and mirrored."""
    videos = table(scene_lumas)
    assert len(clusters(find_duplicates(videos, settings=DEFAULT))) == len(scene_lumas)
    left, right = np.triu_indices(len(videos), 1)
    score, _ = Matcher(videos, np.arange(len(videos)), DEFAULT).compare(left, right)
    assert not score.any()


def test_smooth_pictures_are_no_copies_in_a_small_corpus(shared_dir: Path) -> None:
    """A wooden floor and a bird in the sky: mirrored, one hash is as smooth a gradient as the other."""
    clips = {name: score(shared_dir / "videos" / name) for name in ("media3_sef_slowmo.mp4", "media3_sample_birds.avi")}
    hashes = {name: np.array(clip.hashes, np.uint64) for name, clip in clips.items()}
    mirrored = [np.array(clip.mirrored_hashes, np.uint64) for clip in clips.values()]
    videos = hash_table(hashes, mirrored, [clip.media.duration_s for clip in clips.values()])
    assert clusters(find_duplicates(videos, settings=DEFAULT)) == {frozenset({name}) for name in clips}
    assert video_leaks(videos.slice(0, 1), videos.slice(1), DEFAULT)["leak_kind"].to_pylist() == [None]


def planted(seed: int) -> tuple[pa.Table, set[frozenset[str]]]:
    """Videos of which some are noisy, trimmed or mirrored copies of others, and the clusters."""
    rng = np.random.default_rng(seed)
    plain, mirrored, expected = {}, [], []
    for number in range(int(rng.integers(3, 12))):
        own, turned = sequence(rng, 8), None
        turned = noisy(rng, own, 0.5)
        members = {f"{number}": (own, turned)}
        for copy in range(int(rng.integers(0, 4))):
            start = int(rng.integers(0, len(own) // 4))
            pair = (noisy(rng, own, 0.1)[start:], noisy(rng, turned, 0.1)[start:])
            members[f"{number} copy {copy}"] = pair[:: -1 if rng.random() < 0.4 else 1]
        for name, (first, second) in members.items():
            plain[name] = first
            mirrored.append(second)
        expected.append(frozenset(members))
    return hash_table(plain, mirrored, [len(h) / 2 for h in plain.values()]), set(expected)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32))
def test_planted_copies_and_nothing_else_whatever_the_order_of_rows(seed: int) -> None:
    videos, expected = planted(seed)
    found = find_duplicates(videos, settings=DEFAULT)
    assert clusters(found) == expected
    order = np.random.default_rng(seed).permutation(len(videos))
    again = find_duplicates(videos.take(pa.array(order)), settings=DEFAULT)
    assert again.to_pylist() == found.take(pa.array(order)).to_pylist()


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 2**32))
def test_sorting_finds_what_comparing_each_with_each_does(seed: int) -> None:
    """All of it where every video is another one's neighbour, and never more."""
    rng = np.random.default_rng(seed)
    own = [sequence(rng, 4) for _ in range(3)]
    hashes = {f"{i}": noisy(rng, own[i % 3][i // 3 :], rng.uniform(0.01, 0.25)) for i in range(9)}
    videos = hash_table(hashes, [noisy(rng, h, 0.5) for h in hashes.values()], [len(h) / 2 for h in hashes.values()])
    matcher = Matcher(videos, np.arange(9), DEFAULT)
    left, right = np.triu_indices(9, 1)
    score, _ = matcher.compare(left, right)
    each = {(a, b) for a, b, s in zip(left, right, score, strict=True) if s}
    assert sorted_pairs(matcher) <= each
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nearby, "NEIGHBOURS", 200)
        patch.setattr(nearby, "NEAR", 192)
        assert sorted_pairs(matcher) == each


def sorted_pairs(matcher: Matcher) -> set[tuple[int, int]]:
    """Pairs of copies that are found by sorting."""
    found: set[tuple[int, int]] = set()
    for hits in matcher.nearby():
        copies = hits.where(matcher.perceptual(hits) > 0)
        found |= set(zip(copies.left, copies.right, strict=True))
    return found


def test_long_videos_whose_hashes_are_farther_apart_than_those_of_their_trimmed_copies() -> None:
    """20 minutes have a hash every 4 seconds, the last 12 of them every 2."""
    rng = np.random.default_rng(0)
    shown = np.repeat(rng.integers(1, 2**63, 300, dtype=np.uint64), 8)  # every half second
    other = np.repeat(rng.integers(1, 2**63, 300, dtype=np.uint64), 8)
    hashes = {"whole": shown[::8], "late": shown[961::4], "other": other[::8]}
    seconds = [1200.0, (2400 - 961) / 2, 1200.0]
    mirrored = [noisy(rng, h, 0.5) for h in hashes.values()]
    found = find_duplicates(hash_table(hashes, mirrored, seconds), settings=DEFAULT)
    assert clusters(found) == {frozenset({"whole", "late"}), frozenset({"other"})}


def test_same_bytes_and_same_packets() -> None:
    """Also for videos of which there is nothing else to compare; the empty list of packets is no content."""
    empty = "d41d8cd98f00b204e9800998ecf8427e"
    names = ["a", "b", "c", "d", "e", "f"]
    videos = hash_table(
        {name: np.zeros(0, np.uint64) for name in names},
        [np.zeros(0, np.uint64)] * 6,
        [None] * 6,
        key=["k1", "k2", "k1", "k4", None, None],
        packet_md5=["m1", "m1", "m1", empty, empty, None],
    )
    found = {row["video_id"]: row for row in find_duplicates(videos, settings=DEFAULT).to_pylist()}
    assert [found[n]["dup_kind"] for n in names] == ["exact", "packets", "exact", None, None, None]
    assert [found[n]["dup_nearest"] for n in names] == ["c", "a", "a", None, None, None]
    assert [found[n]["cluster_id"] for n in names] == [0, 0, 0, 1, 2, 3]
    assert found["a"]["dup_score"] == 1.0


def test_flat_and_single_frames_are_no_evidence() -> None:
    """Black videos aren't copies of each other, and one common second doesn't make a film a copy."""
    rng = np.random.default_rng(1)
    card, black = rng.integers(1, 2**63, 1, dtype=np.uint64), np.array([FLAT])
    hashes = {
        "black": np.repeat(black, 16),
        "also black": np.repeat(black, 16),
        "title card": np.repeat(card, 2),
        **{f"film {i}": np.concatenate([np.repeat(card, 2), sequence(rng, 8)]) for i in range(40)},
    }
    mirrored = [np.where(h == FLAT, FLAT, noisy(rng, h, 0.5)) for h in hashes.values()]
    videos = hash_table(hashes, mirrored, [len(h) / 2 for h in hashes.values()])
    groups = clusters(find_duplicates(videos, settings=DEFAULT))
    assert len(groups) == len(hashes)


def test_a_chain_of_weak_links_is_no_cluster() -> None:
    """Each video is a copy of the next one; the ends have nothing in common."""
    links = [(i, i + 1) for i in range(30)]

    def compare(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return (abs(left - right) == 1) * 0.9, np.zeros(len(left), int)

    groups = Groups(31)
    groups.join(*np.array(links).T)
    assert set(groups.labels()) == {0}
    found = stars(groups.labels(), np.full(31, 16), compare)
    for video, centre in enumerate(found.centre):
        assert abs(video - centre) <= 1
    assert len(set(found.centre)) >= 10


def test_evidence_is_what_the_docstring_says() -> None:
    np.testing.assert_allclose(evidence(np.array([0.0, 8, 16, 32, 40])), [18, 10.125, 4.5, 0, 0])


def test_hashes_say_what_changed() -> None:
    """Brightness nothing, mirroring the order of places, a small thing little; flat frames are known by their hash."""
    frame = luma([render_frame(SCENES[0], 0)])
    plain = perceptual_hash(frame)
    assert perceptual_hash(frame + 20) == plain
    turned = perceptual_hash(np.ascontiguousarray(frame[:, :, ::-1]))
    assert perceptual_hash(np.ascontiguousarray(frame[:, :, ::-1][:, :, ::-1])) == plain != turned
    spot = frame.copy()
    spot[0, 40:46, 40:46] = 255
    assert 0 < np.bitwise_count(perceptual_hash(spot) ^ plain)[0] < 16
    noise = np.random.default_rng(0).integers(100, 103, (1, 64, 64)).astype(np.uint8)
    assert perceptual_hash(noise) == FLAT != plain
    together = np.concatenate([frame, spot, noise])
    assert perceptual_hash(together).tolist() == [int(perceptual_hash(f[None])[0]) for f in together]
    assert perceptual_hash(together[:0]).shape == (0,)
    with pytest.raises(ValueError, match="expected uint8"):
        perceptual_hash(frame.astype(np.float32))


def test_nothing_to_compare_and_bad_settings() -> None:
    empty = hash_table({}, [], [])
    assert find_duplicates(empty, settings=DEFAULT).num_rows == 0
    one = hash_table({"a": np.zeros(0, np.uint64)}, [np.zeros(0, np.uint64)], [None])
    assert find_duplicates(one, settings=DEFAULT)["cluster_id"].to_pylist() == [0]
    with pytest.raises(ValueError, match="same video_id"):
        find_duplicates(pa.concat_tables([one, one]), settings=DEFAULT)
    with pytest.raises(ConfigError, match=r"duplicates\.share is 2"):
        find_duplicates(one, settings=DuplicateSettings(share=2))
