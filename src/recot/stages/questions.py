"""A batch of videos with questions as what the video language model is given."""

from collections.abc import Iterator
from typing import Any

from recot.batch import Chat, VideoBatch
from recot.errors import ConfigError
from recot.models.prompt import Turn, Visual, build_prompt
from recot.models.video_input import Sample, VisualInput
from recot.randomness import derive_seed


def visuals_of(batch: VideoBatch) -> list[VisualInput]:
    """Each video of a batch; what has one frame is an image."""
    visuals = []
    for number in range(len(batch.keys)):
        own = batch.sample == number
        visuals.append(
            VisualInput(
                times_s=batch.times_s[own],
                frames=None if batch.frames is None else batch.frames[own],
                features=None if batch.features is None else batch.features[own],
                still=int(batch.valid[own].sum()) == 1,
            )
        )
    return visuals


def samples_of(batch: VideoBatch, tokenizer: Any) -> list[Sample]:
    """A sample for each question of a batch, in the order of ``asked``, with the reply to learn."""
    return [
        Sample(
            prompt=build_prompt(tokenizer, question_turns(chat.user, chat.reply), reply=False),
            visuals=(video,),
            spans=chat.spans,
            seed=derive_seed(batch.seeds[video], number),
        )
        for video, number, chat in asked(batch)
    ]


def asked(batch: VideoBatch) -> Iterator[tuple[int, int, Chat]]:
    """(video, question of the video, what is asked) for each question of a batch.

    Raises:
        ConfigError: if the batch comes without questions.
    """
    if batch.chats is None:
        raise ConfigError("data.questions is null, and this stage learns from questions: choose data with questions")
    return ((video, n, chat) for video, chats in enumerate(batch.chats) for n, chat in enumerate(chats))


def question_turns(user: str, reply: str) -> list[Turn]:
    """The video, then the question in a line of its own, as in the released model; and the reply."""
    return [Turn("user", (Visual(0), "\n", user)), Turn("assistant", (reply,))]
