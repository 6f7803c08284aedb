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
    lines += [
        "",
        f"- cosine similarity: {metrics['val/cosine_masked']:.4f} on masked, {metrics['val/cosine_visible']:.4f} on visible "
        "tokens",
        f"- masked share of the moving tokens: {metrics['val/masked_given_moving']:.4f} (the mask ratio would be neutral)",
        f"- order sensitivity of the compact map: {metrics['val/order_sensitivity']:.4f} (0 is blind to frame order)",
        f"- validation loss: {metrics['val/loss']:.4f}",
        "",
    ]
    return "\n".join(lines)
