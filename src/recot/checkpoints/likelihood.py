"""An exported model as one that tells how likely replies are."""

from pathlib import Path

from recot.checkpoints.hf_folder import load_video_lm
from recot.models.video_likelihood import VideoReplyLikelihood


def exported_likelihood(*, name_or_path: str, dtype: str | None = None, device: str = "cpu") -> VideoReplyLikelihood:
    """Load a model's folder, used as its ``config.json`` says: frame size, and how much of a video it reads.

    Args:
        name_or_path: a folder that ``recot.checkpoints.export`` wrote.
        dtype: torch dtype name of the weights; None for those that they were written in.
        device: torch device.

    Raises:
        DataError: if it isn't such a folder, or not whole.
    """
    model, inference = load_video_lm(Path(name_or_path), dtype=dtype, attention="sdpa", device=device)
    return VideoReplyLikelihood(model, frame_size=inference.frame_size, keep=inference.keep)
