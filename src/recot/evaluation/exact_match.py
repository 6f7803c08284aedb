"""Shares of replies that are right word for word, by task and by form."""

from collections.abc import Mapping, Sequence

import torch.distributed as dist


def accuracies(right: Mapping[str, Sequence[bool]]) -> dict[str, float]:
    """Share of right replies: for each ``task/form``, and the mean over tasks for each form and over all."""
    shares = {name: sum(values) / len(values) for name, values in sorted(right.items())}
    figures = {f"accuracy/{name}": share for name, share in shares.items()}
    for form in sorted({name.split("/")[1] for name in shares}):
        own = [share for name, share in shares.items() if name.endswith(f"/{form}")]
        figures[f"accuracy/{form}"] = sum(own) / len(own)
    figures["accuracy"] = sum(shares.values()) / len(shares)
    return figures


def gathered(right: dict[str, list[bool]]) -> dict[str, list[bool]]:
    """The replies of all processes, by ``task/form``; in the order of the processes."""
    if not dist.is_initialized():
        return right
    everyone: list[dict[str, list[bool]] | None] = [None] * dist.get_world_size()
    dist.all_gather_object(everyone, right)
    joined: dict[str, list[bool]] = {}
    for own in everyone:
        assert own is not None
        for name, values in own.items():
            joined.setdefault(name, []).extend(values)
    return joined
