"""Word alignment: words of captions teach the projector which tokens they are, before a language model reads any.

Legend: G groups of a video, P tokens a group, D LLM width, V vocabulary.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.distributed.fsdp import register_fsdp_forward_method

from recot.batch import VideoBatch
from recot.losses import IGNORED, words_shown
from recot.stages.questions import samples_of, visuals_of
from recot.stages.sharding import reach_all
from recot.stages.video_language import VideoLanguageStage


class WordAlign(VideoLanguageStage):
    """The projector, and if wanted the DTS, learn to say words in tokens; the language model isn't run (our choice).

    ``ProjectorAlign`` starts from it. Validation is that stage's as well: what the language model makes of the tokens.
    """

    one_of = ("projector",)

    def configure_model(self) -> None:
        """Where weights are sharded, ``compress_alone`` is a forward, too."""
        super().configure_model()
        if "compress_alone" not in vars(self.model):  # validation after training comes here again
            register_fsdp_forward_method(self.model, "compress_alone")

    def training_step(self, batch: VideoBatch, batch_idx: int) -> Tensor:
        """The loss of the words of all captions of the batch, of which every caption counts alike."""
        total, count = self._words(batch)
        self.log("train/loss", total / count, prog_bar=True, batch_size=int(count))
        self._gradients.check(total, step=self.global_step, keys=batch.keys)
        return self.token_mean.loss(self, reach_all(total, self.model), count)

    def validation_step(self, batch: VideoBatch, batch_idx: int) -> None:
        """The same as ``val/words``, which depends on the captions that share a batch, beside the replies' loss."""
        super().validation_step(batch, batch_idx)
        total, count = self._words(batch)
        self.log("val/words", total / count, batch_size=int(count), sync_dist=True)

    def _words(self, batch: VideoBatch) -> tuple[Tensor, Tensor]:
        """Sum of the losses, and the number of captions."""
        samples = samples_of(batch, self.model.tokenizer)
        compressed = self.model.compress_alone(visuals_of(batch))
        replies = [sample.prompt.labels[sample.prompt.labels != IGNORED] for sample in samples]
        tokens = [compressed[sample.visuals[0]] for sample in samples]
        total = words_loss(tokens, replies, self.model.llm.get_input_embeddings())
        return total, torch.tensor(len(samples), device=total.device)


def words_loss(tokens: Sequence[Tensor], replies: Sequence[Tensor], embed: Callable[[Tensor], Tensor]) -> Tensor:
    """Whether videos' tokens are the words of their captions and none of other captions of the batch.

    Words are tokens of the language model. What more than half of the captions say tells nothing of a video: its tokens
    may stand for it, but needn't. So a caption that is alone in its batch teaches nothing but the words' length.

    Args:
        tokens: (G, P, D) of the video of each caption.
        replies: int64 tokens of each caption.
        embed: of the language model, (V,) int64 -> (V, D).

    Returns:
        Scalar float32, summed over videos; see ``recot.losses.words_shown``.
    """
    said = [reply.unique() for reply in replies]
    words, count = torch.cat(said).unique(return_counts=True)
    vectors = embed(words.to(tokens[0].device)).detach()
    losses = []
    for own, reply in zip(tokens, said, strict=True):
        wanted = torch.isin(words, reply).float().masked_fill(count > len(replies) / 2, torch.nan)
        losses.append(words_shown(own.flatten(0, 1), vectors, wanted.to(vectors.device)))
    return torch.stack(losses).sum()
