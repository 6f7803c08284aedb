"""The kinds of junk by name."""

from collections.abc import Callable

from recot.tiny_world.junk import broken, copies, texts
from recot.tiny_world.junk.case import Case, Made

KINDS: dict[str, Callable[[Case], Made]] = {
    "exact_duplicate": copies.exact_duplicate,
    "reencoded": copies.reencoded,
    "crop": copies.cropped,
    "mirror": copies.mirrored,
    "brightness": copies.brightness,
    "trimmed": copies.trimmed,
    "leaked": copies.leaked,
    "static": broken.static,
    "black": broken.black,
    "blank": broken.blank,
    "too_short": broken.too_short,
    "truncated": broken.truncated,
    "corrupt": broken.corrupt,
    "wrong_text": texts.wrong_text,
    "blind": texts.blind,
    "single_frame": texts.single_frame,
}
