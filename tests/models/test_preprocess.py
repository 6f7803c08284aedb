"""The torch bicubic against PIL itself and against stored outputs of the released preprocessing."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from recot.models.preprocess import normalise, resize_bicubic
from tests.golden_cases import assert_matches


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    out_height=st.integers(1, 60),
    out_width=st.integers(1, 60),
    seed=st.integers(0, 1000),
)
def test_equal_to_pil_bit_for_bit(height: int, width: int, out_height: int, out_width: int, seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    # One axis at a time fixes the order: Pillow 13 goes vertically first where that is cheaper.
    horizontal = Image.fromarray(image).resize((out_width, height), Image.Resampling.BICUBIC)
    expected = np.asarray(horizontal.resize((out_width, out_height), Image.Resampling.BICUBIC))
    got = resize_bicubic(torch.from_numpy(image)[None], (out_height, out_width))[0]
    np.testing.assert_array_equal(got.numpy(), expected)


def test_against_the_released_preprocessing() -> None:
    rng = np.random.default_rng(236)
    a = rng.integers(0, 256, (37, 53, 3), dtype=np.uint8)
    b = rng.integers(0, 256, (20, 16, 3), dtype=np.uint8)
    assert_matches("image_preprocess_28", "down", normalise(torch.from_numpy(a)[None], 28))
    assert_matches("image_preprocess_28", "up", normalise(torch.from_numpy(b)[None], 28))


def test_frames_of_the_right_size_are_only_scaled() -> None:
    frames = torch.randint(0, 256, (2, 16, 16, 3), dtype=torch.uint8)
    expected = frames.permute(0, 3, 1, 2) / 127.5 - 1
    torch.testing.assert_close(normalise(frames, 16), expected, atol=1e-6, rtol=0)


def test_other_types_are_refused() -> None:
    with pytest.raises(ValueError, match="uint8"):
        resize_bicubic(torch.zeros(1, 8, 8, 3), (4, 4))
