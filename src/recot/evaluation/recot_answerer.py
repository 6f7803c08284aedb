"""Our model as an answerer: what it is shown, what its selector keeps, what it replies, and what that cost.

Legend: L tokens of a prompt.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, get_args

import torch
from torch import Tensor

from recot.checkpoints.inference import Inference
from recot.errors import ConfigError, DataError, VideoError
from recot.evaluation.answerer import Answered, PromptOf
from recot.evaluation.answers import letters, likeliest
from recot.evaluation.controls import Control, selector_seed
from recot.evaluation.items import Item, Prompt, Span
from recot.evaluation.selector_metrics import evidence_found
from recot.evaluation.shown_video import Shown, VideoReader, not_sampled
from recot.inference.moments import kept_groups, kept_spans
from recot.inference.timeline import cell_shares
from recot.inference.usage import Usage
from recot.models.generation import generate, option_log_likelihoods
from recot.models.packing import Pack
from recot.models.prompt import IGNORED, Turn, Visual, build_prompt
from recot.models.prompt import Prompt as PromptTokens
from recot.models.selection import evidence_groups
from recot.models.selector_baselines import BaselineSelector
from recot.models.video_input import Sample
from recot.models.video_lm import Choice, VideoLM
from recot.models.visual_groups import Query, VisualGroups

Scoring = Literal["generate", "likelihood"]
CELLS = 60
"""Of the timeline that is recorded for each sample."""


class RecotAnswerer:
    """Answers with a ``VideoLM``.

    Under another selector, the trained one still scores, and changes the rows that are kept as it was trained to: only
    which are kept differs.

    Args:
        model: in inference mode.
        inference: frames, tokens, and how replies are made.
        control: what differs from a plain evaluation.
        scoring: ``generate`` a reply; or take the option whose letter has the greatest ``likelihood`` as the reply.

    Raises:
        ConfigError: for settings that make no sense together.
    """

    def __init__(self, model: VideoLM, inference: Inference, *, control: Control, scoring: Scoring) -> None:
        check_use(control, scoring)
        self._model = model
        self._device = next(model.parameters()).device
        self._inference = inference
        self._control = control
        self._scoring = scoring
        self._other = None if control.selector == "model" else BaselineSelector(kind=control.selector)
        self._videos = VideoReader(model, control=control, sampling=inference.sampling, frame_size=inference.frame_size)

    @torch.inference_mode()
    def answer(self, item: Item, prompt_of: PromptOf) -> Answered:
        """See ``Answerer``.

        Raises:
            ConfigError: if likelihoods are to be scored of a question whose options have no letters.
            VideoError: if the video can't be used; ``too_long`` if it and the prompt are for the language model,
                ``out_of_memory`` if they are for the GPU, ``not_numbers`` if the language model's output isn't.
        """
        try:
            return self._answer(item, prompt_of)
        except torch.OutOfMemoryError as error:
            raise VideoError(
                str(item.video),
                "out_of_memory",
                f"the GPU has too little memory: lower frames, max_frames, keep or budget ({error})",
            ) from error

    def _answer(self, item: Item, prompt_of: PromptOf) -> Answered:
        usage = Usage(self._device)
        shown = None if self._control.video == "none" else self._videos.read(item, usage)
        told = prompt_of(() if shown is None else shown.times_s.tolist())
        with usage.step("tokenize"):
            prompt = self._tokenized(told, video=shown is not None)
        sample = Sample(prompt=prompt, visuals=() if shown is None else (0,))
        with usage.step("select"):
            choice = None if shown is None else self._choose(item, shown, sample)
            packed = self._model.join([] if shown is None else [shown.tokens], [sample], choice)
        self._check_length(item, packed)
        with usage.step("generate"):
            reply, how = self._reply(item, packed)
        saw = {
            "frames": 0 if shown is None else len(shown.times_s),
            "pixels": 0 if shown is None else len(shown.times_s) * math.prod(self._inference.frame_size),
            # Of an image, all; of a video, what the selector chose.
            **dict.fromkeys(("tokens_seen", "tokens_kept"), 0 if shown is None else shown.tokens[..., 0].numel()),
            "prompt_tokens": packed.embeddings.shape[1],
            **how,
            **({} if choice is None else self._kept(item, choice)),
            "video_read": "decode" in usage.seconds,
            "seconds": usage.seconds,
            "peak_memory_mib": usage.peak_memory_mib(),
        }
        return Answered(reply, saw)

    def _tokenized(self, prompt: Prompt, *, video: bool) -> PromptTokens:
        """As in training: the video, then the words; and the beginning of the reply, if the benchmark gives one."""
        shown: tuple[str | Visual, ...] = (Visual(0), "\n") if video else ()
        system = [Turn("system", (prompt.system,))] if prompt.system else []
        ids, question, labels = build_prompt(
            self._model.tokenizer, [*system, Turn("user", (*shown, prompt.user))], reply=True
        )
        if not prompt.reply:
            return PromptTokens(ids, question, labels)
        begun = self._ids(prompt.reply)
        return PromptTokens(
            torch.cat([ids, begun]),
            torch.cat([question, torch.zeros(len(begun), dtype=torch.bool)]),
            torch.cat([labels, torch.full((len(begun),), IGNORED)]),
        )

    def _choose(self, item: Item, shown: Shown, sample: Sample) -> Choice | None:
        """None of an image."""
        choice = self._model.choose([shown.visual], [shown.tokens], [sample], [self._inference.keep])
        if choice is None or self._other is None:
            return choice
        if self._control.selector == "oracle" and not _sampled(choice.visual, item.evidence):
            raise not_sampled(item, len(shown.times_s), "within", "control.selector=oracle")
        nothing = shown.tokens.new_empty(1, 0, shown.tokens.shape[-1])
        query = Query(
            tokens=nothing,
            valid=torch.empty(1, 0, dtype=torch.bool),
            seeds=[selector_seed(self._control.seed, item.id)],
            spans=[item.evidence],
        )
        kept = self._other(choice.visual, query, [self._inference.keep]).kept
        return replace(choice, selection=replace(choice.selection, kept=kept))

    def _check_length(self, item: Item, packed: Pack) -> None:
        tokens = packed.embeddings.shape[1] + self._inference.generation.max_new_tokens
        if tokens > self._model.max_tokens:
            raise VideoError(
                str(item.video),
                "too_long",
                f"video, prompt and reply take {tokens} tokens, the model reads {self._model.max_tokens}: lower keep, "
                "budget, frames or max_frames",
            )

    def _reply(self, item: Item, packed: Pack) -> tuple[str, dict[str, object]]:
        llm, settings = self._model.llm, self._inference.generation
        if self._scoring == "generate":
            try:
                said = generate(llm, self._model.tokenizer, packed.embeddings, settings)
            except DataError as error:
                raise VideoError(str(item.video), "not_numbers", str(error)) from error
            return said.text, {"reply_tokens": len(said.ids), "stopped_by": said.stopped_by}
        named = [self._ids(letter) for letter in letters(len(item.options))]
        nll = (-option_log_likelihoods(llm, packed.embeddings, named, chunk=settings.prefill_chunk)).tolist()
        if any(math.isnan(own) for own in nll):
            raise VideoError(str(item.video), "not_numbers", "the likelihoods of the options aren't numbers")
        return likeliest(item, nll, {}).reply, {"letter_nll": [round(own, 6) for own in nll]}

    def _kept(self, item: Item, choice: Choice) -> dict[str, object]:
        groups = kept_groups(choice)
        return {
            "tokens_seen": groups.tokens_seen,
            "tokens_kept": groups.tokens_kept,
            "kept_spans": [_rounded(span) for span in kept_spans(groups)],
            "timeline": cell_shares(groups, CELLS).round(3).tolist(),
            "shown_span": _rounded((float(groups.seconds[0, 0]), float(groups.seconds[-1, 1]))),
            **self._found(item, choice),
        }

    def _found(self, item: Item, choice: Choice) -> dict[str, object]:
        """How much of the evidence was kept, where it is known, and all frames are shown in their places."""
        if not item.evidence or self._control.video != "own" or self._control.frames != "all":
            return {}
        (found,) = evidence_found(choice.visual, choice.selection, [item.evidence])
        measured = {name: value.item() for name, value in found.items()}
        several = len(item.evidence) > 1
        if not measured or (several and not all(_sampled(choice.visual, [span]) for span in item.evidence)):
            measured["all_evidence"] = 0.0
        if self._other is not None:
            measured.pop("evidence_auroc", None)  # the trained selector's scores, which chose nothing here
        return {"evidence": [_rounded(span) for span in item.evidence], **measured}

    def _ids(self, text: str) -> Tensor:
        """(L,) int64"""
        ids = self._model.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return torch.tensor(ids, dtype=torch.int64)


def _sampled(visual: VisualGroups, spans: Sequence[Span]) -> bool:
    """Whether a sampled frame shows any part of the spans."""
    assert visual.times_s is not None
    return bool(evidence_groups(visual.times_s, [spans], visual.valid).any())


def check_use(control: Control, scoring: str) -> None:
    """Refuse settings that make no sense.

    Raises:
        ConfigError: naming them.
    """
    if scoring not in get_args(Scoring):
        raise ConfigError(f"scoring={scoring!r}: use one of {', '.join(get_args(Scoring))}")
    removed = control.selector == "oracle" and control.frames == "evidence_removed"
    misplaced = control.video != "own" or control.frames.startswith("shuffled") or removed
    if control.needs_evidence and misplaced:
        raise ConfigError(
            f"control.selector={control.selector} with control.video={control.video}, control.frames={control.frames}: "
            "the evidence isn't where it would be looked for. Use another selector or other frames, or the video as it "
            "is."
        )


def _rounded(span: Span) -> list[float]:
    return [round(seconds, 3) for seconds in span]
