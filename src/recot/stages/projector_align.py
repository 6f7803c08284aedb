"""Projector alignment: captions teach the projector what the language model understands."""

from recot.stages.video_language import VideoLanguageStage


class ProjectorAlign(VideoLanguageStage):
    """The projector, and if wanted the DTS, are trained through a frozen language model that reads whole videos."""

    one_of = ("projector",)
