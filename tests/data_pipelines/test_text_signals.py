"""Length, repetition and language of texts."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipelines.signals.language import SHORTEST, language
from data_pipelines.signals.text_length import word_count, words
from data_pipelines.signals.text_repetition import repetition


def test_words_are_letters_and_digits_with_marks_inside() -> None:
    assert words("Don't stop - it's 7.25 s (mid-air)!") == ["Don't", "stop", "it's", "7.25", "s", "mid-air"]
    assert words("他在厨房 cooks rice") == ["他", "在", "厨", "房", "cooks", "rice"]
    assert words(" ... ?! ") == []


def test_lengths() -> None:
    assert word_count("What moves left?").value == 3
    assert word_count("").value == 0


def test_repetition_is_the_share_of_letters_said_before() -> None:
    # 12 words of 45 letters; the last 8 of them, 30 letters, lie in 5-grams that begin a second time.
    assert repetition("The man is walking. " * 3).value == pytest.approx(30 / 45)
    # "a b c d e" again, and then three new words: 5 letters of 13.
    assert repetition("a b c d e a B c d e x y z").value == pytest.approx(5 / 13)
    assert repetition("a b c d e a b c d x y z").value == 0
    assert repetition("yes " * 10).value == pytest.approx(9 / 10)
    assert repetition("a b a b", n=2).value == pytest.approx(2 / 4)


def test_what_is_too_short_to_repeat_has_no_repetition() -> None:
    assert repetition("yes yes yes yes yes").status == "na"
    assert repetition("yes yes yes yes yes yes").status == "ok"


@settings(max_examples=100)
@given(st.lists(st.sampled_from(["a", "bb", "ccc"]), min_size=4, max_size=20), st.integers(1, 3))
def test_repetition_agrees_with_its_definition(found: list[str], n: int) -> None:
    covered = {
        start + offset
        for start in range(len(found) - n + 1)
        if any(found[start : start + n] == found[before : before + n] for before in range(start))
        for offset in range(n)
    }
    expected = sum(len(found[i]) for i in covered) / sum(map(len, found))
    assert repetition(" ".join(found), n=n).value == pytest.approx(expected)


@pytest.mark.parametrize(
    "text",
    [
        "What is the man doing at the beginning of the video?",
        "How does the blue square move? moves right",
        "WHICH OF THESE OBJECTS APPEARS LAST? orange circle",
        "The woman cuts two onions, and then she puts them into a pan with oil.",
    ],
)
def test_english(text: str) -> None:
    assert language(text).value > 0.5


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("de", "Der Hund läuft über die Wiese und bellt."),
        ("fr", "La femme marche lentement dans le parc avec son chien."),
        ("ru", "Видео показывает собаку, бегущую по полю."),
        ("zh", "他在厨房里做饭。然后他吃了饭。"),
        ("ja", "この動画には犬が走っている様子が映っています。"),
    ],
)
def test_other_languages(code: str, text: str) -> None:
    assert language(text).value < 0.01
    assert language(text, (code,)).value > 0.5
    assert language(text, ("en", code)).value == pytest.approx(language(text, (code,)).value, abs=0.02)


def test_all_languages_together_are_certain() -> None:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    everything = LanguageIdentifier.from_model_file(MODEL_FILE).labels
    assert language("A red circle moves left, and a blue one right.", everything).value == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    "text", ["", "red circle", "12 34.56 7:89 " * 10, "x" * (SHORTEST - 1), "圆" * (SHORTEST // 3 - 1)]
)
def test_a_few_letters_have_no_language(text: str) -> None:
    assert language(text).status == "na"


def test_an_unknown_language_is_named() -> None:
    with pytest.raises(ValueError, match=r"languages=\['english'\]: expected some of .*, en, "):
        language("What is the man doing at the beginning of the video?", ("english",))
