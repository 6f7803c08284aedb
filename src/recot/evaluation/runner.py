"""From suites and a checkpoint to finished results folders: resumable, on any number of processes."""

import hashlib
import json
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

from recot.checkpoints.hf_folder import load_video_lm
from recot.checkpoints.inference import Inference
from recot.errors import ConfigError, DataError, VideoError
from recot.evaluation.answerer import Answered, Answerer, Blind
from recot.evaluation.answers import judge
from recot.evaluation.controls import Control
from recot.evaluation.costs import OWN, write_costs
from recot.evaluation.evidence import with_evidence
from recot.evaluation.items import Failure, Item, Prompt, data_hash, share, subtitles_hash
from recot.evaluation.processes import Place, parent_is_gone, run, torchrun_place
from recot.evaluation.progress import Progress
from recot.evaluation.recot_answerer import RecotAnswerer, Scoring, check_use
from recot.evaluation.results import ResultsFolder
from recot.evaluation.suites import Benchmark, NeedleInAHaystack
from recot.evaluation.suites.base import missing_videos

AnySuite = Benchmark | NeedleInAHaystack


class Use(Protocol):
    """A model, and how it is used.

    Attributes:
        digest: tells the model from others.
        control: what differs from a plain evaluation.
        scoring: of options.
    """

    @property
    def digest(self) -> str: ...

    @property
    def control(self) -> Control: ...

    @property
    def scoring(self) -> Scoring: ...

    def settings(self) -> dict[str, Any]:
        """What decides the results, besides the weights, as plain values."""
        ...

    def answerer(self, place: Place) -> Answerer:
        """The model, made in the process that asks it."""
        ...


@dataclass(frozen=True, kw_only=True)
class OtherModel:
    """Any model that answers as ``recot.evaluation.answerer`` has it.

    Attributes:
        digest: what tells it from others, e.g. a name and version, or a hash of its weights.
        given: what else decides its replies, e.g. how many frames it sees: values that JSON can hold.
        make: makes it in the process that asks it; for several processes, it must be picklable.
        control: of what is asked, and of the video that is named: the item's own, a wrong one, or ``NO_VIDEO``.

    Raises:
        ConfigError: for a control of frames or of tokens: such a model chooses them itself.
    """

    digest: str
    given: Mapping[str, Any]
    make: Callable[[Place], Answerer]
    control: Control = field(default_factory=Control)
    scoring: ClassVar[Literal["generate"]] = "generate"

    def __post_init__(self) -> None:
        control = self.control
        if (control.frames, control.selector) != ("all", "model") or control.video == "blank":
            raise ConfigError(
                f"control.video={control.video}, control.frames={control.frames}, control.selector={control.selector}: "
                "another model chooses and shows its frames itself. Use control.video=own, wrong or none, "
                "control.frames=all and control.selector=model; any control.options."
            )

    def settings(self) -> dict[str, Any]:
        """See ``Use``."""
        return {**self.given, "control": asdict(self.control), "scoring": self.scoring}

    def answerer(self, place: Place) -> Answerer:
        """See ``Use``."""
        made = self.make(place)
        return Blind(made) if self.control.video == "none" else made


@dataclass(frozen=True, kw_only=True)
class ModelUse:
    """A checkpoint, and how it is used.

    Attributes:
        folder: an exported model.
        digest: of the folder's content, see ``folder_hash``.
        inference: frames, tokens, replies.
        control: what differs from a plain evaluation.
        scoring: of options.

    Raises:
        ConfigError: for a control or scoring that makes no sense.
    """

    folder: Path
    digest: str
    inference: Inference
    control: Control
    scoring: Scoring

    def __post_init__(self) -> None:
        check_use(self.control, self.scoring)

    @property
    def name(self) -> str:
        """Of its results folder; tells apart models that were exported to folders of the same name."""
        return f"{self.folder.resolve().name}-{self.digest[:8]}"

    def settings(self) -> dict[str, Any]:
        """See ``Use``."""
        return {**asdict(self.inference), "control": asdict(self.control), "scoring": self.scoring}

    def answerer(self, place: Place) -> Answerer:
        """See ``Use``."""
        model, _ = load_video_lm(self.folder, device=place.device())
        return RecotAnswerer(model, self.inference, control=self.control, scoring=self.scoring)


@dataclass(frozen=True)
class Task:
    """A suite to be evaluated: its questions, and where their results go."""

    suite: AnySuite
    asked: tuple[Item, ...]
    not_asked: tuple[Item, ...]  # questions of the suite that the control leaves out
    missing: tuple[Failure, ...]  # questions whose video isn't there
    folder: Path
    run: Mapping[str, Any]

    def results(self) -> ResultsFolder:
        """The folder, claimed for this run.

        Raises:
            DataError: if it holds another run's results.
        """
        return ResultsFolder(self.folder, self.run)

    def left(self, rank: int = 0, world: int = 1) -> list[Item]:
        """A process' questions without an answer. Those that failed before are tried again.

        All are shared, not those that are left: processes look at different times.
        """
        done = self.results().read().results.keys() | {failure.id for failure in self.missing}
        return [item for item in share(self.asked, rank, world) if item.id not in done]


def evaluate(suites: Mapping[str, AnySuite], use: Use, folder: Path, *, processes: int) -> dict[str, dict[str, Any]]:
    """Ask a model all questions of suites that have no answer yet, and sum up.

    Args:
        suites: by the name of their results folder.
        use: the model.
        folder: gets a results folder a suite.
        processes: see ``recot.evaluation.processes.run``. Results don't depend on it.

    Returns:
        A report a suite, without figures where all its samples failed; none on processes that don't sum up.

    Raises:
        RecotError: for anything that the data, the settings or the disk make impossible.
    """
    tasks = {name: prepare(name, suite, use, folder) for name, suite in suites.items()}
    place = torchrun_place()
    first = place is None or place.rank == 0
    for task in tasks.values() if first else ():
        _list_missing(task)
    files = [task.folder / "samples.jsonl" for task in tasks.values()]
    with Progress(files, total=sum(len(task.left()) for task in tasks.values()), shown=first):
        sums_up = run(partial(answer_share, tuple(tasks.values()), use), processes)
    return {name: _finish(task, use.control) for name, task in tasks.items()} if sums_up else {}


def prepare(name: str, suite: AnySuite, use: Use, folder: Path) -> Task:
    """Read a suite's questions, and claim its results folder.

    Raises:
        DataError: if the benchmark isn't there, or the folder holds another run's results.
        ConfigError: if the control makes no sense for it.
    """
    items = suite.load()
    asked = use.control.items(items)
    without = [item.id for item in asked if item.form != "letter"]
    if use.scoring == "likelihood" and without:
        raise ConfigError(
            f"scoring=likelihood with evaluation={name}: question {without[0]} has no options with letters. Use "
            "scoring=generate."
        )
    described = {
        "suite": suite.name,
        "data_hash": data_hash(items),
        "prompts": prompts_hash(suite, items),
        "checkpoint": use.digest,
        "settings": {**use.settings(), "subtitles": subtitles_hash(items) if suite.tells_subtitles else None},
        "versions": {name: version(name) for name in ("recot", "torch", "transformers", "av")}
        | {"python": platform.python_version()},
    }
    # A blind run opens no video: it needs none.
    missing = [] if use.control.video == "none" else missing_videos(asked, suite.origin)
    ids = {item.groups.get("circular", (item.id,))[0] for item in asked}
    not_asked = tuple(item for item in items if item.id not in ids)
    task = Task(suite, tuple(asked), not_asked, tuple(missing), folder / name, described)
    task.results()
    return task


def answer_share(tasks: Sequence[Task], use: Use, place: Place) -> None:
    """One process' part of all suites; the model is loaded if there is anything to do."""
    shares = [task.left(place.rank, place.world) for task in tasks]
    if not any(shares):
        return
    answerer = use.answerer(place)
    for task, items in zip(tasks, shares, strict=True):
        answer_items(task.results(), task.suite, items, answerer, stop=parent_is_gone)


def answer_items(
    folder: ResultsFolder, suite: AnySuite, items: Sequence[Item], answerer: Answerer, *, stop: Callable[[], bool]
) -> None:
    """Put questions to a model and write each result, or failure, before the next question; at the end, flush them.

    Args:
        folder: of the suite.
        suite: says how a question is put.
        items: the questions.
        answerer: the model.
        stop: asked before each question; True ends it.
    """
    mark = time.perf_counter()
    for item in by_video(items):
        if stop():
            break
        told = _Told(partial(suite.prompt, item))
        try:
            answered = answerer.answer(item, told)
        except VideoError as error:
            # The id of a video doesn't always tell its file.
            folder.add(Failure(item.id, item.video_id, error.reason, f"{item.video}: {error.message}"))
            mark = time.perf_counter()
            continue
        now = time.perf_counter()
        saw = _timed(answered, now - mark)
        sample = judge(item, answered.reply, {**saw, "subtitle_lines": told.subtitle_lines})
        mark = now
        folder.add(sample)
    folder.sync()


class _Told:
    """A question's prompt, and how many lines of subtitles it told when it was last made."""

    def __init__(self, prompt: Callable[[Sequence[float]], Prompt]) -> None:
        self._prompt = prompt
        self.subtitle_lines = 0

    def __call__(self, times_s: Sequence[float]) -> Prompt:
        prompt = self._prompt(times_s)
        self.subtitle_lines = prompt.subtitle_lines
        return prompt


def by_video(items: Sequence[Item]) -> list[Item]:
    """All questions about the same frames one after the other, else in order: a video is read once."""
    number: dict[Path, int] = {}
    for item in items:
        number.setdefault(item.video, len(number))
    return sorted(items, key=lambda item: (number[item.video], 0 if item.needle is None else item.needle.length))


def prompts_hash(suite: AnySuite, items: Sequence[Item]) -> str:
    """Hex SHA-256 of all that a model is told about each question: without subtitles, and with the first of its own.

    The other lines are only named by ``subtitles_hash``: to put an hour's lines into a prompt takes too long here.
    """
    digest = hashlib.sha256()
    for item in items:
        first = [line.start for line in item.subtitles if line.text][:1]
        told = [suite.prompt(item, times) for times in ([], first)]
        words = [(prompt.system, prompt.user, prompt.reply) for prompt in told]
        digest.update(json.dumps([item.id, words]).encode() + b"\n")
    return digest.hexdigest()


def folder_hash(folder: Path) -> str:
    """Hex SHA-256 of a folder's files and their names; a gigabyte takes about a second.

    Raises:
        DataError: if there is no such folder.
    """
    if not folder.is_dir():
        raise DataError(
            f"checkpoint={folder}: no such folder. Give a model's folder, as `python -m recot.checkpoints.export` "
            "writes it."
        )
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{path.relative_to(folder).as_posix()} {content}\n".encode())
    return digest.hexdigest()


def _list_missing(task: Task) -> None:
    results = task.results()
    listed = results.read().failures
    for failure in task.missing:
        if failure.id not in listed:
            results.add(failure)


def _timed(answered: Answered, seconds: float) -> dict[str, object]:
    """What was seen, with what of these seconds the model didn't take."""
    taken = answered.saw.get("seconds")
    steps: dict[str, float] = dict(taken) if isinstance(taken, dict) else {}
    steps[OWN] = max(0.0, seconds - sum(steps.values()))
    return {**answered.saw, "seconds": {step: round(own, 6) for step, own in steps.items()}}


def _finish(task: Task, control: Control) -> dict[str, Any]:
    results = task.results()
    settings = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(task.suite).items()}
    summary = with_evidence(control.summary(task.suite.summary))
    report = results.finish(task.asked, summary, settings, task.not_asked)
    write_costs(task.folder, list(results.read().results.values()))
    return report
