"""Multiple choice whose options stand in the question's text, as in LLaVA-Video's conversations."""

import re

_OPTION = re.compile(r"\(?([A-Z])[.)]\s+(\S.*)")
_INSTRUCTION = re.compile(
    r"(?:please )?(?:answer|respond|reply|provide|give|choose|select|pick|state|indicate)\b.*"
    r"\b(?:letter|option|options|choice|choices)\b.*",
    re.IGNORECASE,
)
_LETTER = re.compile(r"\(?([A-Z])(?:[.)]+(?:\s+(\S.*))?)?")


def split_choice(question: str, answer: str) -> tuple[str, list[str], str] | None:
    """Question, options and right option of a text with a line for each option, None for what isn't clearly one.

    Clear is: a question, then lines ``A. red`` or ``(A) red`` with all letters in order from A, two at least and all
    different, then nothing or one line that asks for the letter; and an answer that is a letter among them, alone
    (``B``, ``B.``, ``(B)``) or with the text of its option (``B. red``).
    """
    lines = [line.strip() for line in question.splitlines() if line.strip()]
    found = [_OPTION.fullmatch(line) for line in lines]
    first = next((i for i, match in enumerate(found) if match), len(lines))
    options = []
    for match in found[first:]:
        if match is None:
            break
        options.append((match[1], match[2].strip()))
    rest = lines[first + len(options) :]
    said = _LETTER.fullmatch(answer.strip())
    if first == 0 or len(options) < 2 or len(rest) > 1 or said is None:
        return None
    if [letter for letter, _ in options] != [chr(ord("A") + i) for i in range(len(options))]:
        return None
    if rest and not _INSTRUCTION.fullmatch(rest[0]):
        return None
    texts = [text for _, text in options]
    right = dict(options).get(said[1])
    if right is None or len(set(texts)) != len(texts):
        return None
    if said[2] is not None and said[2].strip().rstrip(".") != right.rstrip("."):
        return None
    return "\n".join(lines[:first]), texts, right
