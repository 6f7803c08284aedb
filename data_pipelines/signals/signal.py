"""What a scorer says."""

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "na", "error", "proxy"]


@dataclass(frozen=True)
class Signal:
    """One signal of one video or question.

    Attributes:
        value: None unless ``status`` is ``ok`` or ``proxy``.
        status: ``ok``; ``na``, where there is nothing to measure (one frame has no motion); ``error``, where measuring
            failed, which is never a low score; ``proxy``, where the value stands in for one that costs more.
        detail: one line for people.
    """

    value: float | None
    status: Status = "ok"
    detail: str = ""

    def __post_init__(self) -> None:
        if (self.value is None) == (self.status in ("ok", "proxy")):
            raise ValueError(f"a signal with status {self.status} can't have the value {self.value}")
