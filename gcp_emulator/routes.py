"""The route table: HTTP method and path template -> verb and handler."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from gcp_emulator.errors import ApiError, missing
from gcp_emulator.wire import Held, Reply, Request

if TYPE_CHECKING:
    from gcp_emulator.world import World

Json = dict[str, Any]
Answer = Json | Reply | Held

COMPUTE = "/compute/v1/projects/{project}"
ZONE = COMPUTE + "/zones/{zone}"
REGION = COMPUTE + "/regions/{region}"
GLOBAL = COMPUTE + "/global"


@dataclass(slots=True)
class Call:
    """One request on its way to a handler."""

    request: Request
    verb: str
    params: Mapping[str, str]
    first_asked: datetime
    again: bool = False  # it was held, and is asked again
    principal: str | None = None  # the email of who asks; None: nobody in particular, who may do everything

    @property
    def query(self) -> Mapping[str, str]:
        """The query's parameters."""
        return self.request.query

    def required(self, name: str) -> str:
        """Give a query parameter that the method cannot do without."""
        if value := self.request.query.get(name):
            return value
        raise missing(name)

    def flag(self, name: str) -> bool:
        """Tell whether a boolean query parameter is set."""
        return self.request.query.get(name, "").lower() == "true"

    def document(self) -> Json:
        """Parse the body. That its names are the method's own, the door has seen to (Google's front end does)."""
        try:
            document = json.loads(self.request.body or b"{}")
        except ValueError as wrong:
            raise ApiError(400, "parseError", f"Parse Error: {wrong}") from wrong
        if not isinstance(document, dict):
            raise ApiError(400, "parseError", "Parse Error: the body must be a JSON object")
        return document


Handler = Callable[["World", Call], Answer]


@dataclass(frozen=True, slots=True)
class Route:
    """One method of an API. A `{name}` in its template has neither slash nor colon, a `{name*}` no slash only."""

    method: str
    template: str
    verb: str
    handler: Handler
    pattern: re.Pattern[str] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/:]+)", re.escape(self.template))
        pattern = re.sub(r"\\{(\w+)\\\*\\}", r"(?P<\1>[^/]+)", pattern)
        object.__setattr__(self, "pattern", re.compile(pattern + r"\Z"))


class Routes:
    """All methods of all APIs."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._by_method: dict[str, list[Route]] = {}
        self.verbs: set[str] = set()
        for route in routes:
            self._by_method.setdefault(route.method, []).append(route)
            self.verbs.add(route.verb)
        self.find = lru_cache(maxsize=4096)(self._find)

    def _find(self, method: str, path: str) -> tuple[Route, Mapping[str, str]] | None:
        for route in self._by_method.get(method, ()):
            if match := route.pattern.match(path):
                return route, match.groupdict()
        return None
