"""What models are told, as data: one entry a benchmark. Changing a letter here changes results; a test holds each.

Fields of ``user``: ``{question}``, ``{options}``, ``{subtitles}``, ``{duration}``; of ``option``: ``{letter}``,
``{text}``. Wording is the benchmark's own where its authors publish one, and says so where it isn't.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Template:
    """A prompt with fields. The model's reply goes on from ``reply``."""

    user: str
    option: str = ""
    system: str = ""
    reply: str = ""


_MLVU = Template(
    system=(
        "Carefully watch this video and pay attention to every detail. Based on your observations, select the best "
        "option that accurately addresses the question."
    ),
    user="Question: {question}\nOptions:\n{options}\nOnly give the best option.",
    option="({letter}) {text}",
    reply="Best Option: (",
)
_LETTER = "Answer with the option's letter from the given choices directly."
_VIDEO_MME = (
    "Respond with only the letter ({letters}) of the correct option.\n{question}\n{options}\nThe best answer is:"
)

TEMPLATES = {
    # Ours: as questions are put in training.
    "tiny_world": Template(user="{question}\n{options}", option="{letter}. {text}"),
    "needle": Template(user="{question}\n{options}", option="{letter}. {text}"),
    # github.com/JUNJIE99/MLVU; the test set's script is the same.
    "mlvu_dev": _MLVU,
    "mlvu_test": _MLVU,
    # github.com/MME-Benchmarks/Video-MME. With subtitles, its prompt keeps "based on the video. Respond ..."; "and the
    # subtitles" is the wording of lmms-eval's task.
    "video_mme": Template(
        user="Select the best answer to the following multiple-choice question based on the video. " + _VIDEO_MME,
        option="{letter}. {text}",
    ),
    "video_mme_subtitles": Template(
        user=(
            "This video's subtitles are listed below:\n{subtitles}\nSelect the best answer to the following "
            "multiple-choice question based on the video and the subtitles. " + _VIDEO_MME
        ),
        option="{letter}. {text}",
    ),
    # github.com/longvideobench/LongVideoBench; there, subtitles stand between frames: that they come first is ours.
    "longvideobench": Template(user="Question: {question}\n{options}\n" + _LETTER, option="{letter}. {text}"),
    "longvideobench_subtitles": Template(
        user="This video's subtitles are listed below:\n{subtitles}\nQuestion: {question}\n{options}\n" + _LETTER,
        option="{letter}. {text}",
    ),
    # Its authors publish no prompt. The options are written as in its annotations; the request is ours.
    "lvbench": Template(user="{question}\n{options}\n" + _LETTER, option="({letter}) {text}"),
    # github.com/joez17/VideoNIAH
    "vnbench": Template(user="{question}\n{options}\n" + _LETTER, option="{letter}. {text}"),
    # github.com/llyx97/TempCompass; captions to choose from stand in the question there, with names of their own.
    "tempcompass_multi-choice": Template(
        user="{question}\n{options}\nPlease directly give the best option:", option="{letter}. {text}"
    ),
    "tempcompass_yes_no": Template(user="{question}\nPlease answer yes or no:"),
    "tempcompass_caption_matching": Template(
        user="{question}\n{options}\nPlease directly give the best option:", option="{text}"
    ),
    # The wording that lmms-eval and VLMEvalKit use; the benchmark is older than video language models.
    "charades_sta": Template(
        user=(
            "Please find the visual event described by a sentence in the video, determining its starting and ending "
            "times. The format should be: 'The event happens in the start time - end time'. For example, The event "
            "'person turn a light on' happens in the 24.3 - 30.4 seconds. Now I will give you the textual sentence: "
            "{question} Please return its start time and end time."
        )
    ),
    # github.com/V-STaR-Bench/V-STaR
    "vstar": Template(
        user=(
            "This video is {duration} seconds long. Answer the question about the video: {question} \n Output the "
            "start and end moment timestamps."
        )
    ),
}
