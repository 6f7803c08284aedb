"""How what is known and a question are put to a language model."""

from collections.abc import Sequence

from recot.data.qa_text import question_text as question_text
from recot.data.qa_text import reply_text as reply_text
from recot.data.schema import QA


def user_text(qa: QA, facts: Sequence[str] = ()) -> str:
    """What the user says: the facts, if any, a line each, then the question as in ``question_text``."""
    return "\n".join([*facts, question_text(qa)])
