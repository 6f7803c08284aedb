"""Trivial reconstructions against loops over tokens."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recot.evaluation.baselines import first_repeated, interpolated, mean_repeated


def by_loop(target: np.ndarray, masked: np.ndarray) -> dict[str, np.ndarray]:
    out = {name: np.empty_like(target) for name in ("mean", "first", "interpolation")}
    for g, h, w in np.ndindex(target.shape[0], *target.shape[2:4]):
        seen = np.flatnonzero(~masked[g, :, h, w])
        everywhere = target[g][~masked[g]].mean(axis=0) if (~masked[g]).any() else np.zeros(target.shape[-1])
        tokens = target[g, :, h, w]
        for t in range(target.shape[1]):
            if len(seen) == 0:
                values = (everywhere,) * 3
            else:
                blended = [np.interp(t, seen, tokens[seen, c]) for c in range(target.shape[-1])]
                values = (tokens[seen].mean(axis=0), tokens[seen[0]], np.array(blended))
            for name, value in zip(out, values, strict=True):
                out[name][g, t, h, w] = value
    return out


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), ratio=st.floats(0.0, 0.98))
def test_against_loops(seed: int, ratio: float) -> None:
    rng = np.random.default_rng(seed)
    target = rng.standard_normal((2, 4, 2, 3, 5)).astype(np.float32)
    masked = rng.random((2, 4, 2, 3)) < ratio
    masked[:, 0, 0, 0] = False
    expected = by_loop(target, masked)
    functions = {"mean": mean_repeated, "first": first_repeated, "interpolation": interpolated}
    for name, function in functions.items():
        got = function(torch.from_numpy(target), torch.from_numpy(masked)).numpy()
        np.testing.assert_allclose(got, expected[name], atol=1e-5)
