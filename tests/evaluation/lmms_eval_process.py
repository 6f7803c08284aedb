"""What a Python with lmms-eval does for ``test_lmms_eval``: prints what the adapter says of each mistake, as JSON.

Arguments: an exported model's folder, a video.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

from lmms_eval.api.instance import Instance
from lmms_eval.models import get_model

from recot.errors import RecotError

FOLDER, VIDEO = sys.argv[1:]
DOCUMENTS = {"film": {"test": [{}]}}


def model(**given: object) -> object:
    return get_model("recot")(pretrained=FOLDER, device="cpu", **given)


def request(kind: str, shown: object, **kwargs: object) -> Instance:
    arguments = ("What happens?", {"max_new_tokens": 1, **kwargs}, lambda document: shown, 0, "film", "test")
    return Instance(kind, arguments, 0, {"task": "film", "doc_id": 0, "repeats": 1})


def ask(shown: object, kind: str = "generate_until", **kwargs: object) -> object:
    recot = model(frames=4)
    recot.task_dict = DOCUMENTS
    return getattr(recot, kind)([request(kind, shown, **kwargs)])


def said(act: Callable[[], object]) -> str:
    try:
        act()
    except RecotError as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


broken = Path(VIDEO).with_suffix(".broken")
broken.write_bytes(b"no video")
MISTAKES = {
    "no folder": lambda: get_model("recot")(pretrained="/nowhere"),
    "two budgets": lambda: model(keep=0.5, budget=3),
    "no number": lambda: model(keep="half"),
    "batch": lambda: model(batch_size="8"),
    "likelihood": lambda: ask([VIDEO], "loglikelihood"),
    "rounds": lambda: ask([VIDEO], "generate_until_multi_round"),
    "two videos": lambda: ask([VIDEO, VIDEO]),
    "no video": lambda: ask([]),
    "link": lambda: ask(["https://localhost/film.mp4"]),
    "missing": lambda: ask([VIDEO + ".avi"]),
    "broken": lambda: ask([str(broken)]),
    "temperature": lambda: ask([VIDEO], temperature=0.7),
    "sampling": lambda: ask([VIDEO], do_sample=True),
    "beams": lambda: ask([VIDEO], num_beams=5),
    "unknown": lambda: ask([VIDEO], repetition_penalty=1.2),
    # None of these changes a greedy reply.
    "greedy": lambda: ask([VIDEO], temperature=0.7, do_sample=False, num_beams=1, top_p=0.9, until="."),
}
print(json.dumps({name: said(act) for name, act in MISTAKES.items()}))
