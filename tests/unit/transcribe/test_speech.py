from tests.speech import word_error_rate


def test_case_punctuation_and_the_spelling_of_mister_are_no_errors() -> None:
    assert word_error_rate("mister john dashwood had then", "Mr. John Dashwood, had then!") == 0


def test_a_wrong_a_missing_and_an_added_word_are_an_error_each() -> None:
    assert word_error_rate("a b c d", "a x c d") == 0.25
    assert word_error_rate("a b c d", "a c d") == 0.25
    assert word_error_rate("a b c d", "a b b c d") == 0.25
    assert word_error_rate("a b c d", "") == 1
