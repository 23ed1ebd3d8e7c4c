"""How wrong a transcript is."""

import pytest

from mayfly.word_errors import word_error_rate


@pytest.mark.parametrize(
    ("reference", "heard", "rate"),
    [
        ("one two three four", "One two, THREE four!", 0),
        ("one two three four", "one three four", 0.25),
        ("one two three four", "one two and three four", 0.25),
        ("one two three four", "one too three four", 0.25),
        ("one two", "", 1),
        ("mister john dashwood had then", "Mr. John Dashwood, had then!", 0),
        ("it's here", "it's here", 0),
    ],
)
def test_word_errors_are_words_missing_added_or_wrong(reference: str, heard: str, rate: float) -> None:
    assert word_error_rate(reference, heard) == rate
