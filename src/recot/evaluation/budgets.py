"""A checkpoint's own settings with those of a run."""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from recot.checkpoints.inference import Inference
from recot.errors import ConfigError
from recot.evaluation.controls import CONTROLS, Control
from recot.models.selection import Times

FRAMES = ("fps", "frames", "max_frames")
"""Keys of how many frames are seen."""
TOKENS = ("keep", "budget")
"""Keys of how many tokens are read of a video; times aren't counted among these."""
BUDGETS = (*TOKENS, "times", *FRAMES, "max_new_tokens")
"""Keys of a run's settings."""


def with_budgets(
    inference: Inference,
    *,
    keep: float | None,
    budget: int | None,
    times: Times | None,
    fps: float | None,
    frames: int | None,
    max_frames: int | None,
    max_new_tokens: int | None,
) -> Inference:
    """What isn't None takes the place of the checkpoint's own. Replies are greedy (our choice).

    Args:
        inference: the checkpoint's.
        keep: part of a video's tokens that is read.
        budget: or, how many are.
        times: whose times are read, see ``KeepRule``.
        fps: frames seen of a second.
        frames: or, how many are seen, evenly spread, of every video.
        max_frames: most frames.
        max_new_tokens: longest reply.

    Raises:
        ConfigError: if a value is impossible, or two of them contradict each other.
    """
    for name, value in {"keep": keep, "fps": fps}.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise ConfigError(f"{name}={value!r}: give a number")
    if isinstance(budget, bool):
        raise ConfigError(f"budget={budget!r}: give a whole number of tokens")
    if keep is not None and budget is not None:
        raise ConfigError(f"keep={keep} and budget={budget}: set one of them, the other to null")
    if fps is not None and frames is not None:
        raise ConfigError(f"fps={fps} and frames={frames}: set one of them, the other to null")
    rule, sampling, generation = inference.keep, inference.sampling, inference.generation
    if keep is not None or budget is not None:
        rule = replace(rule, ratio=keep, budget=budget, threshold=None)
    if times is not None:
        rule = replace(rule, times=times)
    if fps is not None or frames is not None:
        sampling = replace(sampling, fps=fps, count=frames, stride=None)
    if frames is not None and max_frames is None:
        sampling = replace(sampling, max_frames=None)
    if max_frames is not None:
        sampling = replace(sampling, max_frames=max_frames)
    generation = replace(generation, temperature=0.0, top_p=1.0)
    if max_new_tokens is not None:
        generation = replace(generation, max_new_tokens=max_new_tokens)
    return replace(inference, keep=rule, sampling=sampling, generation=generation)


def settings_name(budgets: Mapping[str, Any], control: Control, scoring: str) -> str:
    """What a run sets, as the name of its folder: ``keep=0.25,control=blind``; ``plain`` if nothing."""
    given = {name: value for name, value in budgets.items() if value is not None}
    known = [name for name, own in CONTROLS.items() if own == control]
    if not known:
        changed = {f.name: value for f in fields(control) if (value := getattr(control, f.name)) != f.default}
        given |= {f"control.{name}": value for name, value in changed.items()}
    elif known[0] != "none":
        given["control"] = known[0]
    if scoring != "generate":
        given["scoring"] = scoring
    return ",".join(f"{name}={value}" for name, value in given.items()) or "plain"
