"""TinyFrames: frames of the tiny world with captions, rendered while training; nothing is kept on disk.

Which batch comes at which step is a pure function of (seed, step, rank), so Lightning's own count of steps is all the
progress there is, and a resumed run sees the batches of an unbroken one.

Legend: B frames of a batch, J its texts, S side of a frame in pixels, L token ids of a text; Q phrases of patches, G
patches a side.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from recot.errors import ConfigError
from recot.randomness import derive_seed, keyed_rng
from recot.tiny_world.elements import Scene
from recot.tiny_world.frame_captions import FrameCaption, draw_caption, draw_pair, facts, full_caption
from recot.tiny_world.local_phrases import PHRASES, phrase_map
from recot.tiny_world.render import render_frame
from recot.tiny_world.scene import make_scene
from recot.tiny_world.stepwise import StepwiseDataModule
from recot.tiny_world.truth import caption, questions

MAX_NOISE = 5.0
"""Largest standard deviation of the noise on training frames, in grey levels of 255 (our choice)."""


class FrameTextBatch(NamedTuple):
    """B frames, J texts, B or more, which text is true of which frame, and what each patch shows."""

    frames: Tensor  # (B, S, S, 3) uint8 RGB
    ids: Tensor  # (J, L) int64; text i < B was made for frame i
    positive: Tensor  # (B, J) bool: [i, j] says whether text j is true of frame i
    phrases: Tensor  # (Q, L) int64, the same in all batches
    shown: Tensor  # (B, G, G) int64: which phrase each patch shows


class TinyFrames(StepwiseDataModule):
    """Training and validation batches of frames with captions.

    Training frames come several a scene, with captions in all styles, with pairs of mentions that differ in one word,
    and with artefacts like those of compressed video: half of the frames have the colour resolution of 4:2:0 video and
    noise. Validation frames are as rendered,
    one a scene, with full captions, in groups of candidates for retrieval. The splits' scenes have different seeds.

    Args:
        tokenizer: texts to ids, as a Hugging Face tokenizer does; pads to its own ``model_max_length``.
        batch_size: training frames a batch.
        pairs_per_frame: pairs of mentions that differ in one word, beside a training frame's caption.
        frames_per_scene: how many of them show the same scene; divides ``batch_size``.
        scene_frames: frames of a scene, from which are drawn those to show.
        size: S.
        grid: G, of the encoder.
        candidates: frames of a validation group.
        val_groups: number of validation groups.
        seed: of everything.
        num_workers: rendering processes; 0 renders in the main process.

    Raises:
        ConfigError: for an impossible number.
    """

    def __init__(
        self,
        *,
        tokenizer: Any,
        batch_size: int,
        pairs_per_frame: int,
        frames_per_scene: int,
        scene_frames: int,
        size: int,
        grid: int,
        candidates: int,
        val_groups: int,
        seed: int,
        num_workers: int,
    ) -> None:
        super().__init__(num_workers=num_workers)
        counts = {"batch_size": batch_size, "grid": grid, "candidates": candidates, "val_groups": val_groups}
        for name, value in counts.items():
            if value < 1:
                raise ConfigError(f"data.{name} is {value}: give 1 or more")
        if frames_per_scene < 1 or batch_size % frames_per_scene:
            raise ConfigError(
                f"data.frames_per_scene={frames_per_scene} does not divide data.batch_size={batch_size}: change either"
            )
        if pairs_per_frame < 0:
            raise ConfigError(f"data.pairs_per_frame is {pairs_per_frame}: give 0 or more")
        self.tokenizer = tokenizer
        self.batch_size = batch_size
        self.pairs_per_frame = pairs_per_frame
        self.frames_per_scene = frames_per_scene
        self.scene_frames = scene_frames
        self.size = size
        self.grid = grid
        self.candidates = candidates
        self.val_groups = val_groups
        self.seed = seed

    def train_batch(self, step: int, rank: int = 0) -> FrameTextBatch:
        """The batch of a step, counted from 0 over the whole run."""
        key = ("tiny_frames", self.seed, "train", step, rank)
        rng = keyed_rng(*key)
        frames, captions, true, shown = [], [], [], []
        pairs: list[FrameCaption] = []
        for i in range(self.batch_size // self.frames_per_scene):
            scene = self._scene(*key, i)
            for frame in rng.choice(scene.frames, self.frames_per_scene, replace=scene.frames < self.frames_per_scene):
                frames.append(render_frame(scene, int(frame)))
                captions.append(draw_caption(scene, int(frame), rng))
                for _ in range(self.pairs_per_frame):
                    pairs += draw_pair(scene, int(frame), rng)
                true.append(facts(scene, int(frame)))
                shown.append(phrase_map(scene, int(frame), self.grid))
        return self._batch(compression_artefacts(np.stack(frames), rng), captions + pairs, true, shown)

    def val_batch(self, group: int) -> FrameTextBatch:
        """A group of ``candidates`` frames of as many held-out scenes, each with its full caption."""
        frames, captions, true, shown = [], [], [], []
        for i in range(self.candidates):
            key = ("tiny_frames", self.seed, "val", group, i)
            scene = self._scene(*key)
            frame = int(keyed_rng(*key).integers(scene.frames))
            frames.append(render_frame(scene, frame))
            captions.append(full_caption(scene, frame))
            true.append(facts(scene, frame))
            shown.append(phrase_map(scene, frame, self.grid))
        return self._batch(np.stack(frames), captions, true, shown)

    def val_dataloader(self) -> DataLoader[FrameTextBatch]:
        """All validation groups, the same each time."""
        return self.loader(self.val_batch, range(self.val_groups))

    def spec(self) -> dict[str, Any]:
        """The settings that decide the batches, beside the tokenizer and this code."""
        names = (
            "batch_size",
            "pairs_per_frame",
            "frames_per_scene",
            "scene_frames",
            "size",
            "grid",
            "candidates",
            "val_groups",
            "seed",
        )
        return {name: getattr(self, name) for name in names}

    def data_hash(self) -> str:
        """Hex SHA-256 of ``spec`` and of the bytes of the first training and validation batch.

        It changes with the settings, the renderer, the captions and the tokenizer.
        """
        digest = hashlib.sha256(json.dumps(self.spec(), sort_keys=True).encode())
        for batch in (self.train_batch(0), self.val_batch(0)):
            for tensor in batch:
                digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()

    def _scene(self, *key: int | str) -> Scene:
        return make_scene(derive_seed(*key), frames=self.scene_frames, size=self.size)

    def _batch(
        self,
        frames: np.ndarray,
        captions: Sequence[FrameCaption],
        true: Sequence[frozenset[Any]],
        shown: Sequence[np.ndarray],
    ) -> FrameTextBatch:
        positive = torch.tensor([[caption.claims <= known for caption in captions] for known in true])
        ids = self._ids([caption.text for caption in captions])
        maps = torch.from_numpy(np.stack(shown))
        return FrameTextBatch(torch.from_numpy(frames), ids, positive, self._ids(PHRASES), maps)

    def _ids(self, texts: Sequence[str]) -> Tensor:
        ids: Tensor = self.tokenizer(list(texts), padding="max_length", truncation=True, return_tensors="pt")[
            "input_ids"
        ]
        return ids


def compression_artefacts(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Half of the frames, drawn at random, with colour averaged over 2 x 2 pixels and Gaussian noise.

    Args:
        frames: (B, S, S, 3) uint8 RGB, S even.
        rng: decides which frames, and the noise.

    Returns:
        The same shape and dtype.
    """
    chosen = np.flatnonzero(rng.random(len(frames)) < 0.5)
    result = frames.copy()
    worn = frames[chosen].astype(np.float32)
    luma = worn @ np.array([0.299, 0.587, 0.114], np.float32)
    chroma = worn - luma[..., None]
    count, side = len(chosen), frames.shape[1]
    coarse = chroma.reshape(count, side // 2, 2, side // 2, 2, 3).mean(axis=(2, 4))
    worn = luma[..., None] + coarse.repeat(2, axis=1).repeat(2, axis=2)
    sigma = rng.uniform(0, MAX_NOISE, (count, 1, 1, 1)).astype(np.float32)
    worn += sigma * rng.standard_normal(worn.shape, np.float32)
    result[chosen] = np.rint(worn).clip(0, 255).astype(np.uint8)
    return result


def sample_texts(*, scenes: int, frames: int, seed: int) -> list[str]:
    """Text to train a tokenizer on: captions of frames in all styles, captions of videos, questions and answers.

    Args:
        scenes: how many scenes to take the text of.
        frames: frames a scene.
        seed: other seeds give other scenes.
    """
    texts = []
    for i in range(scenes):
        scene = make_scene(derive_seed("tiny_frames", seed, "texts", i), frames=frames)
        rng = keyed_rng("tiny_frames", seed, "texts", i)
        for frame in rng.integers(scene.frames, size=4):
            texts += [draw_caption(scene, int(frame), rng).text, full_caption(scene, int(frame)).text]
        texts.append(caption(scene))
        for asked in questions(scene):
            texts += [asked.question, asked.answer, *(asked.options or ())]
    return texts
