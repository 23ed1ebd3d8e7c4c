"""Bytes from the web: bounded in size, complete or not at all."""

from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import BinaryIO
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit
from urllib.request import HTTPHandler, HTTPSHandler, Request, build_opener

from vm_agent.jobs.transcribe.errors import Unreachable
from vm_agent.link_local import refuse_link_local

TIMEOUT_SECONDS = 30  # without a single byte; the run's own deadline bounds the whole
CHUNK_BYTES = 1 << 20
AS_THEY_ARE = "%/:=&?~#+!$,;'@()*[]"  # the rest, spaces and letters beyond ASCII, is percent-encoded as browsers do
ADVICE: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: "It wants credentials: give a signed URL, or grant the VM's service account access.",
    HTTPStatus.FORBIDDEN: "Access is denied: give a signed URL, or grant the VM's service account read access.",
    HTTPStatus.NOT_FOUND: "Check the address.",
    HTTPStatus.GONE: "Check the address.",
}


class _Plain(HTTPConnection):
    def connect(self) -> None:
        super().connect()
        refuse_link_local(self.sock)


class _Secure(HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        refuse_link_local(self.sock)


class _PlainHandler(HTTPHandler):
    def http_open(self, req: Request) -> HTTPResponse:
        return self.do_open(_Plain, req)


class _SecureHandler(HTTPSHandler):
    def https_open(self, req: Request) -> HTTPResponse:
        return self.do_open(_Secure, req)


_OPENER = build_opener(_PlainHandler, _SecureHandler)  # every connection, a redirect's too


class TooLarge(Exception):
    """More bytes than the caller allows, who knows which limit it was and says so."""


def download(url: str, into: BinaryIO, *, bytes_max: float, token: str | None = None, called: str | None = None) -> int:
    """Copy what is at `url`, `called` so in messages, into an open file; say how many bytes it was."""
    name = called or shown(url)
    try:
        request = Request(quote(url, safe=AS_THEY_ARE), headers={"User-Agent": "mayfly"})  # noqa: S310 - see callers
        if token:
            request.add_unredirected_header("Authorization", f"Bearer {token}")  # for this server and no other
        with _OPENER.open(request, timeout=TIMEOUT_SECONDS) as response:
            announced = int(response.headers.get("Content-Length") or 0)
            if announced > bytes_max:
                raise TooLarge
            copied = _copy(response, into, bytes_max)
    except HTTPError as refused:
        advice = ADVICE.get(refused.code, "Try again later.")
        raise Unreachable(f"{name} answered {refused.code} {refused.reason}. {advice}") from None
    except (OSError, HTTPException, ValueError) as failed:  # URLError and time-outs are OSErrors
        why = getattr(failed, "reason", None) or str(failed) or type(failed).__name__
        raise Unreachable(f"Cannot download {name}: {why}. Check the address and the network.") from failed
    if copied < announced:
        raise Unreachable(f"{name} ended after {copied} of {announced} bytes. Try again.")
    return copied


def shown(url: str) -> str:
    """The address as it may be printed: a query can be a signature, and user info a password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path}"


def _copy(response: BinaryIO, into: BinaryIO, bytes_max: float) -> int:
    copied = 0
    while chunk := response.read(CHUNK_BYTES):
        copied += len(chunk)
        if copied > bytes_max:
            raise TooLarge
        into.write(chunk)
    return copied
