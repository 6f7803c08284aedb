"""lmms-eval's own evaluator with the tiny model, in an environment of its own, against ours."""

import importlib.util
import json
import os
import subprocess
from pathlib import Path

import pytest

from recot.evaluation.budgets import with_budgets
from recot.evaluation.controls import CONTROLS, Control
from recot.evaluation.items import Item
from recot.evaluation.results import read_samples
from recot.evaluation.runner import ModelUse, evaluate, folder_hash
from recot.evaluation.suites import TinyWorld
from tests.evaluation.conftest import INFERENCE

REPO = Path(__file__).parents[2]
REPLY_TOKENS = 8
Answers = dict[str, tuple[str, int, int]]
"""Id of a question -> the reply, and how many tokens were read and written for it."""
TASK = """
task: recot_tiny_world
dataset_path: json
dataset_kwargs: {{data_files: {{test: {questions}}}}}
test_split: test
output_type: generate_until
doc_to_visual: !function recot_tiny_world.videos
doc_to_text: prompt
doc_to_target: target
generation_kwargs: {{max_new_tokens: {tokens}, temperature: 0, do_sample: false, until: []}}
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true}}]
"""
TASK_CODE = """
def videos(document):
    return [document["video"]]
"""
# What a task or its user can ask for -> what the error must say.
MISTAKES = {
    "no folder": "DataError: /nowhere",
    "two budgets": "ConfigError: keep=0.5 and budget=3: set one",
    "no number": "ConfigError: model_args keep='half': give a number",
    "batch": "ConfigError: batch_size=8: recot answers one question at a time",
    "likelihood": "ConfigError: task film asks for likelihoods of options",
    "rounds": "ConfigError: task film asks for several rounds",
    "two videos": "ConfigError: task film, document 0: recot answers questions about one video file, and this shows",
    "no video": "this shows nothing",
    "link": "this shows a link",
    "missing": "DataError: {video}.avi: no such file; 1 of 1 videos are missing",
    "broken": "lmms-eval can't leave a question without a score",
    "temperature": "'temperature': 0.7} can't be followed",
    "sampling": "'do_sample': True",
    "beams": "{'num_beams': 5} can't be followed",
    "unknown": "{'repetition_penalty': 1.2} can't be followed",
    "greedy": "no error",
}


@pytest.fixture(scope="module")
def lmms_python() -> str:
    """A Python that has lmms-eval and recot."""
    python = os.environ.get("RECOT_LMMS_PYTHON")
    if not python:
        pytest.skip("no Python with lmms-eval: `make test-lmms-eval` makes one and runs this with RECOT_LMMS_PYTHON")
    return python


def run(*command: str | Path, folder: Path) -> str:
    """Offline, with everything that lmms-eval keeps in the given folder."""
    offline = dict.fromkeys(("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "OMP_NUM_THREADS"), "1")
    places = {name: str(folder / "cache") for name in ("HF_HOME", "LMMS_EVAL_HOME", "XDG_CACHE_HOME")}
    ended = subprocess.run(
        command, cwd=folder, env=os.environ | offline | places, capture_output=True, text=True, timeout=900, check=False
    )
    assert ended.returncode == 0, ended.stderr[-4000:]
    return ended.stdout


def answers_of_lmms_eval(python: str, suite: TinyWorld, items: list[Item], given: str, folder: Path) -> Answers:
    """Of a task that asks a suite's questions with its words."""
    questions = folder / "questions.jsonl"
    documents = [{"video": str(item.video), "prompt": suite.prompt(item, ()).user, "target": "A"} for item in items]
    questions.write_text("".join(json.dumps(document) + "\n" for document in documents))
    (folder / "recot_tiny_world.py").write_text(TASK_CODE)
    (folder / "recot_tiny_world.yaml").write_text(TASK.format(questions=questions, tokens=REPLY_TOKENS))
    model = [
        "--model",
        "recot",
        "--model_args",
        given,
        "--verbosity",
        "DEBUG",
    ]  # so that an error ends it with a status
    task = ["--tasks", "recot_tiny_world", "--include_path", folder, "--output_path", folder / "out", "--log_samples"]
    run(python, "-m", "lmms_eval", *model, *task, folder=folder)
    (samples,) = (folder / "out").rglob("*samples*.jsonl")
    rows = [json.loads(line) for line in samples.read_text().splitlines()]
    answers: Answers = {}
    for row in rows:
        (tokens,) = row["token_counts"]
        answers[items[row["doc_id"]].id] = (row["filtered_resps"], tokens["input_tokens"], tokens["output_tokens"])
    return answers


def our_answers(suite: TinyWorld, checkpoint: Path, control: Control, folder: Path) -> Answers:
    """Of our own evaluator."""
    none = dict.fromkeys(("budget", "times", "fps", "max_frames"))
    inference = with_budgets(INFERENCE, keep=0.5, frames=8, max_new_tokens=REPLY_TOKENS, **none)  # type: ignore[arg-type]
    digest = folder_hash(checkpoint)
    use = ModelUse(folder=checkpoint, digest=digest, inference=inference, control=control, scoring="generate")
    evaluate({"tiny_world": suite}, use, folder, processes=1)
    results = read_samples(folder / "tiny_world/samples.jsonl").results
    return {
        name: (result.reply, result.saw["prompt_tokens"], result.saw["reply_tokens"])  # type: ignore[misc]
        for name, result in results.items()
    }


def test_lmms_eval_gets_the_answers_of_our_evaluator(
    lmms_python: str, world: Path, checkpoint: Path, tmp_path: Path
) -> None:
    suite = TinyWorld(annotations=world, videos=world, counts=None)
    items = suite.load()
    items = [*items[::2], *items[1::2]]  # a video's questions apart: they are put together, and replies back in order
    given = f"pretrained={checkpoint},keep=0.5,frames=8"
    theirs = answers_of_lmms_eval(lmms_python, suite, items, given, tmp_path)
    ours = our_answers(suite, checkpoint, Control(), tmp_path / "ours")
    assert theirs == ours
    replies, blind = (
        {name: reply for name, (reply, _, _) in answers.items()}
        for answers in (ours, our_answers(suite, checkpoint, CONTROLS["blind"], tmp_path / "blind"))
    )
    assert len(set(replies.values())) > 2, "replies that are all the same show nothing"
    assert replies != blind, "nor do replies without the video"


@pytest.fixture(scope="module")
def said(lmms_python: str, world: Path, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("mistakes")
    video = folder / "film.mp4"
    video.symlink_to(world / "000000.mp4")
    script = REPO / "tests/evaluation/lmms_eval_process.py"
    out = run(lmms_python, script, checkpoint, video, folder=folder)
    return {name: text.replace(str(video), "{video}") for name, text in json.loads(out.splitlines()[-1]).items()}


def test_what_a_task_can_t_have_is_refused(said: dict[str, str]) -> None:
    assert said.keys() == MISTAKES.keys()
    for name, expected in MISTAKES.items():
        assert expected in said[name], name


def test_the_rest_of_recot_needs_no_lmms_eval() -> None:
    """Where it is absent, importing the adapter says so."""
    if importlib.util.find_spec("lmms_eval") is not None:
        pytest.skip("lmms-eval is installed here")
    with pytest.raises(ModuleNotFoundError, match="lmms_eval"):
        importlib.import_module("recot.evaluation.lmms_eval_adapter")
