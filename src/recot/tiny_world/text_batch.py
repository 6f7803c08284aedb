"""Questions on shared facts as token batches.

The questions of a document share its facts and nothing else: none sees another, and each counts its places from the
end of the facts on. So each is computed just as if it stood alone after the facts, and the facts are computed once.

Legend: B rows of a batch, L tokens of the longest document.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from recot.data.qa_text import question_text, reply_text
from recot.data.schema import QA

IGNORED = -100
_MARK = "\x00"


class Reply(NamedTuple):
    """Where in a batch a reply is: tokens ``start <= i < stop`` of a row, end of turn included."""

    row: int
    start: int
    stop: int
    name: str  # task and form, e.g. ``needle/choice``


class TextBatch(NamedTuple):
    """Token ids with what is to be learned from them."""

    ids: Tensor  # (B, L) int64
    labels: Tensor  # (B, L) int64: the ids of replies, elsewhere IGNORED
    positions: Tensor  # (B, L) int64: place in the dialogue that a token belongs to, from 0
    mask: Tensor  # (B, 1, L, L) bool: [b, 0, i, j] says whether token i sees token j
    replies: list[Reply]


@dataclass(frozen=True)
class Document:
    """Facts, a line each and maybe none, and questions on them; or a picture in words instead of facts.

    The texts of a picture are encoded one by one and followed by a line break, as a video's times and tokens are.
    """

    facts: Sequence[str]
    asked: Sequence[QA]
    picture: Sequence[str] = ()


class ChatEncoder:
    """Documents to batches, in the chat format of a tokenizer.

    Args:
        tokenizer: a Hugging Face tokenizer with a chat template whose turns end with ``<|im_end|>``.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        chat = [{"role": "user", "content": _MARK}]
        text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        self._before, self._after = text.split(_MARK)

    def batch(self, documents: Sequence[Document]) -> TextBatch:
        """Documents of any lengths as one batch; a row may hold several, none of which sees another."""
        texts: list[str] = []
        for document in documents:
            texts += self._shared(document)
            for qa in document.asked:
                texts += [question_text(qa) + self._after, f"{reply_text(qa)}<|im_end|>"]
        pieces = iter(self.tokenizer(texts, add_special_tokens=False)["input_ids"])
        encoded = [
            _Encoded(
                [token for _ in self._shared(document) for token in next(pieces)],
                [(qa, next(pieces), next(pieces)) for qa in document.asked],
            )
            for document in documents
        ]
        return _packed(encoded, self.tokenizer.pad_token_id)

    def _shared(self, document: Document) -> list[str]:
        """What stands before the questions, in texts that are encoded one by one."""
        if document.picture:
            return [self._before, *document.picture, "\n"]
        return [self._before + "".join(f"{fact}\n" for fact in document.facts)]


class _Encoded:
    """One document's tokens. ``part`` is 0 for what is shared, and counts the questions from 1."""

    def __init__(self, shared: list[int], asked: Sequence[tuple[QA, list[int], list[int]]]) -> None:
        self.ids, self.part = list(shared), [0] * len(shared)
        self.positions = list(range(len(shared)))
        self.replies: list[tuple[int, int, str]] = []
        for number, (qa, question, reply) in enumerate(asked, 1):
            start = len(self.ids) + len(question)
            own = [*question, *reply]
            self.ids += own
            self.part += [number] * len(own)
            self.positions += range(len(shared), len(shared) + len(own))
            form = "choice" if qa.options else "open"
            self.replies.append((start, start + len(reply), f"{qa.task_type}/{form}"))


def _packed(documents: Sequence[_Encoded], pad: int) -> TextBatch:
    """Rows as long as the longest document, the longest first, each in the first row that has room for it."""
    length = max(len(document.ids) for document in documents)
    rows: list[list[_Encoded]] = []
    for document in sorted(documents, key=lambda d: -len(d.ids)):
        room = (row for row in rows if sum(len(d.ids) for d in row) + len(document.ids) <= length)
        row = next(room, None)
        if row is None:
            rows.append([document])
        else:
            row.append(document)
    shape = (len(rows), length)
    ids, labels = torch.full(shape, pad), torch.full(shape, IGNORED)
    # What fills up a row belongs to no document, and sees only itself.
    positions, part, member = torch.zeros(shape, dtype=torch.int64), torch.zeros(shape), torch.full(shape, -1)
    replies = []
    for r, row in enumerate(rows):
        offset = 0
        for number, document in enumerate(row):
            own = slice(offset, offset + len(document.ids))
            ids[r, own] = torch.tensor(document.ids)
            positions[r, own] = torch.tensor(document.positions)
            part[r, own] = torch.tensor(document.part, dtype=part.dtype)
            member[r, own] = number
            for start, stop, name in document.replies:
                replies.append(Reply(r, offset + start, offset + stop, name))
                labels[r, offset + start : offset + stop] = ids[r, offset + start : offset + stop]
            offset += len(document.ids)
    return TextBatch(ids, labels, positions, _mask(member, part)[:, None], replies)


def _mask(member: Tensor, part: Tensor) -> Tensor:
    """(B, L, L) bool: tokens see those before them in the same document that are shared or of the same question."""
    alike = (part[:, None, :] == 0) | (part[:, None, :] == part[:, :, None])
    same = member[:, None, :] == member[:, :, None]
    return (alike & same).tril()
