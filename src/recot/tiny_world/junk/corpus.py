"""A corpus with planted junk as plain files: what a pipeline may see, what it is to be judged by, and the truth."""

import hashlib
import io
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from recot.atomic import new_folder, write_file
from recot.data.schema import QA
from recot.errors import DataError
from recot.tiny_world.elements import Scene
from recot.tiny_world.export import fingerprint, row
from recot.tiny_world.junk.case import Case, Made, Source, ask
from recot.tiny_world.junk.kinds import KINDS
from recot.tiny_world.junk.plan import EVALUATION, SEEN, Corpus
from recot.tiny_world.junk.sheet import junk_sheet
from recot.tiny_world.render import render
from recot.tiny_world.rendering import ground_truth, to_json
from recot.tiny_world.splits import check_disjoint
from recot.tiny_world.video import encode_mp4

RECIPE = 2
"""Raise it when a seed gives another corpus of the same scenes."""
TRUTH = "truth"


def export_corpus(out: Path, corpus: Corpus) -> None:
    """Write a corpus; the folder appears whole or not at all, and after an interruption the same call goes on.

    ``corpus/`` and ``evaluation/``, which a pipeline may see: ``videos/<name>.mp4`` and ``annotations.json``.
    ``truth/``: ``corpus/<name>.json``, ``evaluation/<name>.json`` and ``labels.json``. ``contact_sheet.png``: a row a
    kind. The fields are described in ``docs/tiny_world.md``.

    Raises:
        ConfigError: if no such corpus can be made.
        DataError: if ``out`` can't be written, or exists and isn't an empty folder.
    """
    corpus.check()
    check_disjoint([corpus.pool, corpus.evaluation])
    resume = hashlib.sha256(f"{RECIPE} {corpus.junk} {fingerprint(corpus.split)}".encode()).hexdigest()
    try:
        with new_folder(out.resolve(), resume=resume) as folder:
            _write(folder, corpus)
    except OSError as error:
        raise DataError(
            f"The corpus can't be written to {out}: {error}. Choose a folder that you may write to, on a disk with "
            "free space."
        ) from error


def _write(folder: Path, corpus: Corpus) -> None:
    """Fill a folder; what is there already stays. A video is finished where its truth is there, which comes last."""
    parts = {EVALUATION: len(corpus.evaluation), SEEN: corpus.split.videos}
    for part in parts:
        (folder / part / "videos").mkdir(parents=True, exist_ok=True)
        (folder / TRUTH / part).mkdir(parents=True, exist_ok=True)
    for temporary in folder.rglob(".*.tmp"):
        temporary.unlink()
    # Junk copies files of the evaluation set and of the good videos, which have the lower numbers.
    videos = [(part, number) for part, count in parts.items() for number in range(count)]
    for part, number in tqdm(videos, desc="rendering", unit="video"):
        if not _truth_file(folder, corpus, part, number).exists():
            _write_video(folder, corpus, part, number)
    truths = {
        part: [json.loads(_truth_file(folder, corpus, part, n).read_text()) for n in range(parts[part])]
        for part in parts
    }
    for part in parts:
        rows = [row for truth in truths[part] for row in truth["rows"]]
        write_file(folder / part / "annotations.json", to_json([rows[i] for i in corpus.order(part, len(rows))]))
    junk = [truth for truth in truths[SEEN] if truth["kind"]]
    write_file(folder / TRUTH / "labels.json", to_json([_label(truth) for truth in junk]))
    picture = io.BytesIO()
    junk_sheet(folder, junk).savefig(picture, format="png")
    write_file(folder / "contact_sheet.png", picture.getvalue())


def _write_video(folder: Path, corpus: Corpus, part: str, number: int) -> None:
    kind = corpus.kind(number) if part == SEEN else None
    if kind is None:
        scene = corpus.scene(number) if part == SEEN else corpus.evaluation[number]
        rows = _good_rows(corpus, part, number, scene)
        made = Made(_encode(scene), rows, shows=scene, sound=len(rows))
    else:
        case = Case(
            rng=corpus.rng(part, number),
            scene=partial(corpus.scene, number),
            source=partial(_source, folder, corpus, number, EVALUATION if kind == "leaked" else SEEN),
            asked=corpus.asked,
        )
        made = KINDS[kind](case)
    ids = [corpus.row_id(part, number, k) for k in range(len(made.rows))]
    name = f"{corpus.name(part, number)}.mp4"
    write_file(folder / part / "videos" / name, made.content)
    write_file(_truth_file(folder, corpus, part, number), to_json(_truth(name, kind, made, ids)))


def _source(folder: Path, corpus: Corpus, number: int, part: str) -> Source:
    """What a junk video is to copy, from the file that is there."""
    i = corpus.source(number)
    scene = corpus.scene(i) if part == SEEN else corpus.evaluation[i]
    video = f"videos/{corpus.name(part, i)}.mp4"
    return Source(video, scene, (folder / part / video).read_bytes(), _good_rows(corpus, part, i, scene))


def _good_rows(corpus: Corpus, part: str, number: int, scene: Scene) -> list[QA]:
    return ask(scene, corpus.rng(part, number), corpus.asked)


def _truth(name: str, kind: str | None, made: Made, ids: list[str]) -> dict[str, Any]:
    """Ground truth of the scene, where the file shows one, and what is planted."""
    known = (
        {"video": name, "sha256": hashlib.sha256(made.content).hexdigest()}
        if made.shows is None
        else ground_truth(made.shows, name, made.content)
    )
    rows = [row(replace(qa, sample_id=i), f"videos/{name}") for qa, i in zip(made.rows, ids, strict=True)]
    planted = {"kind": kind, "of": made.of, "parameters": made.parameters, "junk_rows": ids[made.sound :]}
    return {**known, **planted, "rows": rows}


def _label(truth: dict[str, Any]) -> dict[str, Any]:
    return {
        "video": f"videos/{truth['video']}",
        "sample_ids": truth["junk_rows"],
        "kind": truth["kind"],
        "of": truth["of"],
        "parameters": truth["parameters"],
    }


def _truth_file(folder: Path, corpus: Corpus, part: str, number: int) -> Path:
    return folder / TRUTH / part / f"{corpus.name(part, number)}.json"


def _encode(scene: Scene) -> bytes:
    return encode_mp4(render(scene), size=scene.size, fps=scene.fps)
