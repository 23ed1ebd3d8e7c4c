"""Lists: pages, filters, and the aggregated form that names every scope."""

import base64
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from gcp_emulator.errors import invalid
from gcp_emulator.links import link
from gcp_emulator.routes import Call, Json

MAX_RESULTS = 500

T = TypeVar("T")


def page(call: Call, found: Iterable[Json], *, kind: str, key: str) -> Json:
    """Give the page of `found` that was asked for."""
    chosen, token = _cut(call, _chosen(call, found))
    document: Json = {"kind": kind, "id": key, "selfLink": link(key)}
    if chosen:
        document["items"] = chosen
    if token:
        document["nextPageToken"] = token
    return document


def aggregated(
    call: Call, found: Iterable[tuple[str, Json]], *, kind: str, key: str, name: str, scopes: Sequence[str]
) -> Json:
    """Give (scope, item) pairs by scope, such as zones/us-central1-a; scopes without any carry a warning."""
    pairs = list(found)
    wanted = _filter_of(call)
    chosen, token = _cut(call, [pair for pair in pairs if wanted(pair[1])])
    by_scope: dict[str, Json] = {scope: {"warning": _nothing_in(scope)} for scope in scopes}
    for scope, item in chosen:
        entry = by_scope.get(scope)
        if entry is None or name not in entry:
            entry = by_scope[scope] = {name: []}
        entry[name].append(item)
    document: Json = {"kind": kind, "id": key, "items": by_scope, "selfLink": link(key)}
    if token:
        document["nextPageToken"] = token
    return document


def _nothing_in(scope: str) -> Json:
    return {
        "code": "NO_RESULTS_ON_PAGE",
        "message": f"There are no results for scope '{scope}' on this page.",
        "data": [{"key": "scope", "value": scope}],
    }


def _chosen(call: Call, found: Iterable[Json]) -> list[Json]:
    wanted = _filter_of(call)
    chosen = [item for item in found if wanted(item)]
    match call.query.get("orderBy"):
        case None | "" | "name":
            return chosen
        case "creationTimestamp desc":
            return chosen[::-1]  # things are kept in the order in which they were made
        case other:
            raise invalid("orderBy", other, "Invalid orderBy.")


def _cut(call: Call, items: list[T]) -> tuple[list[T], str | None]:
    wanted = call.query.get("maxResults", str(MAX_RESULTS))
    if not wanted.isdigit() or int(wanted) > MAX_RESULTS:
        raise invalid("maxResults", wanted, f"Must be between 0 and {MAX_RESULTS}.")
    first = _offset(call.query.get("pageToken", ""))
    last = first + (int(wanted) or MAX_RESULTS)
    return items[first:last], _token(last) if last < len(items) else None


def _token(offset: int) -> str:
    return base64.urlsafe_b64encode(f"from:{offset}".encode()).decode()


def _offset(token: str) -> int:
    if not token:
        return 0
    try:
        return int(base64.urlsafe_b64decode(token).decode().removeprefix("from:"))
    except ValueError as wrong:
        raise invalid("pageToken", token, "Invalid page token.") from wrong


# --- filters: name = "x", status!=RUNNING, labels.k=v, labels.k:*, name eq r.*, joined by AND, OR, parentheses ----

Wanted = Callable[[Json], bool]

_TERM = re.compile(
    r"""\s*(?P<field>[\w.\-]+)\s*
        (?P<operator>!=|=|:|\beq\b|\bne\b)\s*
        (?P<value>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^\s()]+)""",
    re.VERBOSE,
)


def _filter_of(call: Call) -> Wanted:
    text = call.query.get("filter", "")
    if not text.strip():
        return lambda _: True
    parser = _Parser(text)
    wanted = parser.any_of()
    if parser.rest():
        raise parser.wrong()
    return wanted


class _Parser:
    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def wrong(self) -> Exception:
        return invalid("filter", self.text, "Invalid list filter expression.")

    def rest(self) -> str:
        return self.text[self.at :].strip()

    def _took(self, word: str) -> bool:
        match = re.compile(rf"\s*{word}", re.IGNORECASE).match(self.text, self.at)
        if match:
            self.at = match.end()
        return match is not None

    def any_of(self) -> Wanted:
        terms = [self.all_of()]
        while self._took(r"OR\b"):
            terms.append(self.all_of())
        return lambda item: any(term(item) for term in terms)

    def all_of(self) -> Wanted:
        terms = [self.one()]
        while self._took(r"AND\b") or (self.rest() and not re.match(r"\)|OR\b", self.rest())):
            terms.append(self.one())
        return lambda item: all(term(item) for term in terms)

    def one(self) -> Wanted:
        if self._took(r"\("):
            inner = self.any_of()
            if not self._took(r"\)"):
                raise self.wrong()
            return inner
        if self._took(r"NOT\b") or self._took(r"-(?=[a-z(])"):
            negated = self.one()
            return lambda item: not negated(item)
        match = _TERM.match(self.text, self.at)
        if match is None:
            raise self.wrong()
        self.at = match.end()
        return _comparison(match["field"], match["operator"], _unquoted(match["value"]))


def _unquoted(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value[0] in "\"'" else value


def _comparison(name: str, operator: str, value: str) -> Wanted:
    def holds(item: Json) -> bool:
        have = _field(item, name)
        match operator:
            case "eq" | "ne":
                return re.fullmatch(value, have or "") is not None
            case ":":
                return have is not None and (value == "*" or value.casefold() in have.casefold())
            case _:
                return have is not None and _alike(have, value)

    return (lambda item: not holds(item)) if operator in {"!=", "ne"} else holds


def _alike(have: str, wanted: str) -> bool:
    if "*" in wanted:
        return re.fullmatch(re.escape(wanted).replace(r"\*", ".*"), have) is not None
    return have == wanted


def _field(item: Mapping[str, Any], name: str) -> str | None:
    value: Any = item
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return str(value).lower() if isinstance(value, bool) else str(value)
