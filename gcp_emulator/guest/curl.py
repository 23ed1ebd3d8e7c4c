#!/usr/bin/env -S python3 -I
"""A small `curl` for emulated VMs on machines that have none: every image of Google's has one, and scripts count on it.

It is the last thing on a VM's PATH, so a real curl wins. It knows the options below and does with them what curl does,
down to exit statuses, messages and retries; it refuses all others rather than do something else.
"""

import argparse
import http.client
import signal
import socket
import ssl
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import NoReturn

WORTH_ANOTHER_TRY = {408, 429, 500, 502, 503, 504}
BAD_USAGE, NO_SUCH_HOST, CANNOT_CONNECT, HTTP_ERROR, TIMED_OUT, NO_TLS, NO_ANSWER, CUT_OFF = 2, 6, 7, 22, 28, 35, 52, 56


class Failure(Exception):
    """Curl's exit status, and its message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"curl: ({status}) {message}")
        self.status = status


class _AsItComes(urllib.request.HTTPErrorProcessor):
    """Errors and redirects are answers, too."""

    def http_response(self, _: urllib.request.Request, response: http.client.HTTPResponse) -> http.client.HTTPResponse:
        return response

    def https_response(self, _: urllib.request.Request, response: http.client.HTTPResponse) -> http.client.HTTPResponse:
        return response


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(BAD_USAGE, f"curl: {message} (this machine has no curl: this is the emulator's, a small one)\n")


def main() -> int:
    """One transfer, tried again as often as was asked for."""
    options = _options()
    request = _request(options)
    began, code, failure = time.monotonic(), 0, None
    for attempt in range(options.retry + 1):
        code, failure = _try(request, options)
        late = options.retry_max_time and time.monotonic() - began >= options.retry_max_time
        if attempt == options.retry or late or not _may_pass(code, failure, options):
            break
        time.sleep(options.retry_delay or 2**attempt)
    sys.stdout.write(options.write_out.replace("\\n", "\n").replace("%{http_code}", f"{code:03}"))
    if failure and (options.show_error or not options.silent):
        sys.stderr.write(f"{failure}\n")
    return failure.status if failure else 0


def _options() -> argparse.Namespace:
    parser = _Parser(prog="curl", add_help=False, allow_abbrev=False)
    parser.add_argument("url")
    for flag in ("-s", "--silent"), ("-S", "--show-error"), ("-f", "--fail"), ("-k", "--insecure"):
        parser.add_argument(*flag, action="store_true")
    parser.add_argument("-H", "--header", action="append", default=[])
    parser.add_argument("-X", "--request")
    parser.add_argument("-o", "--output")
    parser.add_argument("-w", "--write-out", default="")
    parser.add_argument("-m", "--max-time", type=float, default=0.0)
    parser.add_argument("-d", "--data")
    parser.add_argument("--data-binary")
    parser.add_argument("--retry", type=int, default=0)
    parser.add_argument("--retry-connrefused", action="store_true")
    parser.add_argument("--retry-delay", type=int, default=0)
    parser.add_argument("--retry-max-time", type=int, default=0)
    options = parser.parse_args()
    if "%{" in options.write_out.replace("%{http_code}", ""):
        parser.error("only %{http_code} is known of what --write-out can tell")
    return options


def _request(options: argparse.Namespace) -> urllib.request.Request:
    lines = [line for header in options.header for line in _text(header).decode().splitlines()]
    headers = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = None if options.data_binary is None else _text(options.data_binary)
    if options.data is not None:
        body = _text(options.data)
        if options.data.startswith("@"):
            body = body.replace(b"\r", b"").replace(b"\n", b"")
    url = options.url if "://" in options.url else f"http://{options.url}"
    return urllib.request.Request(url, body, {"Accept": "*/*"} | headers, method=options.request)  # noqa: S310


def _text(value: str) -> bytes:
    """The value itself; "@-" is what comes by standard input, "@PATH" what is in that file."""
    if not value.startswith("@"):
        return value.encode()
    return sys.stdin.buffer.read() if value == "@-" else Path(value[1:]).read_bytes()


def _try(request: urllib.request.Request, options: argparse.Namespace) -> tuple[int, Failure | None]:
    """The HTTP status, 0 without one, and what went wrong."""
    trust = ssl._create_unverified_context() if options.insecure else None  # noqa: S323
    opener = urllib.request.build_opener(_AsItComes, urllib.request.HTTPSHandler(context=trust))
    signal.setitimer(signal.ITIMER_REAL, options.max_time)  # for all of it, looking up the name included
    try:
        with opener.open(request) as response:
            code, body = response.status, response.read()
    except urllib.error.URLError as error:
        return 0, _failure(error.reason)
    except (OSError, http.client.HTTPException) as error:
        return 0, _failure(error)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    if options.fail and code >= http.HTTPStatus.BAD_REQUEST:
        return code, Failure(HTTP_ERROR, f"The requested URL returned error: {code}")
    if options.output:
        Path(options.output).write_bytes(body)
    else:
        sys.stdout.buffer.write(body)
        sys.stdout.buffer.flush()
    return code, None


def _failure(error: object) -> Failure:
    match error:
        case http.client.RemoteDisconnected():
            return Failure(NO_ANSWER, "Empty reply from server")
        case ssl.SSLError():
            return Failure(NO_TLS, str(error))
        case TimeoutError():
            return Failure(TIMED_OUT, "Operation timed out")
        case socket.gaierror():
            return Failure(NO_SUCH_HOST, f"Could not resolve host: {error.strerror}")
        case ConnectionResetError() | http.client.HTTPException():
            return Failure(CUT_OFF, f"Recv failure: {error}")
        case _:
            return Failure(CANNOT_CONNECT, f"Failed to connect: {error}")


def _may_pass(code: int, failure: Failure | None, options: argparse.Namespace) -> bool:
    if failure is None or failure.status == HTTP_ERROR:
        return code in WORTH_ANOTHER_TRY
    return failure.status in {TIMED_OUT, NO_SUCH_HOST} or (
        failure.status == CANNOT_CONNECT and options.retry_connrefused
    )


def _time_is_up(*_: object) -> NoReturn:
    raise TimeoutError


if __name__ == "__main__":
    signal.signal(signal.SIGALRM, _time_is_up)
    sys.exit(main())
