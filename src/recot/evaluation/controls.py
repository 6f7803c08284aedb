"""Controls: what a model is shown instead of the video. What its score must then do, docs and reports say.

A control is data: which of a few steps are taken. The steps are pure functions of items, frame numbers and a seed.

Legend: F frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from einops import rearrange

from recot.errors import ConfigError
from recot.evaluation.aggregation import Summary, circular, over_tries
from recot.evaluation.items import Item, Span
from recot.grouping import GROUP_SIZE
from recot.randomness import derive_seed, keyed_rng

Video = Literal["own", "none", "blank", "wrong"]
Frames = Literal["all", "shuffled", "shuffled_groups", "single", "evidence_only", "evidence_removed"]
Options = Literal["given", "shuffled", "circular"]
Selector = Literal["model", "uniform", "uniform_groups", "random", "first_k", "oracle"]
TURN = "#turn"  # between a question's id and the number of its rotation


@dataclass(frozen=True, kw_only=True)
class Control:
    """What differs from a plain evaluation. The defaults are one.

    Args:
        video: the item's own; ``none`` at all, so that only words are left; ``blank``: its frames, all black;
            ``wrong``: that of another item, see ``wrong_videos``.
        frames: which of the sampled frames are shown, see ``shown_frames``; ``shuffled`` ones keep the times of the
            places that they come to.
        options: as given; ``shuffled`` once; or ``circular``: asked in every rotation, right if right in all.
        selector: the trained one, or what stands for it, with the same counts.
        seed: of everything drawn.

    Raises:
        ConfigError: for another value.
    """

    video: Video = "own"
    frames: Frames = "all"
    options: Options = "given"
    selector: Selector = "model"
    seed: int = 0

    def __post_init__(self) -> None:
        known = {"video": Video, "frames": Frames, "options": Options, "selector": Selector}
        for name, values in known.items():
            if getattr(self, name) not in get_args(values):
                raise ConfigError(f"control.{name}={getattr(self, name)!r}: use one of {', '.join(get_args(values))}")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int):
            raise ConfigError(f"control.seed={self.seed!r}: give a whole number")
        if self.video == "none" and (self.frames != "all" or self.selector != "model"):
            raise ConfigError(
                "control.video=none shows no frame: leave control.frames and control.selector as they are"
            )

    def items(self, items: Sequence[Item]) -> list[Item]:
        """The items that are asked: with other videos or other orders of options; of these, only those with letters.

        Raises:
            ConfigError: if there are none that the control makes sense for.
        """
        asked = list(items)
        if self.video == "wrong":
            asked = wrong_videos(asked, self.seed)
        if self.options != "given":
            asked = _with_letters(asked, self.options)
        if self.options == "shuffled":
            asked = [shuffled_options(item, self.seed) for item in asked]
        if self.options == "circular":
            if any("question" in item.groups for item in asked):
                raise ConfigError("control.options=circular: this suite asks its questions in several orders already")
            asked = [turned for item in asked for turned in rotations(item)]
        if self.needs_evidence:
            asked = [item for item in asked if item.evidence]
            if self.frames == "evidence_removed":
                asked = [item for item in asked if not _all_evidence(item)]
            if not asked:
                raise ConfigError(
                    f"control.frames={self.frames}, control.selector={self.selector}: none of the questions says when "
                    "its evidence is shown, or it is all of the video. Use a suite that does: tiny_world, needle, "
                    "lvbench, charades_sta, vstar."
                )
        return asked

    def summary(self, summary: Summary) -> Summary:
        """What is computed: for circular options, also ``circular_options``, the share right in all rotations.

        A question counts as much as another there, however many options it has: its score is the mean over rotations.
        """
        if self.options != "circular":
            return summary
        measures = {name: over_tries(measure, "circular", "turns") for name, measure in summary.measures.items()}
        measures["circular_options"] = circular("circular", "turns", None)
        return replace(summary, measures=measures)

    @property
    def needs_evidence(self) -> bool:
        """Whether only questions with evidence spans can be asked."""
        return self.selector == "oracle" or self.frames.startswith("evidence")


CONTROLS = {
    "none": Control(),
    "blind": Control(video="none"),
    "blank_video": Control(video="blank"),
    "wrong_video": Control(video="wrong"),
    "shuffled_frames": Control(frames="shuffled"),
    "shuffled_groups": Control(frames="shuffled_groups"),
    "single_frame": Control(frames="single"),
    "evidence_only": Control(frames="evidence_only"),
    "evidence_removed": Control(frames="evidence_removed"),
    "shuffled_options": Control(options="shuffled"),
    "circular_options": Control(options="circular"),
    "uniform_selector": Control(selector="uniform"),
    "uniform_groups_selector": Control(selector="uniform_groups"),
    "random_selector": Control(selector="random"),
    "first_k_selector": Control(selector="first_k"),
    "oracle_selector": Control(selector="oracle"),
}
"""Each control by itself. Budgets of frames and tokens are settings of the run, and swept as such."""


def wrong_videos(items: Sequence[Item], seed: int) -> list[Item]:
    """Every question about another video of the suite: all about one video get the same other one, and each is used, of
    those that share a ``video_id`` one.

    What is told of the video, its subtitles and its duration, is the other one's too: else it would give away the right
    one. The questions stay clustered by the video that they were written for. The evidence isn't there, and neither is
    the needle; but as many frames are sampled, so that runs can be compared.

    Raises:
        ConfigError: for a single video.
    """
    shown = {item.video_id: item for item in items}
    names = sorted(shown)
    if len(names) < 2:
        raise ConfigError(f"control.video=wrong needs 2 videos or more, but there is only {', '.join(names) or 'none'}")
    order = [names[i] for i in keyed_rng("wrong_videos", seed).permutation(len(names))]
    other = dict(zip(order, [*order[1:], order[0]], strict=True))
    return [
        replace(
            item,
            video=shown[other[item.video_id]].video,
            video_sha256=shown[other[item.video_id]].video_sha256,
            subtitles=shown[other[item.video_id]].subtitles,
            duration_s=shown[other[item.video_id]].duration_s,
            evidence=(),
            needle=None if item.needle is None else replace(item.needle, frames=0),
        )
        for item in items
    ]


def shuffled_options(item: Item, seed: int) -> Item:
    """The options of a question with letters in another order, drawn for this question."""
    return _reordered(item, keyed_rng("shuffled_options", seed, item.id).permutation(len(item.options)).tolist())


def rotations(item: Item) -> list[Item]:
    """A question with letters once for each place that its first option can be in.

    Ids are ``<id>#turn<n>``; ``groups`` has a ``circular`` that the turns of a question share, and how many ``turns``.
    """
    count = len(item.options)
    orders = [[(place + turn) % count for place in range(count)] for turn in range(count)]
    groups = {**item.groups, "circular": (item.id,), "turns": (str(count),)}
    return [
        replace(_reordered(item, order), id=f"{item.id}{TURN}{turn}", groups=groups)
        for turn, order in enumerate(orders)
    ]


def shown_frames(
    frames: Frames, times_s: np.ndarray, evidence: Sequence[Span], *, seed: int, item_id: str
) -> np.ndarray:
    """Which of the sampled frames are shown, in which order.

    Args:
        frames: ``all``; ``shuffled``, in an order drawn for this question; ``shuffled_groups``: groups of 4 are, as a
            model that merges 4 frames would otherwise merge others, and a last group that isn't whole stays last;
            ``single``, one of them, drawn; those within the evidence only, or those outside it only.
        times_s: (F,) float, their presentation seconds, ascending.
        evidence: seconds that show the answer.
        seed: of the draw.
        item_id: of the question.

    Returns:
        (n,) int64 places in ``times_s``; none where no sampled frame is left, all where none is within the evidence to
        be removed.
    """
    places = np.arange(len(times_s))
    if frames == "all" or not len(places):
        return places
    rng = keyed_rng(frames, seed, item_id)
    if frames == "shuffled":
        return rng.permutation(len(places))
    if frames == "shuffled_groups":
        whole = len(places) - len(places) % GROUP_SIZE
        groups = rng.permutation(rearrange(places[:whole], "(g t) -> g t", t=GROUP_SIZE))
        return np.concatenate([groups.ravel(), places[whole:]])
    if frames == "single":
        return rng.integers(len(places), size=1)
    inside = np.zeros(len(places), dtype=bool)
    for start, end in evidence:
        if start == end:  # a moment: the frame that is shown then
            inside |= (places == np.searchsorted(times_s, start, side="right") - 1) & (start <= times_s[-1])
        else:
            inside |= (start <= times_s) & (times_s < end)
    return places[inside if frames == "evidence_only" else ~inside]


def selector_seed(seed: int, item_id: str) -> int:
    """What the random selector draws with for a question."""
    return derive_seed("random_selector", seed, item_id)


def _with_letters(items: Sequence[Item], options: Options) -> list[Item]:
    """The questions whose options can be put in another order: there must be some."""
    found = [item for item in items if item.form == "letter"]
    if not found:
        raise ConfigError(
            f"control.options={options}: none of the questions has options with letters, so their order can't be "
            "changed. Use control.options=given, or another suite than charades_sta and vstar."
        )
    return found


def _all_evidence(item: Item) -> bool:
    """Whether the evidence is all of the video, as far as its duration is known."""
    end = 0.0
    for start, stop in sorted(item.evidence):
        if start > end:
            return False
        end = max(end, stop)
    return item.duration_s is not None and end >= item.duration_s


def _reordered(item: Item, order: Sequence[int]) -> Item:
    """The options in another order: at place i stands what was option ``order[i]``."""
    right = None if item.right is None else list(order).index(item.right)
    return replace(item, options=tuple(item.options[i] for i in order), right=right)
