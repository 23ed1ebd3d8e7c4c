"""Spans of time as people write them: 90s, 45m, 2h, 1h30m, 1d."""

import re
from datetime import timedelta

_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


def parse_duration(text: object) -> timedelta:
    """A span of time; a bare number is seconds. ValueError for what is none."""
    if isinstance(text, timedelta):
        return text
    given = str(text).strip().lower()
    if re.fullmatch(r"\d+(\.\d+)?", given):
        return timedelta(seconds=float(given))
    parts = re.fullmatch(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?", given)
    if not given or parts is None:
        raise ValueError("is not a duration: write 90s, 45m, 2h or 1h30m")
    pairs = zip(parts.groups(default="0"), _UNITS.values(), strict=True)
    return timedelta(seconds=sum(float(count) * unit for count, unit in pairs))


def written(span: timedelta) -> str:
    """The shortest way to write it: 1h15m. Below a minute with what there is behind the point."""
    seconds = round(span.total_seconds(), 3)
    parts = []
    for unit, size in _UNITS.items():
        count, seconds = divmod(seconds, size)
        if unit == "s":
            count += seconds
        if count:
            parts.append(f"{count:g}{unit}")
    return "".join(parts) or "0s"
