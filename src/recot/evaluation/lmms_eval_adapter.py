"""recot as a model of lmms-eval (``--model recot``), for its tasks. Importable only where lmms-eval is installed.

Written for lmms-eval 0.7.3: its ``api/model.py`` says what a model is, its ``models/registry_v2.py`` how the entry
point in the group ``lmms_eval.models`` is read.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lmms_eval.api.instance import GenerationResult, Instance, TokenCounts
from lmms_eval.api.model import lmms
from tqdm import tqdm

from recot.checkpoints.hf_folder import load_video_lm
from recot.errors import ConfigError, DataError, VideoError
from recot.evaluation.budgets import with_budgets
from recot.evaluation.controls import Control
from recot.evaluation.items import Item, Prompt
from recot.evaluation.processes import Place, torchrun_place
from recot.evaluation.recot_answerer import RecotAnswerer
from recot.evaluation.runner import by_video
from recot.models.generation import GenerationSettings
from recot.models.selection import Times

_NO_MATTER = frozenset({"top_p", "top_k", "seed", "image_aspect_ratio"})
"""Of ``generation_kwargs``, what can't change a greedy reply about a video."""


def manifest() -> Any:
    """What the entry point hands to lmms-eval: the model's name and class."""
    # Here, not above: importing this runs all entry points, of which this module is one.
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest("recot", simple_class_path=f"{__name__}.{Recot.__name__}")


class Recot(lmms):
    """An exported model, asked as ``src/eval.py`` asks it: one question about one video file at a time.

    A task says what is told besides the video, how long a reply may be and where it stops. Replies are greedy.

    Args:
        pretrained: an exported model's folder.
        keep: part of a video's tokens that is read; None, here and below: the model's own.
        budget: or, how many are.
        fps: frames seen of a second.
        frames: or, how many are seen, evenly spread, of every video.
        max_frames: most frames.
        device: None is this process' GPU, or the CPU where there is none.
        batch_size: 1; lmms-eval always gives it.
        max_batch_size: None or 1.

    Raises:
        ConfigError: if a value is impossible, or two of them contradict each other.
        DataError: if the folder can't be used.
    """

    def __init__(
        self,
        *,
        pretrained: str,
        keep: float | None = None,
        budget: int | None = None,
        times: Times | None = None,
        fps: float | None = None,
        frames: int | None = None,
        max_frames: int | None = None,
        device: str | None = None,
        batch_size: int | str = 1,
        max_batch_size: int | None = None,
    ) -> None:
        super().__init__()
        numbers = {"keep": keep, "budget": budget, "fps": fps, "frames": frames, "max_frames": max_frames}
        for name, value in numbers.items():
            if value is not None and not isinstance(value, int | float):
                raise ConfigError(f"model_args {name}={value!r}: give a number, or leave it out")
        for name, size in (("batch_size", batch_size), ("max_batch_size", max_batch_size)):
            if size is not None and str(size) != "1":
                raise ConfigError(f"{name}={size}: recot answers one question at a time, leave it at 1")
        place = torchrun_place() or Place(0, 1, 0)
        self.device = torch.device(device or place.device())  # lmms-eval gathers on it
        self._model, inference = load_video_lm(Path(str(pretrained)), device=str(self.device))
        self._inference = with_budgets(
            inference,
            keep=keep,
            budget=budget,
            times=times,
            fps=fps,
            frames=frames,
            max_frames=max_frames,
            max_new_tokens=None,
        )

    def generate_until(self, requests: Sequence[Instance]) -> list[GenerationResult]:
        """Answer questions; each video is read once.

        Returns:
            A reply a request, in their order, with the tokens that the language model read and wrote.

        Raises:
            ConfigError: if a task asks what isn't answered here, or sets what can't be followed.
            DataError: if videos are missing; nothing is asked then.
            VideoError: if a video can't be used.
        """
        asked: dict[GenerationSettings, list[Item]] = {}
        for number, request in enumerate(requests):
            context, kwargs, doc_to_visual, doc_id, task, split = request.args
            video = _video(doc_to_visual(self.task_dict[task][split][doc_id]), f"task {task}, document {doc_id}")
            item = Item(id=str(number), video_id=str(video), video=video, question=context, form="named")
            asked.setdefault(_settings(self._inference.generation, kwargs, task), []).append(item)
        _require_files(item.video for items in asked.values() for item in items)
        replies: dict[str, GenerationResult] = {}
        with tqdm(total=len(requests), desc="recot", unit="question", disable=self.rank != 0) as bar:
            for settings, items in asked.items():
                for item, reply in self._replies(by_video(items), settings):
                    replies[item.id] = reply
                    bar.update()
        return [replies[str(number)] for number in range(len(requests))]

    def _replies(self, items: Sequence[Item], settings: GenerationSettings) -> Iterable[tuple[Item, GenerationResult]]:
        inference = replace(self._inference, generation=settings)
        answerer = RecotAnswerer(self._model, inference, control=Control(), scoring="generate")
        for item in items:
            try:
                answered = answerer.answer(item, partial(_prompt, item))
            except VideoError as error:
                raise VideoError(
                    error.source,
                    error.reason,
                    f"{error.message}. lmms-eval can't leave a question without a score: leave those about this video "
                    "out of the task, or use src/eval.py, which lists them as failed",
                ) from error
            saw: Mapping[str, Any] = answered.saw
            yield (
                item,
                GenerationResult(
                    answered.reply, TokenCounts(input_tokens=saw["prompt_tokens"], output_tokens=saw["reply_tokens"])
                ),
            )

    def loglikelihood(self, requests: Sequence[Instance]) -> list[tuple[float, bool]]:
        """Not answered.

        Raises:
            ConfigError: naming the task.
        """
        raise ConfigError(_unanswered(requests, "likelihoods of options"))

    def generate_until_multi_round(self, requests: Sequence[Instance]) -> list[str]:
        """Not answered.

        Raises:
            ConfigError: naming the task.
        """
        raise ConfigError(_unanswered(requests, "several rounds of questions"))


def _prompt(item: Item, times_s: Sequence[float]) -> Prompt:
    """Tasks don't know which frames are seen."""
    return Prompt(user=item.question)


def _unanswered(requests: Sequence[Instance], what: str) -> str:
    return (
        f"task {requests[0].task_name} asks for {what}: recot answers tasks of output_type generate_until. Leave the "
        "task out."
    )


def _video(visuals: object, where: str) -> Path:
    """The file, of what a task's ``doc_to_visual`` gives: a list with its path."""
    found = visuals if isinstance(visuals, list | tuple) else [visuals]
    if len(found) == 1 and isinstance(found[0], str | Path) and "://" not in str(found[0]):
        return Path(found[0])
    kinds = ", ".join("a link" if isinstance(own, str) and "://" in own else type(own).__name__ for own in found)
    raise ConfigError(
        f"{where}: recot answers questions about one video file, and this shows {kinds or 'nothing'}. Leave the task "
        "out."
    )


def _require_files(videos: Iterable[Path]) -> None:
    wanted = set(videos)
    missing = sorted(video for video in wanted if not video.is_file())
    if missing:
        raise DataError(
            f"{missing[0]}: no such file; {len(missing)} of {len(wanted)} videos are missing. Put them where the task "
            "looks for them, or leave their questions out of it."
        )


def _settings(own: GenerationSettings, kwargs: Mapping[str, Any], task: str) -> GenerationSettings:
    """How the model replies, as far as a task's ``generation_kwargs`` say it."""
    told = {name: value for name, value in kwargs.items() if name not in _NO_MATTER and value is not None}
    until = told.pop("until", [])
    length = told.pop("max_new_tokens", own.max_new_tokens)
    temperature = told.pop("temperature", None)
    if told.pop("do_sample", bool(temperature)) and temperature != 0:
        told |= {"do_sample": True, "temperature": temperature}
    if told.get("num_beams") == 1:
        del told["num_beams"]
    if told:
        raise ConfigError(
            f"task {task}: generation_kwargs {told} can't be followed: replies are greedy, and end by max_new_tokens "
            "or until. Set --gen_kwargs temperature=0,do_sample=False,num_beams=1, or leave the task out."
        )
    stop = (until,) if isinstance(until, str) else tuple(until)
    return replace(own, max_new_tokens=length, stop=(*own.stop, *stop))
