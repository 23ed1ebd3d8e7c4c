"""The part of the Logging query language that clients of Cloud Run jobs use.

    resource.type="cloud_run_job" AND labels."run.googleapis.com/execution_name"="mayfly-abcde"
    severity>=WARNING  timestamp>"2030-01-01T00:00:00Z"  NOT jsonPayload.message:"poll"  textPayload=~"^done"

Comparisons with = != : =~ !~ < <= > >=, joined by AND (also by nothing, or a new line), OR, NOT or -, and parentheses.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from gcp_emulator.routes import Json

Match = Callable[[Json], bool]
TOKEN = re.compile(
    r"""\s*(?:(?P<comment>--[^\n]*)
    |(?P<sign>[()])|(?P<operator>!=|=~|!~|>=|<=|[=:<>])
    |(?P<path>-?[A-Za-z_][\w/-]*(?:\.(?:"(?:[^"\\]|\\.)*"|[\w/-]+))+)
    |(?P<quoted>"(?:[^"\\]|\\.)*")|(?P<word>[^\s()=:<>!"]+))""",
    re.VERBOSE,
)
SEGMENT = re.compile(r'"((?:[^"\\]|\\.)*)"|([^."]+)')
ORDER = ("DEFAULT", "DEBUG", "INFO", "NOTICE", "WARNING", "ERROR", "CRITICAL", "ALERT", "EMERGENCY")
Token = tuple[str, str]


class BadFilterError(ValueError):
    """The filter is none, or says more than the emulator understands."""


def matcher(text: str) -> Match:
    """Read a filter. Raises BadFilterError."""
    parser = _Parser(_tokens(text))
    match = parser.either() if parser.left else lambda _entry: True
    if parser.left:
        raise BadFilterError(f"unexpected {parser.left[0][1]!r}")
    return match


def _tokens(text: str) -> list[Token]:
    found: list[Token] = []
    position = 0
    text = text.rstrip()
    while position < len(text):
        token = TOKEN.match(text, position)
        if token is None:
            raise BadFilterError(f"unexpected {text[position:]!r}")
        position = token.end()
        if token.lastgroup and token.lastgroup != "comment":
            found.append((token.lastgroup, token.group(token.lastgroup)))
    return found


class _Parser:
    """Recursive descent; in Logging's language OR binds closer than AND."""

    def __init__(self, tokens: list[Token]) -> None:
        self.left = tokens

    def either(self) -> Match:
        matches = [self._one_of()]
        while self.left and self.left[0] != ("sign", ")"):
            self._take_word("AND")
            matches.append(self._one_of())
        return lambda entry: all(match(entry) for match in matches)

    def _one_of(self) -> Match:
        matches = [self._not()]
        while self._take_word("OR"):
            matches.append(self._not())
        return lambda entry: any(match(entry) for match in matches)

    def _not(self) -> Match:
        if self._take_word("NOT") or self._take_word("-"):
            match = self._not()
            return lambda entry: not match(entry)
        if self._take(("sign", "(")):
            match = self.either()
            if not self._take(("sign", ")")):
                raise BadFilterError("a parenthesis is not closed")
            return match
        return self._comparison()

    def _comparison(self) -> Match:
        kind, field = self._next("a field")
        if kind not in {"path", "word"}:
            raise BadFilterError(f"{field!r} is not a field")
        negated, field = field.startswith("-"), field.removeprefix("-")
        kind, operator = self._next(f"an operator after {field!r}")
        if kind != "operator":
            raise BadFilterError(f"{operator!r} is not an operator")
        match = _compared(field, operator, _unquoted(self._next(f"a value after {field}{operator}")[1]))
        return (lambda entry: not match(entry)) if negated else match

    def _next(self, what: str) -> Token:
        if not self.left:
            raise BadFilterError(f"{what} is missing")
        return self.left.pop(0)

    def _take(self, token: Token) -> bool:
        if self.left and self.left[0] == token:
            self.left.pop(0)
            return True
        return False

    def _take_word(self, word: str) -> bool:
        return self._take(("word", word))


def _compared(field: str, operator: str, wanted: str) -> Match:
    path = [quoted or plain for quoted, plain in SEGMENT.findall(field)]
    compare = _comparison(path, operator, wanted)
    return lambda entry: compare(_at(entry, path))


def _comparison(path: list[str], operator: str, wanted: str) -> Callable[[Any], bool]:
    match operator:
        case "=" | "!=":
            return lambda value: (value is not None and _text(value).lower() == wanted.lower()) == (operator == "=")
        case ":":
            return lambda value: value is not None and (wanted == "*" or wanted.lower() in _text(value).lower())
        case "=~" | "!~":
            try:
                regex = re.compile(wanted)
            except re.error as wrong:
                raise BadFilterError(f"{wanted!r} is no regular expression: {wrong}") from wrong
            return lambda value: (value is not None and bool(regex.search(_text(value)))) == (operator == "=~")
    order = _order_of(path, wanted)
    limit = order(wanted)
    return lambda value: value is not None and _holds(order(_text(value)), operator, limit)


def _order_of(path: list[str], wanted: str) -> Callable[[str], Any]:
    if path == ["severity"]:
        if wanted.upper() not in ORDER:
            raise BadFilterError(f"{wanted!r} is no severity")
        return lambda text: ORDER.index(text.upper())
    if path[-1].lower().endswith("timestamp"):
        try:
            _time(wanted)
        except ValueError as wrong:
            raise BadFilterError(f"{wanted!r} is no time") from wrong
        return _time
    return _number_or_text


def _time(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _number_or_text(text: str) -> tuple[int, float, str]:
    try:
        return 0, float(text), ""
    except ValueError:
        return 1, 0.0, text


def _holds(value: Any, operator: str, limit: Any) -> bool:
    match operator:
        case "<":
            return bool(value < limit)
        case "<=":
            return bool(value <= limit)
        case ">":
            return bool(value > limit)
        case _:
            return bool(value >= limit)


def _at(entry: Any, path: list[str]) -> Any:
    for name in path:
        entry = entry.get(name) if isinstance(entry, dict) else None
    return entry


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _unquoted(token: str) -> str:
    return re.sub(r"\\(.)", r"\1", token[1:-1]) if token.startswith('"') else token
