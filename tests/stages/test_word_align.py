"""Captions' words as a teacher of tokens: what counts as a word, and what is learned from them."""

from pathlib import Path

import torch

from recot.stages.word_align import WordAlign, words_loss
from tests.stages.small_stage import fit, trainer
from tests.stages.video_stage import video_batch, video_stage

WORDS = 12
EMBEDDINGS = torch.randn(WORDS + 2, 16, generator=torch.Generator().manual_seed(0)) * 2
ALWAYS = WORDS  # a word that all captions say


def clips(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(count, 1, 4, 16) features and (count, 4) words: 4 tokens each show one of 12 things, in any place."""
    generator = torch.Generator().manual_seed(seed)
    looks = torch.eye(16)[:WORDS] * 3
    shown = torch.randint(WORDS, (count, 4), generator=generator)
    noise = torch.randn(count, 4, 16, generator=generator) * 0.1
    return (looks[shown] + noise)[:, None], shown


def loss_of(projector: torch.nn.Module, features: torch.Tensor, shown: torch.Tensor) -> torch.Tensor:
    captions = [torch.cat([words, torch.tensor([ALWAYS])]) for words in shown]
    return words_loss([projector(own) for own in features], captions, EMBEDDINGS.__getitem__)


def test_captions_teach_which_token_shows_which_word() -> None:
    """Captions say what is there, not where; each token comes to be nearest to the embedding of what it shows."""
    torch.manual_seed(0)
    projector = torch.nn.Linear(16, 16)
    optimizer = torch.optim.AdamW(projector.parameters(), 2e-2)
    features, shown = clips(1024, 3)
    for step in range(400):
        rows = slice(step % 32 * 32, step % 32 * 32 + 32)
        optimizer.zero_grad()
        loss_of(projector, features[rows], shown[rows]).backward()
        optimizer.step()
    unseen, truth = clips(64, 4)
    tokens = projector(unseen)[:, 0].detach()
    nearest = torch.cdist(tokens, EMBEDDINGS[:WORDS]).argmin(dim=-1)
    assert (nearest == truth).float().mean() > 0.95
    lengths = tokens.norm(dim=-1) / EMBEDDINGS.norm(dim=-1).mean()
    assert ((lengths > 0.6) & (lengths < 1.6)).all()


def test_words_of_most_captions_count_nowhere() -> None:
    """Tokens may stand for them: the loss asks neither that some do nor that none does."""
    _, shown = clips(8, 5)
    captions = [torch.cat([own, torch.tensor([ALWAYS])]) for own in shown]
    without = [EMBEDDINGS[own][None] for own in shown]  # exactly what their captions say, but for that word
    beside = [torch.cat([own, EMBEDDINGS[ALWAYS][None, None]], dim=1) for own in without]
    rare = [EMBEDDINGS[own.roll(1)][None] for own in shown.roll(1, dims=0)]
    losses = [words_loss(tokens, captions, EMBEDDINGS.__getitem__) / len(shown) for tokens in (without, beside, rare)]
    assert losses[0] < 0.2
    assert losses[1] < 0.2
    assert losses[2] > 1


def test_a_lone_caption_teaches_nothing_but_length() -> None:
    tokens = EMBEDDINGS[:3][None].clone().requires_grad_()
    length = EMBEDDINGS[3:6].norm(dim=-1).mean()
    loss = words_loss([tokens], [torch.tensor([3, 4, 5])], EMBEDDINGS.__getitem__)
    torch.testing.assert_close(loss, (tokens.norm(dim=-1) / length - 1).square().mean())


def test_only_the_projector_learns_and_the_language_model_isn_t_run(tmp_path: Path) -> None:
    stage = video_stage(WordAlign, train={"projector": 1e-2}, lora=None)
    before = {name: value.clone() for name, value in stage.model.state_dict().items()}
    stage.model.llm.model.layers[0].register_forward_hook(lambda *_: (_ for _ in ()).throw(AssertionError("was run")))
    fit(stage, [video_batch([0, 1, 2, 3])] * 3, trainer(tmp_path, steps=3), save=tmp_path / "final.ckpt")
    changed = {name.split(".")[0] for name, value in stage.model.state_dict().items() if not value.equal(before[name])}
    assert changed == {"projector"}
