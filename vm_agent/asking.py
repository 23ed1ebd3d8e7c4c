"""What callers may say in a request, read and checked."""

import asyncio
import json
import re
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

from fastapi import Request
from pydantic import ValidationError
from pydantic_core import from_json
from starlette.requests import ClientDisconnect

from vm_agent import policy
from vm_agent.agent import Agent
from vm_agent.problems import BadRequest, CallerGone, TooLarge, TooSlow
from vm_agent.protocol import KEY_HEADER, PARAMS_BYTES_MAX, START_MEDIA_TYPE, WAIT_SECONDS_MAX, StartRequest

T = TypeVar("T")


def agent_of(request: Request) -> Agent:
    """The agent behind this app."""
    return request.app.state.agent  # type: ignore[no-any-return]


def epoch_of(request: Request) -> int | None:
    """The epoch the caller spoke with; the door has checked it."""
    return request.state.epoch  # type: ignore[no-any-return]


def key_of(request: Request) -> str | None:
    """The caller's Idempotency-Key, if it gave one."""
    key = request.headers.get(KEY_HEADER)
    if key is not None and not (0 < len(key) <= policy.KEY_LENGTH_MAX and key.isascii() and key.isprintable()):
        raise BadRequest(f"{KEY_HEADER} must be 1 to {policy.KEY_LENGTH_MAX} printable ASCII characters")
    return key


def preferred_wait(request: Request) -> int | None:
    """`Prefer: wait=N` in seconds (RFC 7240)."""
    found = re.search(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,9})", request.headers.get("Prefer", ""), re.IGNORECASE)
    return min(int(found[1]), WAIT_SECONDS_MAX) if found else None


async def start_request(request: Request) -> StartRequest:
    """What to start: a whole StartRequest, or plain params; no body means no params."""
    said = _json(await _body(request))
    media_type = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if media_type != START_MEDIA_TYPE:
        said = {"params": said}
    try:
        start = StartRequest.model_validate(said)
    except ValidationError as wrong:
        raise BadRequest("; ".join(f"{_place(one['loc'])}: {one['msg']}" for one in wrong.errors())) from wrong
    if _size(start.params) > PARAMS_BYTES_MAX:
        raise TooLarge(f"params may be {PARAMS_BYTES_MAX} bytes of JSON at most")
    return start


async def unless_gone(request: Request, wait: Coroutine[Any, Any, T]) -> T:
    """What is waited for; CallerGone once the caller hangs up: those who ask again and again leave nothing behind."""
    waiting, listening = asyncio.create_task(wait), asyncio.create_task(_hung_up(request))
    try:
        await asyncio.wait({waiting, listening}, return_when=asyncio.FIRST_COMPLETED)
        if waiting.done():
            return waiting.result()
        raise CallerGone("the caller hung up")
    finally:
        waiting.cancel()
        listening.cancel()


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _body(request: Request) -> bytes:
    """The body, given up on as soon as it is too large: what a header claims about it is not believed."""
    body = b""
    try:
        async with asyncio.timeout(policy.BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > policy.BODY_BYTES_MAX:
                    raise TooLarge(f"a body may be {policy.BODY_BYTES_MAX} bytes at most")
    except TimeoutError as problem:
        raise TooSlow(f"it may take {policy.BODY_SECONDS:.0f} s") from problem
    except ClientDisconnect as problem:
        raise CallerGone("the caller hung up in the middle of its body") from problem
    return body


def _json(body: bytes) -> Any:
    try:
        return from_json(body, allow_inf_nan=False) if body.strip() else {}
    except ValueError as problem:
        raise BadRequest(f"the body is not JSON: {problem}") from problem


def _size(params: Mapping[str, Any]) -> int:
    """In bytes of JSON. 1e999 is JSON, but what it is read as could not be written again."""
    try:
        return len(json.dumps(params, ensure_ascii=False, allow_nan=False).encode("utf-8"))
    except ValueError as problem:
        raise BadRequest(f"params: {problem}") from problem


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(map(str, location)) or "body"
