"""What a corpus has in common with evaluation sets."""

import pyarrow as pa

from data_pipelines.duplicates import DuplicateSettings
from data_pipelines.leaks import text_leaks, video_leaks

HASHES = [0x0F0F_3C3C_A5A5_9669 ^ (0x1F1F_0000_F00F_1234 * i) % 2**64 for i in range(16)]


def videos(**keys: str) -> pa.Table:
    rows = [
        {
            "video_id": name,
            "key": key,
            "packet_md5": f"packets of {key}",
            "duration_s": 8.0,
            "hashes": [(h * (1 + sum(key.encode()))) % 2**64 for h in HASHES],
            "mirrored_hashes": [(h * (7 + sum(key.encode()))) % 2**64 for h in HASHES],
        }
        for name, key in keys.items()
    ]
    hashes = pa.list_(pa.uint64())
    kinds = {"duration_s": pa.float64(), "hashes": hashes, "mirrored_hashes": hashes}
    return pa.Table.from_pylist(rows, pa.schema([(name, kinds.get(name, pa.string())) for name in rows[0]]))


def test_videos_of_an_evaluation_set_are_found_and_others_not() -> None:
    """Also where both sets use the same name for different videos."""
    found = video_leaks(videos(a="one", b="two", c="three"), [videos(b="four", z="two")], DuplicateSettings())
    assert found["leak_of"].to_pylist() == [None, "z", None]
    assert found["leak_kind"].to_pylist() == [None, "exact", None]
    assert found["leak_score"].to_pylist() == [None, 1.0, None]


def texts(*rows: tuple[str, list[str], str]) -> pa.Table:
    return pa.table(
        {
            "question": pa.array([row[0] for row in rows]),
            "options": pa.array([row[1] for row in rows], pa.list_(pa.string())),
            "answer": pa.array([row[2] for row in rows]),
        }
    )


def test_texts() -> None:
    long = "the man in the red coat opens the door and then walks slowly down the stairs into the dark"
    known = texts(("How does it move?", ["left", "right"], "left"), ("What happens?", [], long))
    asked = texts(
        ("how does it MOVE", ["right", "left"], "left"),  # the same, in another order
        ("How does it move?", ["left", "right"], "right"),  # another answer
        ("How does it move?", ["up", "down"], "up"),  # only the question recurs
        ("How does it move?", [], "left"),  # too short to tell
        ("Tell me.", [], long),  # 19 words behind 2 others: 10 n-grams, 8 of them known
    )
    found = text_leaks(asked, [known])
    assert found["leak_text_status"].to_pylist() == ["ok", "ok", "ok", "na", "ok"]
    assert found["leak_text"].to_pylist() == [1.0, 0.0, 0.0, None, 0.8]
