"""How likely replies are to a chat model.

Legend: p prompts, n letters, L tokens of the longest prompt, V vocabulary.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from recot.errors import DataError
from recot.models.fingerprint import fingerprint
from recot.models.llm import pretrained_llm
from recot.models.tokenizer import load_tokenizer

END_OF_TURN = "<|im_end|>"


class ReplyLikelihood:
    """NLL, in nats, of what an assistant replies to what a user says, in the chat format of the tokenizer.

    Every call is computed by itself; its results don't depend on calls before.

    Args:
        model: a causal language model of the Hugging Face kind; put into inference mode.
        tokenizer: a Hugging Face tokenizer with a chat template whose turns end with ``<|im_end|>``.
    """

    def __init__(self, model: nn.Module, tokenizer: Any) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer

    @torch.inference_mode()
    def letter_nll(self, prompts: Sequence[str], letters: str) -> np.ndarray:
        """(p, n) float64: NLL of each letter as the first token of the reply to each prompt.

        Raises:
            DataError: if a letter isn't a token of its own.
        """
        tokens = [self._encode(letter) for letter in letters]
        if any(len(token) != 1 for token in tokens):
            raise DataError(
                f"this tokenizer splits some of the letters {letters}: questions with options need a model whose "
                "tokenizer has each capital letter as one token, as Qwen2's has"
            )
        logits = self._next([self._prompt(prompt) for prompt in prompts])
        return -logits.log_softmax(dim=-1)[:, [token for (token,) in tokens]].cpu().numpy()

    @torch.inference_mode()
    def reply_nll(self, prompt: str, reply: str) -> float:
        """NLL of saying ``reply`` and then ending the turn, added up over tokens."""
        before, said = self._prompt(prompt), self._encode(reply + END_OF_TURN)
        hidden = self._hidden(torch.tensor([before + said], device=self._device), None)
        logits = self._logits(hidden[0, len(before) - 1 : -1]).log_softmax(dim=-1)
        return -float(logits[torch.arange(len(said)), said].sum())

    def fingerprint(self) -> str:
        """Hex digest of weights, tokenizer and chat format: other likelihoods, another digest."""
        return fingerprint(self.model, self.tokenizer)

    @property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device

    def _prompt(self, text: str) -> list[int]:
        chat = [{"role": "user", "content": text}]
        return self._encode(self.tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True))

    def _encode(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _next(self, prompts: Sequence[list[int]]) -> Tensor:
        """(p, V) float64 logits of the token after each prompt."""
        lengths = torch.tensor([len(prompt) for prompt in prompts], device=self._device)
        ids = torch.zeros(len(prompts), int(lengths.max()), dtype=torch.int64, device=self._device)
        for row, prompt in zip(ids, prompts, strict=True):
            row[: len(prompt)] = torch.tensor(prompt)
        seen = torch.arange(ids.shape[1], device=self._device) < lengths[:, None]
        hidden = self._hidden(ids, seen.long())
        return self._logits(hidden[torch.arange(len(prompts)), lengths - 1])

    def _hidden(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        decoder = self.model.get_decoder()  # type: ignore[operator]
        return decoder(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state

    def _logits(self, hidden: Tensor) -> Tensor:
        """Only where they are needed: over all tokens of a prompt they would be the largest tensor by far."""
        return self.model.get_output_embeddings()(hidden).double()  # type: ignore[operator]


def pretrained_likelihood(*, name_or_path: str, dtype: str = "float32", device: str = "cpu") -> ReplyLikelihood:
    """Load a Qwen2 chat model with its tokenizer by hub name or from a local folder.

    Args:
        name_or_path: e.g. ``Qwen/Qwen2.5-3B-Instruct``, or a folder with config.json, safetensors and the tokenizer's
            files.
        dtype: torch dtype name of the weights.
        device: torch device.

    Raises:
        DataError: if there is no such model or tokenizer, or the tokenizer has no chat template.
    """
    tokenizer = load_tokenizer(name_or_path)
    if tokenizer.chat_template is None or len(tokenizer(END_OF_TURN, add_special_tokens=False)["input_ids"]) != 1:
        raise DataError(
            f"{name_or_path}: the tokenizer has no chat template with {END_OF_TURN} as a token. Give a chat model, "
            "such as Qwen/Qwen2.5-3B-Instruct."
        )
    model = pretrained_llm(name_or_path=name_or_path, dtype=dtype, attention="sdpa")
    return ReplyLikelihood(model.to(device), tokenizer)
