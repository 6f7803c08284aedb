"""Rows of a JSON list or of JSON lines, one after the other."""

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data_pipelines.ingest.records import Rejection
from recot.errors import DataError

Row = tuple[str, Any]
"""Place within the file (``:17`` for a line, ``[17]`` for a row of a list or table), and what is there; a ``Rejection``
where nothing can be read."""

_SPACE = re.compile(r"[ \t\n\r]*")
_LONGEST_INTEGER = 1000
"""Digits; a longer one is read as a float, since Python refuses to print it."""


def json_rows(path: Path, name: str) -> Iterator[Row]:
    """Rows of a file that is a JSON list if it starts with ``[``, and JSON lines otherwise. Blank lines are no rows.

    Errors call the file ``name``.

    Raises:
        DataError: if the file can't be read, is a list that isn't valid JSON, or is UTF-16.
    """
    try:
        with path.open("rb") as file:
            head = file.read(1 << 16)
        refuse_utf16(head, name)
        if head.removeprefix(codecs.BOM_UTF8).lstrip()[:1] == b"[":
            yield from _list_rows(path, name)
        else:
            yield from _line_rows(path)
    except OSError as error:
        raise DataError(f"source={name} can't be read: {error.strerror or error}") from error


def refuse_utf16(head: bytes, name: str) -> None:
    """Raise ``DataError`` if a file that starts with ``head`` says that it is UTF-16, as Excel and PowerShell write."""
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DataError(f"source={name} is UTF-16 text, expected UTF-8. Save it as UTF-8.")


def _line_rows(path: Path) -> Iterator[Row]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield f":{number}", parse_json(line.removeprefix(codecs.BOM_UTF8) if number == 1 else line)


def _list_rows(path: Path, name: str) -> Iterator[Row]:
    """Only the file's text and one row at a time are in memory."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        for number, row in enumerate(_items(text), start=1):
            yield f"[{number}]", row
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        raise DataError(
            f"source={name} is not valid JSON in UTF-8: {error}. Repair the file, or write one JSON object a line "
            "(JSONL): then only the damaged lines are left out."
        ) from error


def _items(text: str) -> Iterator[Any]:
    """The items of a JSON list, parsed one by one."""
    decoder = json.JSONDecoder(parse_int=_integer)
    position = _after_space(text, text.index("[") + 1)
    more = text[position : position + 1] != "]"
    while more:
        item, position = decoder.raw_decode(text, position)
        yield item
        position = _after_space(text, position)
        more = text[position : position + 1] == ","
        if more:
            position = _after_space(text, position + 1)
    if text[position : position + 1] != "]":
        raise json.JSONDecodeError("Expecting ',' or ']'", text, position)
    position = _after_space(text, position + 1)
    if position != len(text):
        raise json.JSONDecodeError("Extra data", text, position)


def _after_space(text: str, position: int) -> int:
    found = _SPACE.match(text, position)
    assert found is not None
    return found.end()


def parse_json(content: bytes) -> Any:
    """Parsed JSON, or the ``Rejection`` that says why it can't be parsed: ``not_utf8`` or ``not_json``."""
    try:
        return json.loads(content.decode(), parse_int=_integer)
    except UnicodeDecodeError as error:
        return Rejection("not_utf8", f"expected UTF-8 text: {error.reason} at byte {error.start}")
    except ValueError as error:
        return Rejection("not_json", f"expected JSON: {error}")
    except RecursionError:
        return Rejection("not_json", "expected JSON: it is nested too deeply")


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _LONGEST_INTEGER else float(digits)
