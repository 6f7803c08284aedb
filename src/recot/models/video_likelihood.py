"""How likely replies are to the video language model, which is shown some frames of a video, one, or none.

Legend: n frames, S side of the frames given, H W frame size, G groups, T = 4 frames a group, P tokens a group, D LLM
width; p prompts, l letters, N tokens of a pack, V vocabulary.
"""

from collections.abc import Sequence

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from recot.errors import ConfigError, DataError
from recot.grouping import GROUP_SIZE, pad_indices
from recot.models.packing import IGNORED, Pack
from recot.models.preprocess import resize_bicubic
from recot.models.prompt import Turn, Visual, build_prompt
from recot.models.selection import KeepRule
from recot.models.video_input import Sample, VisualInput
from recot.models.video_lm import VideoLM


class VideoReplyLikelihood:
    """NLL, in nats, of what the model replies to questions about frames, which are put to it as in training.

    Results of a call don't depend on calls before.

    Args:
        model: in inference mode.
        frame_size: (H, W) in pixels that it was trained with.
        keep: how much of a video it reads.
    """

    def __init__(self, model: VideoLM, *, frame_size: tuple[int, int], keep: KeepRule) -> None:
        self.model = model.eval()
        self.frame_size = frame_size
        self.keep = keep

    @torch.inference_mode()
    def look(self, frames: np.ndarray, times_s: Sequence[float]) -> list[VisualInput]:
        """Compress frames once, for all questions about them.

        One frame is an image, as in training: no time is told, and the selector takes nothing away.

        Args:
            frames: (n, S, S, 3) uint8 RGB in order of time; n may be 0.
            times_s: n presentation times.

        Returns:
            The visuals that a prompt shows: one, or none of no frames.

        Raises:
            ConfigError: if the frames are smaller than what the model sees.
        """
        if not len(frames):
            return []
        if frames.shape[1] < max(self.frame_size):
            height, width = self.frame_size
            raise ConfigError(
                f"scorers.frame_size={frames.shape[1]}: the video language model sees frames of {height} x {width} "
                f"pixels. Set scorers.frame_size={max(self.frame_size)}."
            )
        index, _ = pad_indices(len(frames))
        shown = resize_bicubic(torch.from_numpy(frames[index]), self.frame_size)
        times = torch.tensor(times_s, dtype=torch.float64)[torch.from_numpy(index)]
        visual = VisualInput(
            times_s=rearrange(times, "(g t) -> g t", t=GROUP_SIZE),
            frames=rearrange(shown, "(g t) h w c -> g t h w c", t=GROUP_SIZE),
            still=len(frames) == 1,
        )
        return [VisualInput(times_s=visual.times_s, tokens=self.model.compress([visual])[0], still=visual.still)]

    @torch.inference_mode()
    def letter_nll(self, seen: list[VisualInput], prompts: Sequence[str], letters: str) -> np.ndarray | None:
        """NLL of each letter as the first token of the reply to each prompt.

        Args:
            seen: what ``look`` gave.
            prompts: p questions.
            letters: l of them.

        Returns:
            (p, l) float64; None if frames and prompt are longer than the model reads.

        Raises:
            DataError: if a letter isn't a token of its own.
        """
        tokens = [self.model.tokenizer(letter, add_special_tokens=False)["input_ids"] for letter in letters]
        if any(len(token) != 1 for token in tokens):
            raise DataError(f"the model's tokenizer splits some of the letters {letters}: each must be one token")
        packed = self._pack(seen, [self._sample(seen, prompt, None) for prompt in prompts])
        if packed is None:
            return None
        last = torch.tensor(packed.lengths).cumsum(0) - 1
        logits = self._logits(self.model.read(packed)[0, last])
        return -logits.log_softmax(dim=-1)[:, [token for (token,) in tokens]].cpu().numpy()

    @torch.inference_mode()
    def reply_nll(self, seen: list[VisualInput], prompt: str, reply: str) -> tuple[float, int] | None:
        """NLL of saying ``reply`` and then ending the turn.

        Returns:
            The sum over tokens, and how many they are; None if frames, prompt and reply are longer than the model
            reads.
        """
        packed = self._pack(seen, [self._sample(seen, prompt, reply)])
        if packed is None:
            return None
        labels = packed.labels[0, 1:]
        said = labels != IGNORED
        logits = self._logits(self.model.read(packed)[0, :-1][said]).log_softmax(dim=-1)
        return -float(logits.gather(1, labels[said][:, None]).sum()), int(said.sum())

    def _sample(self, seen: list[VisualInput], prompt: str, reply: str | None) -> Sample:
        """What is shown, then the question in a line of its own, as in training."""
        shown = (Visual(0), "\n") if seen else ()
        turns = [Turn("user", (*shown, prompt)), *([] if reply is None else [Turn("assistant", (reply,))])]
        built = build_prompt(self.model.tokenizer, turns, reply=reply is None)
        return Sample(prompt=built, visuals=tuple(range(len(seen))))

    def _pack(self, seen: list[VisualInput], samples: list[Sample]) -> Pack | None:
        tokens = [visual.tokens for visual in seen if visual.tokens is not None]
        choice = self.model.choose(seen, tokens, samples, [self.keep] * len(samples))
        packed = self.model.join(tokens, samples, choice)
        longest = max(map(sum, zip(packed.lengths, packed.shared, strict=True)))
        return packed if longest <= self.model.max_tokens else None

    def _logits(self, hidden: Tensor) -> Tensor:
        """(..., V) float64"""
        return (hidden @ self.model.head().T).double()
