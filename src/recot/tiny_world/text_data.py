"""TinyText: facts about scenes of the tiny world with questions on them, made while training.

Which batch comes at which step is a pure function of (seed, step, rank), so Lightning's own count of steps is all the
progress there is, and a resumed run sees the batches of an unbroken one.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader

from recot.data.qa_text import question_text, reply_text
from recot.errors import ConfigError
from recot.grouping import time_text
from recot.randomness import derive_seed, keyed_rng
from recot.tiny_world.common_knowledge import common_questions
from recot.tiny_world.planting import TASKS
from recot.tiny_world.scene import make_scene
from recot.tiny_world.stepwise import StepwiseDataModule
from recot.tiny_world.text_batch import ChatEncoder, Document, TextBatch
from recot.tiny_world.text_documents import (
    Level,
    both_forms,
    either,
    pictured_document,
    planted_document,
    planted_on_pictures,
    training_document,
)
from recot.tiny_world.truth import caption, facts, questions
from recot.tiny_world.vocabulary import BOUNCES, CIRCLES, MOVEMENTS, NOT_SHOWN, OBJECTS

CUTS = 4  # training documents made of one scene
UNTOLD = 4  # questions a batch on scenes that nothing is told of
STEMS = (
    "Which of these objects is shown in the scene right after the one with the ",
    "Which of these objects is shown in the video",
    "Which of these objects appears",
    "How many times does the ",
    "How does the ",
    "When is the ",
)


class TinyText(StepwiseDataModule):
    """Training and validation batches of text. The splits' scenes have different seeds.

    A training document tells of some shots of a scene and asks anything about them, with options or without; one
    document of a batch has no facts and asks for common knowledge, and with options for what can't be known. A
    validation document asks one planted question of a scene, in both forms, and tells of the shots that hold the
    evidence and of others. A pictured document shows a whole video as ``recot.tiny_world.word_pictures`` writes it, and
    asks for a description as well.

    Args:
        tokenizer: a Hugging Face tokenizer with a chat template.
        curriculum: levels, in the order of training.
        frames: of a scene.
        val_scenes: with a question of each task, and one of common knowledge, each.
        val_shots: shots that a validation document tells of.
        val_batch_size: validation scenes a batch.
        seed: of everything.
        num_workers: processes that make batches; 0 makes them in the main process.
        val_pictured_frames: lengths of videos on which, as pictures in words, validation asks the planted questions,
            too: as ``pictured_<frames>_<task>``.

    Raises:
        ConfigError: for an impossible number or task.
    """

    def __init__(
        self,
        *,
        tokenizer: Any,
        curriculum: Sequence[Level],
        frames: int,
        val_scenes: int,
        val_shots: int,
        val_batch_size: int,
        seed: int,
        num_workers: int,
        val_pictured_frames: Sequence[int] = (),
    ) -> None:
        super().__init__(num_workers=num_workers)
        for name, value in (("val_scenes", val_scenes), ("val_batch_size", val_batch_size)):
            if value < 1:
                raise ConfigError(f"data.{name} is {value}: give 1 or more")
        if val_shots < 4:
            raise ConfigError(f"data.val_shots is {val_shots}: give 4 or more, which the evidence may be spread over")
        self.curriculum = list(curriculum)
        _check(self.curriculum)
        self.tokenizer = tokenizer
        self.frames = frames
        self.val_scenes = val_scenes
        self.val_shots = val_shots
        self.val_pictured_frames = list(val_pictured_frames)
        self.val_batch_size = val_batch_size
        self.seed = seed
        self._encoder = ChatEncoder(tokenizer)

    def train_batch(self, step: int, rank: int = 0) -> TextBatch:
        """The batch of a step, counted from 0 over the whole run."""
        level = next(v for v in self.curriculum if v.until is None or step < v.until)
        key = ("tiny_text", self.seed, "train", step, rank)
        rng = keyed_rng(*key)
        documents = [self._untold(level, key, rng)]
        for number in range(level.documents):
            if number % CUTS == 0:
                scene = make_scene(derive_seed(*key, number), frames=self.frames)
            documents.append(training_document(scene, level, rng))
        for number in range(level.pictured):
            frames = int(rng.choice(np.array(level.pictured_frames)))
            scene = make_scene(derive_seed(*key, "pictured", number), frames=frames)
            documents.append(pictured_document(scene, level, rng))
        return self._encoder.batch(documents)

    def _untold(self, level: Level, key: tuple[str | int, ...], rng: np.random.Generator) -> Document:
        """Questions without facts: on common knowledge, and planted ones, to be unsure of: no answer is more likely."""
        scene = make_scene(derive_seed(*key, "untold"), frames=self.frames)
        asked = [either(common_questions(rng), level, rng) for _ in range(level.questions - UNTOLD)]
        unsure = rng.permutation(len(scene.planted))[:UNTOLD]
        return Document([], [*asked, *(both_forms(scene, scene.planted[i])[0] for i in unsure)])

    def val_batch(self, number: int) -> TextBatch:
        """The documents of ``val_batch_size`` scenes."""
        return self._encoder.batch(self.val_documents(number))

    def val_documents(self, number: int) -> list[Document]:
        """What ``val_batch`` encodes."""
        documents = []
        first = number * self.val_batch_size
        for i in range(first, min(first + self.val_batch_size, self.val_scenes)):
            key = ("tiny_text", self.seed, "val", i)
            rng = keyed_rng(*key)
            scene = make_scene(derive_seed(*key), frames=self.frames)
            documents += [planted_document(scene, planted, self.val_shots, rng) for planted in scene.planted]
            documents.append(Document([], common_questions(rng)))
            for frames in self.val_pictured_frames:
                documents.append(planted_on_pictures(make_scene(derive_seed(*key), frames=frames), rng))
        return documents

    def val_dataloader(self) -> DataLoader[TextBatch]:
        """All validation documents, the same each time."""
        return self.loader(self.val_batch, range(-(-self.val_scenes // self.val_batch_size)))

    def spec(self) -> dict[str, Any]:
        """The settings that decide the batches, beside the tokenizer and this code."""
        names = ("frames", "val_scenes", "val_shots", "val_pictured_frames", "val_batch_size", "seed")
        levels = [
            {k: list(v) if isinstance(v, Sequence) else v for k, v in asdict(level).items()}
            for level in self.curriculum
        ]
        return {"curriculum": levels} | {name: getattr(self, name) for name in names}

    def data_hash(self) -> str:
        """Hex SHA-256 of ``spec`` and of the bytes of each level's first batch and the first validation batch.

        It changes with the settings, the world's text and the tokenizer.
        """
        digest = hashlib.sha256(json.dumps(self.spec(), sort_keys=True).encode())
        starts = [0, *(level.until for level in self.curriculum if level.until is not None)]
        for batch in (*(self.train_batch(step) for step in starts), self.val_batch(0)):
            for tensor in (value for value in batch if isinstance(value, Tensor)):
                digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()


def sample_texts(*, scenes: int, frames: int, seed: int) -> list[str]:
    """Text to train a tokenizer on: captions, facts, questions, replies.

    Args:
        scenes: how many scenes to take the text of.
        frames: frames a scene.
        seed: other seeds give other scenes.
    """
    texts = []
    for i in range(scenes):
        key = ("tiny_text", seed, "texts", i)
        scene = make_scene(derive_seed(*key), frames=frames)
        texts += [caption(scene), *facts(scene), "user", "assistant", "system"]
        for qa in (*questions(scene)[1:], *common_questions(keyed_rng(*key))):
            texts += [question_text(qa), reply_text(qa)]
    return texts


def phrases() -> list[str]:
    """What is named as a whole: objects, what they do, times, how questions begin; and what stands between.

    A span is then two tokens, its start and its end. Times later than 9.88 s are spelled by digits.
    """
    times = [f"{eighth / 8:.2f}" for eighth in range(80)]
    spans = [*(f"from {time}" for time in times), *(f" to {time} s" for time in times)]
    numbers = [*(f" {digit}" for digit in range(10)), *(f" {time}" for time in times)]
    between = (". ", ": ", ", ", " or ", " the ")
    return [*OBJECTS, *MOVEMENTS, BOUNCES, CIRCLES, "is shown", NOT_SHOWN, *numbers, *spans, *STEMS, *between]


def time_phrases() -> list[str]:
    """The times that stand before groups of 4 frames, 8 of them a second, in a video's first 64 seconds."""
    return [time_text(half / 2) for half in range(128)]


def _check(curriculum: Sequence[Level]) -> None:
    ends = [level.until for level in curriculum]
    steps = [0, *(end for end in ends if end is not None)]
    if not ends or ends[-1] is not None or None in ends[:-1] or steps != sorted(set(steps)):
        raise ConfigError(
            f"data.curriculum: levels end before steps {ends}, but they must ascend, and the last one has until: null"
        )
    for level in curriculum:
        if not level.tasks or not set(level.tasks) <= set(TASKS):
            raise ConfigError(f"data.curriculum: tasks {list(level.tasks)}: give some of {TASKS}")
        if not 1 <= level.shots[0] <= level.shots[1] or level.documents < 1 or level.questions < UNTOLD:
            raise ConfigError(
                f"data.curriculum: {level} has shots, documents or questions that don't work: give 1 or more, "
                f"{UNTOLD} or more questions, and shots as [least, most]"
            )
        if level.pictured and not level.pictured_frames:
            raise ConfigError(f"data.curriculum: {level} has pictured documents: give pictured_frames, e.g. [16, 64]")
