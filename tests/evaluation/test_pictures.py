"""The picture of a validation sample: a real PNG that shows what was masked, and refuses arrays that don't fit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from recot.evaluation.pictures import GREY, MOST_GROUPS, masking_figure


def arrays(groups: int = 2, frame: tuple[int, int] = (50, 70), grid: tuple[int, int] = (6, 8)) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    tokens = (groups, 4, *grid)
    return {
        "frames": rng.integers(150, 256, (groups, 4, *frame, 3), dtype=np.uint8),
        "scores": rng.normal(size=tokens),
        "mask": rng.random(tokens) < 0.5,
        "error": rng.exponential(size=tokens),
    }


def drawn(path: Path, **given: Any) -> np.ndarray:
    masking_figure(**given, title="sgm, mask ratio 0.5", path=path)
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert [other.name for other in path.parent.iterdir()] == [path.name]
    return (imread(path)[..., :3] * 255).round().astype(int)


def grey_share(picture: np.ndarray) -> float:
    return float((np.abs(picture - GREY).max(axis=2) == 0).mean())


def test_one_column_a_frame_and_one_row_a_quantity(tmp_path: Path) -> None:
    two = drawn(tmp_path / "new" / "folder" / "two.png", **arrays(groups=2))
    one = drawn(tmp_path / "one" / "one.png", **arrays(groups=1))
    without = drawn(tmp_path / "without" / "a.png", **{**arrays(groups=1), "scores": None})
    assert two.shape == (650, 1260, 3)
    assert one.shape == (650, 720, 3)
    assert without.shape == (505, 720, 3)
    assert two.std() > 20


def test_groups_beyond_the_first_few_are_left_out(tmp_path: Path) -> None:
    many = arrays(groups=MOST_GROUPS + 2)
    few = {name: values[:MOST_GROUPS] for name, values in many.items()}
    np.testing.assert_array_equal(drawn(tmp_path / "a" / "a.png", **many), drawn(tmp_path / "b" / "b.png", **few))


def test_masked_tokens_are_greyed_and_only_they(tmp_path: Path) -> None:
    given = {**arrays(groups=1), "scores": None}
    shares = {}
    for hidden in (0, 12, 24, 48):  # of the 6 x 8 tokens of each frame
        mask = np.zeros((1, 4, 48), bool)
        mask[..., :hidden] = True
        picture = drawn(tmp_path / str(hidden) / "a.png", **{**given, "mask": mask.reshape(1, 4, 6, 8)})
        shares[hidden] = grey_share(picture)
    assert shares[0] < 0.001
    assert shares[24] == pytest.approx(shares[48] / 2, rel=0.1)
    assert shares[12] == pytest.approx(shares[48] / 4, rel=0.15)
    assert shares[48] > 0.1


def test_the_same_arrays_give_the_same_picture_and_other_errors_another(tmp_path: Path) -> None:
    given = arrays()
    first = drawn(tmp_path / "a" / "a.png", **given)
    np.testing.assert_array_equal(drawn(tmp_path / "b" / "b.png", **given), first)
    assert (drawn(tmp_path / "c" / "c.png", **{**given, "error": given["error"][::-1]}) != first).any()


def test_constant_scores_and_no_error_are_drawn(tmp_path: Path) -> None:
    given = arrays(groups=1)
    drawn(
        tmp_path / "a.png",
        **{**given, "scores": np.zeros_like(given["scores"]), "error": np.zeros_like(given["error"])},
    )


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"frames": np.zeros((2, 4, 50, 70, 4), np.uint8)}, "frames must be"),
        ({"frames": np.zeros((2, 4, 50, 70, 3), np.float32)}, "frames must be"),
        ({"frames": np.zeros((0, 4, 50, 70, 3), np.uint8)}, "frames must be"),
        ({"mask": np.zeros((2, 3, 6, 8), bool)}, "mask must be"),
        ({"mask": np.zeros((2, 4, 6, 8))}, "mask must be"),
        ({"mask": np.zeros((2, 4, 48), bool)}, "mask must be"),
        ({"scores": np.zeros((2, 4, 8, 6))}, "scores must have"),
        ({"error": np.zeros((1, 4, 6, 8))}, "error must have"),
        ({"error": np.full((2, 4, 6, 8), np.nan)}, "error must be finite"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_and_nothing_is_written(
    tmp_path: Path, changes: dict[str, Any], named: str
) -> None:
    with pytest.raises(ValueError, match=named):
        masking_figure(**{**arrays(), **changes}, title="", path=tmp_path / "a.png")
    assert not list(tmp_path.iterdir())
