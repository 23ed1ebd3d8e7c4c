"""How wrong a transcript is."""

import re

_SPOKEN = {"mr": "mister", "mrs": "missis", "dr": "doctor"}


def word_error_rate(reference: str, heard: str) -> float:
    """Words to put in, take out or replace, for each word of the reference; capitals and punctuation do not count."""
    wanted, got = _words(reference), _words(heard)
    row = list(range(len(got) + 1))
    for count, word in enumerate(wanted, start=1):
        previous, row = row, [count]
        for index, other in enumerate(got, start=1):
            row.append(min(previous[index] + 1, row[-1] + 1, previous[index - 1] + (word != other)))
    return row[-1] / len(wanted)


def _words(text: str) -> list[str]:
    return [_SPOKEN.get(word, word) for word in re.sub(r"[^\w\s']", " ", text.lower()).split()]
