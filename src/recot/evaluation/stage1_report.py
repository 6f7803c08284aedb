"""The validation measures of stage 1 as a short Markdown report."""

from collections.abc import Mapping

from recot.evaluation.baselines import BASELINES

_ROWS = {
    "mean": "baseline: mean of the visible frames, repeated",
    "first": "baseline: first visible frame, repeated",
    "interpolation": "baseline: interpolated between visible frames",
}


def report(metrics: Mapping[str, float], *, title: str) -> str:
    """Explained variance beside its trivial baselines, then the other measures.

    Args:
        metrics: names as logged by ``RecotPretrain``, ``val/...``.
        title: what was run.

    Returns:
        Markdown, ending in a newline.
    """
    lines = [
        f"# ReCoT pretraining: {title}",
        "",
        "| explained variance | masked tokens | visible tokens |",
        "|---|---|---|",
    ]
    for prefix, label in {"": "model", **{f"baseline_{name}/": _ROWS[name] for name in BASELINES}}.items():
        masked, visible = (metrics[f"val/{prefix}explained_variance_{which}"] for which in ("masked", "visible"))
        lines.append(f"| {label} | {masked:.4f} | {visible:.4f} |")
    others = {
        "cosine_masked": "cosine similarity on masked tokens",
        "cosine_visible": "cosine similarity on visible tokens",
        "masked_given_moving": "masked share of the moving tokens (the mask ratio would be neutral)",
        "order_sensitivity": "order sensitivity of the compact map (0 is blind to frame order)",
        "loss": "validation loss",
    }
    lines += [
        "",
        *(f"- {label}: {metrics[f'val/{name}']:.4f}" for name, label in others.items()),
        "",
    ]
    return "\n".join(lines)
