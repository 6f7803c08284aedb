"""The validation measures of a stage that answers questions as a short Markdown report."""

from collections.abc import Mapping

_SELECTOR = {
    "evidence_recall": "groups that show the answer, with a kept token",
    "evidence_tokens": "tokens of these groups that are kept",
    "all_evidence": "samples of which every such group has a kept token",
    "evidence_auroc": "how often such a group scores higher than another",
}


def report(metrics: Mapping[str, float], *, title: str) -> str:
    """Exact match by task and form, then what the selector kept of the evidence.

    Args:
        metrics: names as logged by ``VideoLanguageStage``, ``val/...``.
        title: what was run.

    Returns:
        Markdown, ending in a newline.
    """
    prefix = "val/accuracy/"
    named = {name.removeprefix(prefix): value for name, value in metrics.items() if name.startswith(prefix)}
    tasks = sorted({name.split("/")[0] for name in named if "/" in name})
    forms = [form for form in ("choice", "open") if form in named]
    labels = {"choice": "multiple choice", "open": "free form"}
    lines = [
        f"# {title}",
        "",
        f"| exact match | {' | '.join(labels[form] for form in forms)} |",
        "|---" * (1 + len(forms)) + "|",
    ]
    for label, where in [*((task, f"{task}/") for task in tasks), ("mean over tasks", "")]:
        cells = [f"{named[where + form]:.4f}" if where + form in named else "" for form in forms]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    lines.append("")
    lines += [f"- {what}: {metrics[f'val/{name}']:.4f}" for name, what in _SELECTOR.items() if f"val/{name}" in metrics]
    return "\n".join([*lines, f"- validation loss of a token: {metrics['val/loss']:.4f}", ""])
