"""What the video language model is given: videos and images as groups of frames, and prompts that show them.

Legend: G groups, T frames a group, H W frame size, h w token grid, C vision width, P tokens a group, D LLM width.
"""

from dataclasses import dataclass

from torch import Tensor

from recot.errors import DataError
from recot.models.prompt import Prompt
from recot.models.visual_groups import Spans


@dataclass(frozen=True, kw_only=True)
class VisualInput:
    """A video or an image, in one of three states: decoded, encoded by the frozen encoder, or compressed already."""

    times_s: Tensor  # (G, T) float64, presentation time of each frame in seconds
    frames: Tensor | None = None  # (G, T, H, W, 3) uint8 RGB
    features: Tensor | None = None  # (G, T, h, w, C) float
    tokens: Tensor | None = None  # (G, P, D) float, as ``VideoLM.compress`` gives them
    # An image, or the one frame that is seen of a video, T times: no time is told, all its tokens are shown, none is
    # selected away.
    still: bool = False

    def __post_init__(self) -> None:
        given = [x for x in (self.frames, self.features, self.tokens) if x is not None]
        if len(given) != 1:
            raise ValueError(f"{len(given)} of frames, features and tokens are given: give exactly one")
        if not len(given[0]) or len(given[0]) != len(self.times_s):
            raise ValueError(f"{len(given[0])} groups with {len(self.times_s)} times: give at least one group")


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A prompt, and which of a call's visuals it shows. Several samples may show the same one."""

    prompt: Prompt
    visuals: tuple[int, ...] = ()  # the prompt's visual n is number ``visuals[n]`` of the call's
    spans: Spans = ()  # where the answer is seen, in seconds, for the oracle selector and the grounding loss
    seed: int = 0  # for the random selector

    def __post_init__(self) -> None:
        shown = int((self.prompt.ids < 0).sum())
        if shown != len(self.visuals):
            raise DataError(f"a prompt with places for {shown} videos or images is given {len(self.visuals)}")
