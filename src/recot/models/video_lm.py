"""The video language model: vision encoder, DTS, projector, selector, LLM (paper section 3).

Legend: G groups, T frames a group, H W frame size, h w token grid, C vision width, P tokens a group, D LLM width, N
tokens of a pack, K rows of a visual that the LLM reads; V pairs of a sample and a video it shows.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from recot.errors import ConfigError, DataError
from recot.models.assembly import QueryOf, group_videos, join, query_of
from recot.models.dts import DynamicTokenSynthesizer
from recot.models.generation import GenerationSettings, Reply, generate
from recot.models.mean_pooling import MeanPooling
from recot.models.packing import Pack, is_flash, read_pack
from recot.models.projector import Projector
from recot.models.selection import KeepRule, Selection
from recot.models.selector import Selector
from recot.models.selector_baselines import BaselineSelector
from recot.models.video_input import Sample, VisualInput
from recot.models.visual_groups import VisualGroups


@dataclass(frozen=True)
class Choice:
    """What the selector chose, for each pair of a sample and a video that it shows."""

    pairs: list[tuple[int, int]]  # V of (sample, visual of the sample)
    visual: VisualGroups  # V videos
    selection: Selection


@dataclass(frozen=True)
class Output:
    """What a forward pass gives: the samples of the call as one pack."""

    hidden: Tensor  # (1, N, D) last hidden states; logits are ``hidden @ head.T``
    pack: Pack
    choice: Choice | None  # None if no sample shows a video


class VideoLM(nn.Module):
    """From frames and a prompt to what the language model says.

    Args:
        vision_encoder: frames (F, H, W, 3) uint8 -> (F, h, w, C).
        dts: (G, T, h, w, C) -> (G, h, w, C); ``MeanPooling`` to compare with.
        projector: (G, h, w, C) -> (G, P, D).
        selector: ``Selector``, or one of ``selector_baselines``.
        llm: a Qwen2ForCausalLM.
        tokenizer: of the language model, with a chat template.
        query: what the selector reads: the ``question``, or all text of the ``prompt``, template and, in training, the
            answer included, as in the released model.
        max_tokens: most tokens of a sample, reply included; null is what the language model was trained on. More than
            that works as far as its positions carry on.

    Raises:
        ConfigError: if widths don't fit together, for another query, or for a ``max_tokens`` that can't be.
    """

    selector: Selector | BaselineSelector

    def __init__(
        self,
        *,
        vision_encoder: nn.Module,
        dts: DynamicTokenSynthesizer | MeanPooling,
        projector: Projector,
        selector: Selector | BaselineSelector,
        llm: Any,
        tokenizer: Any,
        query: QueryOf = "question",
        max_tokens: int | None = None,
    ) -> None:
        super().__init__()
        if query not in ("question", "prompt"):
            raise ConfigError(f"model.query={query!r} must be question or prompt")
        if projector.width != dts.width or projector.llm_width != llm.config.hidden_size:
            raise ConfigError(
                f"the projector maps width {projector.width} to {projector.llm_width}, but the DTS is {dts.width} and "
                f"the language model {llm.config.hidden_size} wide: set model.width and model.llm_width to these"
            )
        self.vision_encoder = vision_encoder
        self.dts = dts
        self.projector = projector
        self.selector = selector
        self.llm = llm
        self.tokenizer = tokenizer
        self.query = query
        self.max_tokens = llm.config.max_position_embeddings if max_tokens is None else max_tokens
        if type(self.max_tokens) is not int or self.max_tokens < 1:
            raise ConfigError(
                f"model.max_tokens={max_tokens!r}: give a whole number from 1 up, or null for the language model's "
                "max_position_embeddings"
            )

    def forward(self, visuals: Sequence[VisualInput], samples: Sequence[Sample], rules: Sequence[KeepRule]) -> Output:
        """What the language model makes of samples, each as if it were alone.

        Args:
            visuals: videos and images; each is compressed once, however many samples show it.
            samples: prompts that show them.
            rules: how much of its videos each sample keeps.
        """
        packed, choice = self.prepare(visuals, samples, rules)
        return Output(self.read(packed), packed, choice)

    @torch.inference_mode()
    def generate(
        self,
        visuals: Sequence[VisualInput],
        sample: Sample,
        rule: KeepRule,
        settings: GenerationSettings,
        on_text: Callable[[str], None] | None = None,
    ) -> tuple[Reply, Choice | None]:
        """Say what follows a prompt that ends where the assistant is to speak.

        Args:
            visuals: what the prompt shows.
            sample: the prompt.
            rule: how much of each video the language model gets to see.
            settings: greedy or sampling, when to stop, how many tokens are read at a time.
            on_text: called with each new piece of text.

        Raises:
            DataError: if prompt and reply can be longer than ``max_tokens``.
        """
        packed, choice = self.prepare(visuals, [sample], [rule])
        self._check_length(packed.embeddings.shape[1] + settings.max_new_tokens)
        return generate(self.llm, self.tokenizer, packed.embeddings, settings, on_text), choice

    def prepare(
        self, visuals: Sequence[VisualInput], samples: Sequence[Sample], rules: Sequence[KeepRule]
    ) -> tuple[Pack, Choice | None]:
        """What the language model is to read of samples, and what was chosen for it; arguments are ``forward``'s."""
        tokens = self.compress(visuals)
        choice = self.choose(visuals, tokens, samples, rules)
        return self.join(tokens, samples, choice), choice

    def compress(self, visuals: Sequence[VisualInput]) -> list[Tensor]:
        """(G, P, D) projected compact tokens of each visual. Videos are pooled, images are not."""
        tokens = [visual.tokens for visual in visuals]
        for still in (False, True):
            numbers = [i for i, v in enumerate(visuals) if v.tokens is None and v.still is still]
            if numbers:
                features = torch.cat([self._features(visuals[i]) for i in numbers])
                sizes = [len(visuals[i].times_s) for i in numbers]
                for i, own in zip(numbers, self._project(features, pool=not still).split(sizes), strict=True):
                    tokens[i] = own
        return [own for own in tokens if own is not None]

    def compress_alone(self, visuals: Sequence[VisualInput]) -> list[Tensor]:
        """``compress`` where no forward follows. FSDP takes it for one, which mustn't be within another."""
        return self.compress(visuals)

    @torch.no_grad()
    def compress_stream(self, chunks: Iterable[Tensor], *, groups: int, still: bool = False) -> Tensor:
        """Compress a video piece by piece, with the memory of one piece and of the result.

        Args:
            chunks: frames (g, T, H, W, 3) uint8 of successive groups.
            groups: G, of all pieces together.
            still: whether it is one image, which isn't pooled.

        Returns:
            (G, P, D), equal to ``compress`` of the whole.

        Raises:
            ValueError: if the pieces have another number of groups.
        """
        result: Tensor | None = None
        done = 0
        for frames in chunks:
            own = self._project(self._encode(frames), pool=not still)
            result = own.new_empty(groups, *own.shape[1:]) if result is None else result
            result[done : done + len(own)] = own[: groups - done]
            done += len(own)
        if result is None or done != groups:
            raise ValueError(f"the pieces hold {done} groups, not the {groups} announced")
        return result

    def choose(
        self,
        visuals: Sequence[VisualInput],
        tokens: Sequence[Tensor],
        samples: Sequence[Sample],
        rules: Sequence[KeepRule],
    ) -> Choice | None:
        """Score each video against the question of each sample that shows it, and keep what the sample's rule says."""
        pairs = [
            (s, n) for s, sample in enumerate(samples) for n, v in enumerate(sample.visuals) if not visuals[v].still
        ]
        if not pairs:
            return None
        numbers = [samples[s].visuals[n] for s, n in pairs]
        groups = group_videos(
            [tokens[v] for v in numbers], [visuals[v].times_s for v in numbers], self.tokenizer, self._embed
        )
        query = query_of([samples[s] for s, _ in pairs], self._embed, self.query, self._device())
        return Choice(pairs, groups, self.selector(groups, query, [rules[s] for s, _ in pairs]))

    def join(self, tokens: Sequence[Tensor], samples: Sequence[Sample], choice: Choice | None) -> Pack:
        """Each sample's text with what it shows: of a video the kept rows and their times, of an image all."""
        rows = {
            (s, n): tokens[v].flatten(0, 1) for s, sample in enumerate(samples) for n, v in enumerate(sample.visuals)
        }
        if choice is not None:
            kept = self.selector.rows(choice.visual, choice.selection)
            rows |= dict(zip(choice.pairs, kept, strict=True))
        return join(samples, rows, self._embed, self._device(), share=self._alike(choice))

    def _alike(self, choice: Choice | None) -> bool:
        """Whether samples that show the same videos are certain to read the same rows of them."""
        if is_flash(self.llm):
            return False
        if choice is None:
            return True
        return bool(choice.selection.kept[choice.visual.valid].all()) and not self.selector.changes_rows

    def read(self, packed: Pack) -> Tensor:
        """(1, N, D) last hidden states; no token sees another sample's.

        Raises:
            DataError: if a sample is longer than ``max_tokens``.
        """
        self._check_length(max(map(sum, zip(packed.lengths, packed.shared, strict=True))))
        return read_pack(self.llm, packed)

    def head(self) -> Tensor:
        """(vocabulary, D) weights of the output layer."""
        weight: Tensor = self.llm.get_output_embeddings().weight
        return weight

    def _features(self, visual: VisualInput) -> Tensor:
        if visual.frames is not None:
            return self._encode(visual.frames)
        assert visual.features is not None
        return visual.features.to(self._device(), self.projector.dtype)

    def _encode(self, frames: Tensor) -> Tensor:
        tokens = self.vision_encoder(rearrange(frames.to(self._device()), "g t h w c -> (g t) h w c"))
        features: Tensor = rearrange(tokens, "(g t) h w c -> g t h w c", g=len(frames))
        return features.to(self.projector.dtype)

    def _project(self, features: Tensor, *, pool: bool) -> Tensor:
        tokens: Tensor = self.projector(self.dts(features), pool=pool)
        return tokens

    def _embed(self, ids: Tensor) -> Tensor:
        embeddings: Tensor = self.llm.get_input_embeddings()(ids)
        return embeddings

    def _device(self) -> torch.device:
        return self.projector.device

    def _check_length(self, tokens: int) -> None:
        if tokens > self.max_tokens:
            raise DataError(
                f"{tokens} tokens of prompt, video and reply, but model.max_tokens allows {self.max_tokens}: keep "
                "fewer video tokens, sample fewer frames, or ask a shorter question"
            )
