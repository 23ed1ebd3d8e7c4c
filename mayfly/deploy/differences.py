"""What is wanted against what is there, field by field: pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from orchestrator.google_admin import Json

_LONG = 200  # characters of a value that a person reads in a plan: an image by its digest, a sentence of Google's
_API = ("https://www.googleapis.com/compute/v1/", "https://compute.googleapis.com/compute/v1/")


@dataclass(frozen=True)
class Difference:
    """One field that is not as it should be; None: it is not there, or should not be."""

    path: str
    was: Any
    wanted: Any

    def __str__(self) -> str:
        return f"{self.path}: {shown(self.was)} -> {shown(self.wanted)}"


def shown(value: Any) -> str:
    """A value for a person; of a long one only what tells two of them apart.

    Whoever wrote it to the cloud writes nothing else to a terminal: what does not print is shown by its number.
    """
    if value is None:
        return "(none)"
    text = value if isinstance(value, str) else repr(value)
    if len(text) <= _LONG and "\n" not in text:
        return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)  # no escapes for a terminal
    return f"({len(text)} characters, sha256 {sha256(text.encode()).hexdigest()[:12]})"


def differences(wanted: Json, seen: Json) -> list[Difference]:
    """The fields of `wanted` that `seen` has otherwise. What only `seen` has is Google's, and is as it may be."""
    return list(_compare("", wanted, seen))


def _compare(path: str, wanted: Any, seen: Any) -> Iterator[Difference]:
    if isinstance(wanted, dict) and isinstance(seen, dict | None):
        for name, value in wanted.items():
            yield from _compare(f"{path}.{name}" if path else name, value, (seen or {}).get(name))
    elif isinstance(wanted, list) and isinstance(seen, list) and len(wanted) == len(seen):
        for index, (one, other) in enumerate(zip(wanted, seen, strict=True)):
            yield from _compare(f"{path}[{index}]", one, other)
    elif _plain(wanted) != _plain(seen):
        yield Difference(path, seen, wanted)


def _plain(value: Any) -> Any:
    """As it compares: Google leaves out what is 0 or empty, writes int64 as text, and names by a whole URL."""
    if value in (None, False, 0, "", [], {}):
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str):
        for prefix in _API:
            value = value.removeprefix(prefix)
    return value
