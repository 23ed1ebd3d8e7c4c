"""Google's administrative APIs, for who sets up a project or looks at one: JSON in, JSON out, operations to their end.

A run needs none of this. One origin stands for all of them under an emulator, as RUN_EMULATOR_HOST says.
"""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from orchestrator.errors import Transient
from orchestrator.google_credentials import credentials_for
from orchestrator.google_errors import Complaint, Subject, code_of, translate
from orchestrator.google_rest import Asked, GoogleRest
from orchestrator.patience import patiently
from orchestrator.policy import Patience, Policy
from orchestrator.ports import Clock

Json = dict[str, Any]
# The longest operation that a deploy waits for is the enabling of APIs: Google says minutes.
_OPERATIONS = Patience(600, timedelta(minutes=10), timedelta(seconds=0.2), timedelta(seconds=3))
_WORD_OF_RPC = {6: "ALREADY_EXISTS", 10: "ABORTED"}  # both are 409
_HTTP_OF_RPC = {3: 400, 5: 404, 6: 409, 7: 403, 8: 429, 9: 400, 10: 409, 13: 500, 14: 503, 16: 401}


class Service(StrEnum):
    """One API, by where it answers and its version."""

    COMPUTE = "compute.googleapis.com/compute/v1"
    RUN = "run.googleapis.com/v2"
    SCHEDULER = "cloudscheduler.googleapis.com/v1"
    IAM = "iam.googleapis.com/v1"
    PROJECTS = "cloudresourcemanager.googleapis.com/v3"
    USAGE = "serviceusage.googleapis.com/v1"
    REGISTRY = "artifactregistry.googleapis.com/v1"
    SECRETS = "secretmanager.googleapis.com/v1"
    LOGGING = "logging.googleapis.com/v2"
    STORAGE = "storage.googleapis.com/storage/v1"


class _StillRunning(Transient):
    """An operation that is not done: asked for again."""


class GoogleAdmin:
    """Each method raises `orchestrator.errors`; `subject` says what it was about."""

    def __init__(self, rest: GoogleRest, clock: Clock, origin: Callable[[Service], str]) -> None:
        """`origin` gives "https://host" or "http://host:port" for a service."""
        self._rest, self._clock, self._origin = rest, clock, origin

    def close(self) -> None:
        """Let connections and threads go."""
        self._rest.close()

    async def get(self, service: Service, path: str, subject: Subject, **query: str) -> Json:
        """What is there. NotFound, Forbidden."""
        return _document((await self._rest.send(Asked(self._url(service, path), query), subject)).content)

    async def find(self, service: Service, path: str, subject: Subject, **query: str) -> Json | None:
        """What is there, or None."""
        asked = Asked(self._url(service, path), query, missing_is_fine=True)
        answered = await self._rest.send(asked, subject)
        return None if answered.missing else _document(answered.content)

    async def time(self, service: Service, path: str, subject: Subject) -> datetime:
        """Google's own clock: when it answered. Transient if the answer does not say."""
        date = (await self._rest.send(Asked(self._url(service, path), missing_is_fine=True), subject)).date()
        if date is None:
            raise Transient(f"Cannot {subject.doing}: the answer has no date.")
        return date

    async def who(self) -> str:
        """Our email, as far as the credentials tell. BadUsage: they are worth nothing."""
        return await self._rest.who()

    async def list(
        self, service: Service, path: str, field: str, subject: Subject, **query: str
    ) -> AsyncIterator[Json]:
        """All of them, page after page; `field` is the answer's name for the list ("items", "jobs")."""
        page: dict[str, str] = {}
        while True:
            answer = await self.get(service, path, subject, **query, **page)
            for entry in answer.get(field, []):
                yield entry
            if not answer.get("nextPageToken"):
                return
            page = {"pageToken": answer["nextPageToken"]}

    async def post(
        self, service: Service, path: str, body: Json, subject: Subject, *, again: bool = True, **query: str
    ) -> Json:
        """Make, or do, something. With `again` it may be sent twice: who makes things must bear AlreadyExists."""
        asked = Asked(self._url(service, path), query, _content(body), again=again)
        return _document((await self._rest.send(asked, subject)).content)

    async def ask(self, service: Service, path: str, body: Json, subject: Subject, **query: str) -> Json | None:
        """A question that is put by POST: what there is, or None."""
        asked = Asked(self._url(service, path), query, _content(body), missing_is_fine=True)
        answered = await self._rest.send(asked, subject)
        return None if answered.missing else _document(answered.content)

    async def put(self, service: Service, path: str, body: Json, subject: Subject, **query: str) -> Json:
        """Replace the whole of it."""
        asked = Asked(self._url(service, path), query, _content(body), method="PUT")
        return _document((await self._rest.send(asked, subject)).content)

    async def patch(self, service: Service, path: str, body: Json, subject: Subject, **query: str) -> Json:
        """Change the fields of `body`."""
        asked = Asked(self._url(service, path), query, _content(body), method="PATCH")
        return _document((await self._rest.send(asked, subject)).content)

    async def delete(self, service: Service, path: str, subject: Subject, **query: str) -> Json | None:
        """Remove it; None if it was not there."""
        asked = Asked(self._url(service, path), query, method="DELETE", missing_is_fine=True)
        answered = await self._rest.send(asked, subject)
        return None if answered.missing else _document(answered.content)

    async def finished(self, service: Service, operation: Json, subject: Subject) -> Json:
        """Follow an operation of any service to its end; its `response`, or {}. Raises what it ended with."""
        path = _path_of(service, operation)

        async def look() -> Json:
            seen = operation if _is_done(operation) else await self.get(service, path, subject)
            if not _is_done(seen):
                raise _StillRunning(f"{subject.doing} has not ended yet: {path}")
            return seen

        done = await patiently(look, _OPERATIONS, self._clock)
        if error := done.get("error"):
            raise translate(_complaint(error), subject)
        response: Json = done.get("response", {})
        return response

    def _url(self, service: Service, path: str) -> str:
        return f"{self._origin(service)}/{service.partition('/')[2]}/{path}"


def open_admin(
    policy: Policy, clock: Clock, emulators: Mapping[Service, str] | None = None, metadata_host: str | None = None
) -> GoogleAdmin:
    """For Google, or with `emulators` (the origin for each service) for an emulator. BadUsage: nobody we could be."""
    rest = GoogleRest(credentials_for(emulated=emulators is not None, metadata_host=metadata_host), policy, clock)
    return GoogleAdmin(rest, clock, lambda service: (emulators or {}).get(service) or _googles(service))


def _googles(service: Service) -> str:
    return f"https://{service.partition('/')[0]}"


def _content(body: Json) -> bytes:
    return json.dumps(body).encode()


def _document(content: bytes) -> Json:
    document: Json = json.loads(content or b"{}")
    return document


def _is_done(operation: Json) -> bool:
    return operation.get("done") is True or operation.get("status") == "DONE"


def _path_of(service: Service, operation: Json) -> str:
    """Compute's operations are known by their link, all others by their name."""
    if service is Service.COMPUTE:
        return str(operation["selfLink"]).partition("/compute/v1/")[2]
    return str(operation.get("name", ""))


def _complaint(error: Json) -> Complaint:
    """An operation's error: Compute's list of them, or one of the RPC kind."""
    if "errors" in error:
        messages = [str(entry.get("message", entry.get("code"))) for entry in error["errors"]]
        codes = frozenset(code_of(str(entry["code"])) for entry in error["errors"] if "code" in entry)
        return Complaint(" ".join(messages), codes, in_operation=True)
    number = int(error.get("code", 2))
    codes = frozenset({_WORD_OF_RPC[number]} if number in _WORD_OF_RPC else ())
    message = str(error.get("message", "no reason given"))
    return Complaint(message, codes, status=_HTTP_OF_RPC.get(number, 500), in_operation=True)
