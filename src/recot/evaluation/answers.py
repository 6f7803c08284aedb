"""Strict reading of replies. What can't be read is wrong, and is counted: nothing is guessed, no option drawn.

All rules are our choice. The benchmarks' own scorers may read more: Video-MME's also reads ``B, because ...``,
``Option B``, ``**B**`` and ``[B]``. They make mistakes that aren't made here: "Answer: B" is no A.
"""

import re
from collections.abc import Mapping, Sequence

from recot.errors import ConfigError, DataError
from recot.evaluation.items import Item, Result, Span

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
YES_NO = ("yes", "no")

_LEAD = re.compile(
    r"(?:(?:the )?(?:best |correct |right )?(?:answer|option|choice)(?: is|:)(?: is)?:?\s*)?", re.IGNORECASE
)
_MARK = re.compile(r"\(?\b([A-Z])(?:[).:]|\s*(?:\n|$))")
_ALONE = re.compile(r"\(?[A-Z][).:]*")
# No part of a clock time, of another number, or of one that is written as 1e2.
_NUMBER = r"(?<![\d:])(?<!\d[.eE])(?<!\d[eE][-+])\d+(?:\.\d+)?(?![\d:]|\.\d|[eE][-+]?\d)"
# 24,3 - 30,4 isn't one from 3 to 30.
_RANGE = re.compile(rf"(?<!\d,)({_NUMBER})\s*(?:s|seconds)?\s*(?:-|\u2013|to|and)\s*({_NUMBER})(?!,\d)")

_MINUS = re.compile(r"(?:^|(?<=[\s(\[]))-(?=\d)")
_AFTER_NUMBER = re.compile(r"\d\s*(?:s|sec|seconds?)?\s*$")  # 24.3 -30.4 is a range


def letters(count: int) -> str:
    """``ABCDEF`` for 6 options.

    Raises:
        DataError: for more options than letters, or for none.
    """
    if not 1 <= count <= len(LETTERS):
        raise DataError(f"a question with {count} options: there must be 1 to {len(LETTERS)}, one a letter")
    return LETTERS[:count]


def judge(item: Item, reply: str, saw: Mapping[str, object]) -> Result:
    """The result of a reply; see ``Result`` for ``saw``."""
    answer = read(item, reply)
    return Result(
        id=item.id,
        video_id=item.video_id,
        groups=item.groups,
        reply=reply,
        answer=answer,
        score=score(item, answer),
        saw=saw,
    )


def likeliest(item: Item, letter_nll: Sequence[float], saw: Mapping[str, object]) -> Result:
    """The result of likelihood scoring: the answer is the option whose letter is the likeliest beginning of the reply.

    Args:
        item: a question whose options have letters.
        letter_nll: of the letter of each option; of equal ones, the first counts.
        saw: see ``Result``.

    Raises:
        ConfigError: for a question of another form.
    """
    if item.form != "letter":
        raise ConfigError(
            f"scoring=likelihood needs options with letters, but question {item.id} has none: use generate"
        )
    named = letters(len(item.options))
    best = min(range(len(named)), key=[float(nll) for nll in letter_nll].__getitem__)
    return judge(item, named[best], saw)


def read(item: Item, reply: str) -> int | Span | None:
    """What a reply to an item answers: the index of an option, or seconds; None if that isn't clear."""
    if item.form in ("span", "two_times"):
        return read_span(reply, among_others=item.form == "span")
    if item.form == "yes_no":
        return read_yes_no(reply)
    if item.form == "named":
        return read_named(reply, item.options)
    return read_letter(reply, item.options)


def score(item: Item, answer: int | Span | None) -> float:
    """1 for the right option, else 0; for spans the temporal IoU. What wasn't read scores 0."""
    if answer is None:
        return 0.0
    if isinstance(answer, tuple):
        assert item.span is not None
        return temporal_iou(answer, item.span)
    return float(answer == item.right)


def read_letter(reply: str, options: Sequence[str]) -> int | None:
    """The option that a reply begins with: ``B``, ``(B)``, ``B) text``, ``B. text``, ``The answer is B.``; or its text.

    The letter is a capital, followed by ``.``, ``)``, ``:`` or the end. A reply that marks another letter too, outside
    the text of the option, names none; neither does a letter beyond the options.
    """
    said = reply.strip()
    if not _plain(said):  # benchmarks have empty options
        return None
    by_text = [i for i, option in enumerate(options) if _plain(said) == _plain(option)]
    if len(by_text) == 1 and not _ALONE.fullmatch(said):  # an option may read "a"
        return by_text[0]
    said = said[_lead(said) :]
    found = _MARK.match(said)
    if found is None or found[1] not in letters(len(options)):
        return None
    chosen = LETTERS.index(found[1])
    rest = said[found.end() :].strip()
    if _plain(options[chosen]).startswith(_plain(rest)):  # nothing but the letter, or its option, perhaps cut off
        return chosen
    words = r"\s+".join(map(re.escape, options[chosen].rstrip(".").split()))
    rest = re.sub(rf"^{words}", "", rest, flags=re.IGNORECASE)
    others = {mark[1] for mark in _MARK.finditer(rest)} & set(letters(len(options))) - {found[1]}
    return None if others else chosen


def read_yes_no(reply: str) -> int | None:
    """0 for a reply that begins with the word yes, 1 for no (TempCompass' rule, with whole words)."""
    found = re.match(r"\W*(yes|no)\b", reply, re.IGNORECASE)
    return None if found is None else YES_NO.index(found[1].lower())


def read_named(reply: str, options: Sequence[str]) -> int | None:
    """The option that a reply gives by name, by sentence or by both (TempCompass' rule for captions).

    Of a name, its last part alone is enough, as in the official scorer without its LLM: alone, or with ``.`` or ``)``
    and anything after that but another option. ``A man runs`` begins with an ``A`` that is no name.

    Args:
        reply: ``Caption A``, ``A man runs.``, ``Caption A: A man runs.``, ``A``, ``A.``, ``A) A man runs.``, or
            ``(Caption A) A man runs.``
        options: name and sentence each, ``Caption A: A man runs.``, ``Option 1: A man runs.``
    """
    said = [reply, *re.findall(r"^\s*(?:\w+[.)]|\(?(?:\w+ )?\w+\))\s+(.*)", reply, re.DOTALL)]
    found = {i for i, option in enumerate(options) for part in said if _gives(part, option)}
    return found.pop() if len(found) == 1 else None


def read_span(reply: str, *, among_others: bool = True) -> Span | None:
    """Two times in seconds: the only two numbers of a reply; with ``among_others``, else its only range, ``2.4 - 3``.

    None where the second is before the first, or one is negative. Clock times (``0:24``) aren't seconds.
    """
    if any(not _AFTER_NUMBER.search(reply[: sign.start()]) for sign in _MINUS.finditer(reply)):
        return None
    numbers = re.findall(_NUMBER, reply)
    ranges = _RANGE.findall(reply)
    if len(numbers) == 2 and not re.search(r"\d:\d", reply):
        start, end = numbers
    elif among_others and len(ranges) == 1:
        start, end = ranges[0]
    else:
        return None
    return (float(start), float(end)) if float(start) <= float(end) else None


def temporal_iou(a: Span, b: Span) -> float:
    """Shared seconds over the seconds of both; 0 where neither has any. 0 to 1."""
    shared = max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
    both = (a[1] - a[0]) + (b[1] - b[0]) - shared
    return shared / both if both > 0 else 0.0


def lettered(options: Sequence[str], line: str) -> str:
    """The options, a line each.

    Args:
        options: their texts.
        line: with the fields ``{letter}`` and ``{text}``.
    """
    return "\n".join(
        line.format(letter=letter, text=text) for letter, text in zip(letters(len(options)), options, strict=True)
    )


def _lead(text: str) -> int:
    """Characters of a beginning such as ``The best answer is: ``."""
    found = _LEAD.match(text)
    return 0 if found is None else found.end()


def _gives(reply: str, option: str) -> bool:
    """Whether a reply gives an option that is a name and a sentence."""
    name, _, sentence = option.partition(": ")
    said = _plain(reply)
    if said in (_plain(name), _plain(sentence), _plain(option)) or said.startswith(f"{_plain(name)}: "):
        return True
    last = re.escape(name.rpartition(" ")[2])
    named = rf"\(?(?:{last}|(?i:{re.escape(name)}))(?:[.)]|[.)]\s.*)?"
    return re.fullmatch(named, reply.strip(), re.DOTALL) is not None


def _plain(text: str) -> str:
    """Without case, outer spaces, and full stop at the end."""
    return " ".join(text.strip().rstrip(".").lower().split())
