"""Whether one frame answers a question, to a model that sees videos. The others then teach nothing."""

from dataclasses import replace

from data_pipelines.signals.signal import Signal


def one_frame_margin(with_frame: Signal, blind: Signal) -> Signal:
    """How sure the model is of the right answer from one frame, in nats: its ``blind_margin`` when it sees that frame.

    With options, NLL of the likeliest wrong option minus that of the right one, letters averaged over rotations of the
    options; without, the log odds of saying exactly the answer, less those of saying it of that frame to no question
    (see ``signals.blind``). The frame is the one in the
    middle of the video, whatever the question: what can be read off some frame, but only off that one, has to be found
    first, and is no matter of one frame.

    Default: drop above 4, as for ``blind_margin`` (ours). A margin, not the gain by further frames: of a question that
    the model can't answer either way, that gain is noise around 0.

    Args:
        with_frame: the margin with the frame.
        blind: the margin of the same model without it, which is told in the detail.
    """
    return replace(with_frame, detail=f"{blind.value:.2f} without the frame")
