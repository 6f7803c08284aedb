"""How entry points end when the user gave something that can't be used."""

import pickle

import pytest

from recot.errors import ConfigError, VideoError, report_errors


def test_a_user_error_is_one_paragraph_and_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended, report_errors():
        raise ConfigError("stage.mask_ratio is 1.5:\n    expected a number between 0 and 1")
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: stage.mask_ratio is 1.5: expected a number between 0 and 1\n"


def test_the_cause_of_a_wrapped_error_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    def instantiate() -> None:
        try:
            raise VideoError("a.mp4", "empty_file", "the file is empty")
        except VideoError as error:
            raise RuntimeError("Error in call to target") from error

    with pytest.raises(SystemExit), report_errors():
        instantiate()
    assert capsys.readouterr().err == "error: a.mp4: the file is empty [empty_file]\n"


def test_an_interrupt_is_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended, report_errors():
        raise KeyboardInterrupt
    assert ended.value.code == 130
    assert capsys.readouterr().err == "\ninterrupted\n"


def test_other_errors_pass_through() -> None:
    with pytest.raises(KeyError), report_errors():
        raise KeyError("a bug of ours")
    with report_errors():
        pass


def test_video_errors_survive_the_way_from_a_worker_process() -> None:
    error = pickle.loads(pickle.dumps(VideoError("a.mp4", "timeout", "too slow")))
    assert (error.source, error.reason, error.message) == ("a.mp4", "timeout", "too slow")
