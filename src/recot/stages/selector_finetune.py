"""Stage 2: the query-aware selector learns what a question needs (paper, training stages)."""

from recot.stages.video_language import VideoLanguageStage


class SelectorFinetune(VideoLanguageStage):
    """Selector and projector are trained through a frozen language model that reads what the selector keeps."""

    one_of = ("selector",)
