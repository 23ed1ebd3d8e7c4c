"""Google's JSON APIs where no client library of ours speaks them: one session, our threads, our words, our patience."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from http import HTTPStatus

from google.api_core.exceptions import from_http_response
from google.auth.credentials import Credentials
from google.auth.transport.requests import AuthorizedSession

from orchestrator.google_credentials import name_of
from orchestrator.google_errors import Subject, speaking_our_errors
from orchestrator.patience import patiently, uninterrupted
from orchestrator.policy import Policy
from orchestrator.ports import Clock
from orchestrator.threads import Threads

_THREADS = 4  # a look, a lease renewal, and two that were abandoned


@dataclass(frozen=True)
class Asked:
    """One request. It is tried again while that may help, unless it must not be sent twice."""

    url: str
    query: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None  # then it is a POST, unless `method` says otherwise
    missing_is_fine: bool = False  # a 404 is an answer like any other
    method: str = ""
    again: bool = True  # False: never sent twice, whatever became of it

    @property
    def verb(self) -> str:
        """The HTTP method."""
        return self.method or ("GET" if self.content is None else "POST")


@dataclass(frozen=True)
class Answered:
    """One answer; header names are in lower case."""

    content: bytes
    headers: Mapping[str, str]
    missing: bool = False

    def date(self) -> datetime | None:
        """When Google answered, by its own clock."""
        date = self.headers.get("date")
        return parsedate_to_datetime(date).astimezone(UTC) if date else None


class GoogleRest:
    """Sends requests. A question is abandoned when its caller is cancelled; a change is seen through first."""

    def __init__(self, credentials: Credentials, policy: Policy, clock: Clock) -> None:
        self._policy, self._clock = policy, clock
        self._credentials = credentials
        self._session = AuthorizedSession(credentials)  # type: ignore[no-untyped-call]
        self._threads = Threads(_THREADS, "google-rest")

    def close(self) -> None:
        """Let idle threads and connections go. Nobody is waited for."""
        self._threads.close()
        self._session.close()  # type: ignore[no-untyped-call]

    async def who(self) -> str:
        """Whom Google takes us for. BadUsage: for nobody."""
        ask = partial(self._threads.call, self._who)
        return await patiently(ask, self._policy.cloud_calls, self._clock)

    async def send(self, asked: Asked, subject: Subject) -> Answered:
        """The answer. NotFound, Conflict, Forbidden."""

        async def once() -> Answered:
            answer = self._threads.call(lambda: self._answer(asked, subject))
            return await (answer if asked.verb == "GET" else uninterrupted(answer))

        return await (patiently(once, self._policy.cloud_calls, self._clock) if asked.again else once())

    def _who(self) -> str:
        with speaking_our_errors(Subject("get a token", "")):
            return name_of(self._credentials)

    def _answer(self, asked: Asked, subject: Subject) -> Answered:
        with speaking_our_errors(subject):
            response = self._session.request(  # type: ignore[no-untyped-call]
                asked.verb,
                asked.url,
                params=dict(asked.query),
                data=asked.content,
                headers={} if asked.content is None else {"Content-Type": "application/json"},
                timeout=self._policy.request.total_seconds(),
            )
            missing = response.status_code == HTTPStatus.NOT_FOUND
            if response.status_code >= HTTPStatus.BAD_REQUEST and not (missing and asked.missing_is_fine):
                raise from_http_response(response)  # type: ignore[no-untyped-call]
            headers = {name.lower(): value for name, value in response.headers.items()}
            return Answered(response.content, headers, missing)
