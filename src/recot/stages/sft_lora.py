"""Stage 3: instruction tuning of the language model, through LoRA adapters or whole (paper, training stages)."""

from recot.stages.video_language import VideoLanguageStage


class SftLora(VideoLanguageStage):
    """Adapters (``recot.models.lora``), or the language model itself, are trained with what reads the video."""

    one_of = ("lora", "llm")
