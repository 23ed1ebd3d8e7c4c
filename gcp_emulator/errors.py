"""What can go wrong, in the three forms that Google's services say it.

ApiError        Compute Engine answers a request with an error at once
OperationError  an operation that was accepted ends with an error
RpcError        the google.rpc form of Secret Manager, Cloud Run, Cloud Scheduler and Logging
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gcp_emulator.wire import Reply

JSON_TYPE: Mapping[str, str] = {"content-type": "application/json; charset=UTF-8"}
HTML_TYPE: Mapping[str, str] = {"content-type": "text/html; charset=UTF-8"}

RPC_STATUS: Mapping[int, str] = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ALREADY_EXISTS",
    412: "FAILED_PRECONDITION",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
HTTP_MESSAGE: Mapping[int, str] = {
    400: "BAD REQUEST",
    403: "FORBIDDEN",
    404: "NOT FOUND",
    409: "CONFLICT",
    412: "PRECONDITION FAILED",
    500: "INTERNAL SERVER ERROR",
    503: "SERVICE UNAVAILABLE",
}


OLDER_SERVICES = ("/compute/", "/storage/", "/upload/", "/download/", "/batch/")


def names_reasons(path: str) -> bool:
    """Tell whether the service at this path writes errors with reasons; the later ones write google.rpc statuses."""
    return path.startswith(OLDER_SERVICES)


class GoogleError(Exception):
    """Any error that is a reply."""

    status: int

    def body(self) -> dict[str, Any]:
        """Write the JSON document of this error."""
        raise NotImplementedError

    def reply(self) -> Reply:
        """Write the HTTP answer."""
        return Reply(self.status, json.dumps(self.body(), indent=2).encode(), JSON_TYPE)


class ApiError(GoogleError):
    """Compute Engine's form: error.errors[] with a camelCase reason."""

    def __init__(self, status: int, reason: str, message: str, **more: str) -> None:
        super().__init__(message)
        self.status, self.reason, self.message = status, reason, message
        self.more = more  # location, locationType

    def body(self) -> dict[str, Any]:
        """Write the JSON document of this error."""
        first = {"message": self.message, "domain": "global", "reason": self.reason, **self.more}
        return {"error": {"code": self.status, "message": self.message, "errors": [first]}}


class UnknownNameError(ApiError):
    """A field or query parameter that the method does not have."""

    def __init__(self, name: str, what: str, place: str = "") -> None:
        where = f" at '{place}'" if place else ""
        super().__init__(400, "badRequest", f'Invalid JSON payload received. Unknown name "{name}"{where}: {what}')
        self.name = name

    def body(self) -> dict[str, Any]:
        """Add what the JSON front end adds: the violation in google.rpc form."""
        document = super().body()
        violation = {"field": self.name, "description": self.message}
        details = [{"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [violation]}]
        document["error"].update(status="INVALID_ARGUMENT", details=details)
        return document


class RpcError(GoogleError):
    """The google.rpc form: error.status in capitals."""

    def __init__(self, code: int, message: str, status: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message = code, message
        self.rpc_status = status or RPC_STATUS.get(code, "UNKNOWN")

    def body(self) -> dict[str, Any]:
        """Write the JSON document of this error."""
        return {"error": {"code": self.status, "message": self.message, "status": self.rpc_status}}


@dataclass(frozen=True, slots=True)
class OperationError:
    """How an operation ends badly. Clients see a typed error only when both HTTP fields are there, so they are."""

    code: str
    message: str = ""
    status: int = 400

    @property
    def http_message(self) -> str:
        """The words that go with the status, in capitals, as Compute Engine writes them."""
        return HTTP_MESSAGE.get(self.status, "BAD REQUEST")


# How an operation ends that did nothing: without error. Only a fault makes one end so.
WITHOUT_EFFECT = OperationError("", "", 200)


class OperationFailedError(Exception):
    """Raised where an operation takes effect and finds that it cannot."""

    def __init__(self, error: OperationError) -> None:
        super().__init__(error.message)
        self.error = error


def not_found(key: str) -> ApiError:
    """Nothing has this key."""
    return ApiError(404, "notFound", f"The resource '{key}' was not found")


def not_ready(key: str) -> ApiError:
    """It exists, and is in the middle of something."""
    return ApiError(400, "resourceNotReady", f"The resource '{key}' is not ready")


def invalid(field: str, value: object, why: str) -> ApiError:
    """A value that the method does not take."""
    return ApiError(400, "invalid", f"Invalid value for field '{field}': '{value}'. {why}")


def missing(field: str) -> ApiError:
    """A parameter or field that the method needs."""
    return ApiError(400, "required", f"Required field '{field}' not specified")


def no_such_page(path: str) -> Reply:
    """Answer as Google's front end does where no service listens: a page, not JSON."""
    page = (
        "<!DOCTYPE html>\n<html lang=en>\n<title>Error 404 (Not Found)!!1</title>\n"
        f"<p><b>404.</b> <ins>That\u2019s an error.</ins>\n<p>The requested URL <code>{_escaped(path)}</code> "
        "was not found on this server.  <ins>That\u2019s all we know.</ins>\n"
    )
    return Reply(404, page.encode(), HTML_TYPE)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
