"""What the Scheduler takes for a cron: five fields, each within its range."""

import re

_RANGES = {"minute": (0, 59), "hour": (0, 23), "day": (1, 31), "month": (1, 12), "weekday": (0, 7)}
_NAMED = {
    "month": ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
    "weekday": ["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
}
_PART = re.compile(r"(?:\*|(?P<first>[0-9a-z]+)(?:-(?P<last>[0-9a-z]+))?)(?:/(?P<step>[0-9]+))?")


def a_cron(text: str) -> str:
    """As it is. ValueError: what is wrong with it."""
    fields = text.split()
    if len(fields) != len(_RANGES):
        raise ValueError("is not cron: five fields, as in `30 6 * * 1-5`")
    for name, field in zip(_RANGES, fields, strict=True):
        if not all(_is_of(name, part) for part in field.lower().split(",")):
            first, last = _RANGES[name]
            raise ValueError(f"is not cron: {field} is no {name}, which goes from {first} to {last}")
    return text


def _is_of(name: str, part: str) -> bool:
    """One part of a field of cron: *, 5, 1-5, mon-fri, */10, 0-30/5."""
    match = _PART.fullmatch(part)
    if not match or match["step"] == "0":
        return False
    lowest, highest = _RANGES[name]
    words = _NAMED.get(name, [])
    ends = [words.index(end) + lowest if end in words else end for end in (match["first"], match["last"]) if end]
    numbers = [int(end) for end in ends if str(end).isdecimal()]
    return len(numbers) == len(ends) and [lowest, *numbers, highest] == sorted([lowest, *numbers, highest])
