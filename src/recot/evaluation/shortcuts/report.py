"""The figures as Markdown."""

from typing import Any

_EXPLANATION = """\
Chance is 1/4. Each classifier is fitted to the training questions task by task. `around chance` is what an accuracy \
stays in for 95 % of the ways to deal the right letters (exact; without twins, the binomial interval: letters are \
dealt to each task by itself, so questions that share a video are independent, and of twins at most one is answered \
right by a classifier that sees only the text). `95 %` is the accuracy's own interval, bootstrapped over scenes. The \
verdict on a classifier is on all tasks together; by task, a star marks a p-value under 0.05 after Holm's correction \
for the number of tasks."""
_FREE_FORM = """\
Free-form questions offer no options, so chance is no fixed number: it is what the best answer without the video gets. \
`majority` always gives the most frequent training answer, the others draw uniformly from the training answers, or \
from those that the question names."""


def markdown(setting: dict[str, str], results: dict[str, dict[str, Any]], free: list[dict[str, Any]]) -> str:
    """A report of ``measure``'s and ``free_form``'s figures, ending with a newline."""
    tasks = list(next(iter(results.values()))["tasks"])
    lines = ["# Shortcuts in the tiny world", "", *(f"- {key}: {value}" for key, value in setting.items()), ""]
    lines += [_EXPLANATION, "", *_overall(results), "", "Accuracy by task:", "", *_by_task(results, tasks), ""]
    lines += [_FREE_FORM, "", *_open(free)]
    return "\n".join(lines) + "\n"


def _overall(results: dict[str, dict[str, Any]]) -> list[str]:
    lines = [
        "| classifier | questions | accuracy | 95 % | around chance | p | verdict |",
        "|---|" + "---:|" * 5 + "---|",
    ]
    for name, result in results.items():
        one = result["overall"]
        cells = [name, str(one["questions"]), f"{one['accuracy']:.3f}", _span(one["interval"])]
        cells += [_span(one["chance_interval"]), f"{one['p_value']:.2g}", "inside" if one["inside"] else "**outside**"]
        lines.append(_row(cells))
    return lines


def _by_task(results: dict[str, dict[str, Any]], tasks: list[str]) -> list[str]:
    lines = [_row(["classifier", *tasks]), "|---|" + "---:|" * len(tasks)]
    for name, result in results.items():
        by_task = [result["tasks"][task] for task in tasks]
        stars = ["*" if one["holm_p_value"] < 0.05 else "" for one in by_task]
        lines.append(_row([name, *(f"{o['accuracy']:.3f}{s}" for o, s in zip(by_task, stars, strict=True))]))
    # Bounds differ between classifiers only with twins.
    widest = [[result["tasks"][task]["chance_interval"] for result in results.values()] for task in tasks]
    spans = [_span([min(s[0] for s in task), max(s[1] for s in task)]) for task in widest]
    return [*lines, _row(["around chance (widest)", *spans])]


def _open(free: list[dict[str, Any]]) -> list[str]:
    columns = ["task", "questions", "answers", "majority answer", "majority", "uniform over answers"]
    columns.append("uniform over the named")
    lines = [_row(columns), "|---|---:|---:|---|" + "---:|" * 3]
    for row in free:
        shares = ["-" if row[column] is None else f"{row[column]:.3f}" for column in columns[4:]]
        lines.append(_row([*(str(row[column]) for column in columns[:4]), *shares]))
    return lines


def _span(bounds: list[float]) -> str:
    return f"{bounds[0]:.3f}-{bounds[1]:.3f}"


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
