"""The border: what Google's APIs and its libraries complain about, in our own errors.

A complaint arrives in three shapes: the body of a refused request (`reason`: conditionNotMet), the errors of an
operation that ended badly (`code`: CONDITION_NOT_MET), and a connection that broke. `translate` sorts the first two by
one table; which is which depends on the case, and Google changes it now and then.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from google.api_core.exceptions import GoogleAPICallError
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, RefreshError, TransportError
from google.protobuf.json_format import ParseError  # type: ignore[import-untyped]

from orchestrator.errors import (
    AlreadyExists,
    BadResource,
    BadUsage,
    Conflict,
    Forbidden,
    MayflyError,
    NotFound,
    QuotaExceeded,
    Stockout,
    Transient,
)
from orchestrator.patience import Later

LOG_IN = (
    "Google does not know who we are. On a laptop run `gcloud auth application-default login`, or set "
    "GOOGLE_APPLICATION_CREDENTIALS to the path of a key file; on Cloud Run give the job a service account."
)


class Refused(Transient):
    """Worth another try, as a new request: this one was answered, and its answer was no."""


@dataclass(frozen=True)
class Subject:
    """What a request is about, for the person who reads the error."""

    doing: str  # "start the VM gpu-vm"
    missing: str  # what to do if it is not there: "There is no VM gpu-vm in zone ...: set INSTANCE and ZONE."


@dataclass(frozen=True)
class Complaint:
    """What Google said. `codes` are UPPER_SNAKE, whichever way they were spelt."""

    message: str
    codes: frozenset[str] = frozenset()
    status: int | None = None
    in_operation: bool = False
    retry_after: timedelta | None = None
    until_refill: timedelta = timedelta(minutes=1)  # rate quotas refill at Google's next full minute

    def has(self, *codes: str) -> bool:
        """One of these is among the codes."""
        return not self.codes.isdisjoint(codes)

    def says(self, pattern: str) -> bool:
        """The message contains that, in any case."""
        return re.search(pattern, self.message, re.IGNORECASE) is not None


def code_of(text: str) -> str:
    """`conditionNotMet` and `CONDITION_NOT_MET` are the same code: CONDITION_NOT_MET."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", text).upper()


@contextmanager
def speaking_our_errors(subject: Subject) -> Iterator[None]:
    """Whatever Google's libraries raise inside leaves as one of `orchestrator.errors`."""
    try:
        yield
    except GoogleAPICallError as error:
        raise translate(_complaint(error), subject) from error
    except DefaultCredentialsError as error:
        raise BadUsage(LOG_IN) from error
    except RefreshError as error:
        if error.retryable or isinstance(error.__cause__, TransportError):
            raise Transient(f"Cannot {subject.doing}: getting a token failed: {error}") from error
        raise BadUsage(f"{LOG_IN} Google says: {error}") from error
    except (GoogleAuthError, OSError) as error:  # every exception of `requests` is an OSError
        raise Transient(f"Cannot {subject.doing}: the connection to Google failed: {error}") from error
    except (
        ParseError,
        ValueError,
    ) as error:  # a body that is not JSON, or not what this method returns: some proxy's page
        raise Transient(f"Cannot {subject.doing}: the answer makes no sense: {error}") from error


def translate(complaint: Complaint, subject: Subject) -> MayflyError:
    """The first row of the table that fits says which error it is."""
    what = f"Cannot {subject.doing}"
    for fits, error in _TABLE:
        if fits(complaint):
            return error(complaint, what, subject)
    return BadResource(f"{what}: {complaint.message}")


def _conflict(c: Complaint) -> bool:
    return c.has("CONDITION_NOT_MET", "ABORTED") or c.status == HTTPStatus.PRECONDITION_FAILED or c.says("fingerprint")


def _stockout(c: Complaint) -> bool:
    return any("RESOURCE_POOL_EXHAUSTED" in code for code in c.codes) or c.says("ZONE_RESOURCE_POOL_EXHAUSTED")


def _rate_limit(c: Complaint) -> bool:
    if c.in_operation:
        return False
    # A refused request with quotaExceeded is about requests per minute, unless it names a quota of resources.
    about_requests = c.has("QUOTA_EXCEEDED") and not c.says(_RESOURCE_QUOTA)
    return about_requests or c.has("RATE_LIMIT_EXCEEDED", "USER_RATE_LIMIT_EXCEEDED")


def _not_ready(c: Complaint) -> bool:
    crowded = c.has("RESOURCE_OPERATION_RATE_EXCEEDED", "RATE_LIMIT_EXCEEDED", "CONCURRENT_OPERATIONS_QUOTA_EXCEEDED")
    return crowded or c.has("RESOURCE_NOT_READY")


def _in_use(c: Complaint) -> bool:
    by_name = c.has("IP_IN_USE_BY_ANOTHER_RESOURCE", "RESOURCE_IN_USE_BY_ANOTHER_RESOURCE")
    return by_name or (c.status in {None, 400, 409} and c.says(r"\bin[ _-]use\b|already being used"))


def _missing(c: Complaint) -> bool:
    return c.status == HTTPStatus.NOT_FOUND or c.has("NOT_FOUND", "RESOURCE_NOT_FOUND")


def _hiccup(c: Complaint) -> bool:
    passing = c.status is not None and (c.status >= 500 or c.status in {408, 429})  # noqa: PLR2004 - HTTP's classes
    return passing or c.has("INTERNAL_ERROR", "BACKEND_ERROR")


def _hiccup_error(c: Complaint, what: str, _: Subject) -> MayflyError:
    text = f"{what}: {c.message}"
    if c.retry_after:
        return Later(text, c.retry_after)
    return Refused(text) if c.in_operation else Transient(text)


def _forbidden_error(c: Complaint, what: str, _: Subject) -> MayflyError:
    """Names the permission, for that is what one has to grant."""
    named = _PERMISSION.search(c.message)
    if named is None:
        return Forbidden(f"{what}: {c.message}")
    return Forbidden(
        f"{what}: our account lacks the permission {named[0]}. Grant it a role that has it. Google says: {c.message}"
    )


# Its services call it differently: 'P', P on resource, P access to.
_PERMISSION = re.compile(
    r"(?<![\w.@/-])(artifactregistry|cloudscheduler|compute|iam|logging|resourcemanager|run|secretmanager|serviceusage|storage)"
    r"\.(?!googleapis|gserviceaccount)[a-zA-Z]+\.[a-zA-Z]+"
)
_RESOURCE_QUOTA = r"Quota '[A-Z0-9_]+' exceeded|Limit: [\d.]+ (in region|globally)"

_Error = Callable[[Complaint, str, Subject], MayflyError]
_TABLE: list[tuple[Callable[[Complaint], bool], _Error]] = [
    (_conflict, lambda c, what, _: Conflict(f"{what}: it changed since we looked. {c.message}")),
    (_stockout, lambda c, what, _: Stockout(f"{what}: Google has no such machine free here now. {c.message}")),
    (
        _rate_limit,
        lambda c, what, _: Later(f"{what}: too many requests. {c.message}", c.until_refill),
    ),
    (_not_ready, lambda c, what, _: Refused(f"{what}: {c.message}")),
    (
        lambda c: c.has("QUOTA_EXCEEDED", "QUOTA_LIMIT_EXCEEDED") or c.says(_RESOURCE_QUOTA),
        lambda c, what, _: QuotaExceeded(f"{what}: the project's quota is too small, ask for more. {c.message}"),
    ),
    (_missing, lambda c, _, subject: NotFound(f"{subject.missing} Google says: {c.message}")),
    (lambda c: c.status == HTTPStatus.UNAUTHORIZED, lambda c, *_: BadUsage(f"{LOG_IN} Google says: {c.message}")),
    (
        lambda c: c.has("ALREADY_EXISTS", "RESOURCE_ALREADY_EXISTS") or c.says("you already own it"),
        lambda c, what, _: AlreadyExists(f"{what}: {c.message}"),
    ),
    (_in_use, lambda c, what, _: BadResource(f"{what}: something else uses it. {c.message}")),
    (
        lambda c: c.status == HTTPStatus.FORBIDDEN or c.has("FORBIDDEN", "PERMISSIONS_ERROR", "PERMISSION_DENIED"),
        _forbidden_error,
    ),
    (_hiccup, _hiccup_error),
]


def _complaint(error: GoogleAPICallError) -> Complaint:
    headers = error.response.headers if error.response is not None else {}
    said = [entry for entry in error.errors if isinstance(entry, dict)]
    reasons = [entry.get("reason") for entry in said] + [error.reason, _rpc_status(error)]
    messages = [str(entry["message"]) for entry in said if entry.get("message")]
    return Complaint(
        message=" ".join(dict.fromkeys(messages)) or _without_url(error.message),
        codes=frozenset(code_of(reason) for reason in reasons if reason),
        status=error.code,
        retry_after=_seconds(headers.get("Retry-After")),
        until_refill=_to_next_minute(headers.get("Date")),
    )


def _rpc_status(error: GoogleAPICallError) -> str | None:
    """The services that speak google.rpc say in one word what is the matter: ABORTED."""
    with suppress(AttributeError, KeyError, TypeError, ValueError):  # no response, no JSON, another form
        status = error.response.json()["error"]["status"]
        return status if isinstance(status, str) else None
    return None


def _without_url(message: str) -> str:
    """The library writes method and URL before what Google said."""
    return re.sub(r"^[A-Z]+ https?://\S+: ", "", message)


def _seconds(retry_after: str | None) -> timedelta | None:
    return timedelta(seconds=int(retry_after)) if retry_after and retry_after.isdigit() else None


def _to_next_minute(date: str | None) -> timedelta:
    """By Google's own clock, whose full minutes refill the rate quotas; a second more, for its fractions."""
    if not date:
        return timedelta(minutes=1)
    return timedelta(seconds=61 - parsedate_to_datetime(date).second)
