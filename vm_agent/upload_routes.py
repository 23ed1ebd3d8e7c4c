"""Uploads over HTTP, in parts: a front end may bound the size of one request (Cloud Run: 32 MiB)."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from vm_agent import policy
from vm_agent.asking import agent_of
from vm_agent.problems import CallerGone, TooSlow
from vm_agent.replies import reply

router = APIRouter()

Digest = Annotated[str, Path(pattern="^[0-9a-f]{64}$")]
Bytes = Annotated[int, Query(ge=0, lt=1 << 60)]


@router.get("/files/{digest}")
async def show_upload(request: Request, digest: Digest) -> Response:
    """How much of that file is here."""
    return reply(agent_of(request).runs.uploads.find(digest))


@router.put("/files/{digest}")
async def upload(request: Request, digest: Digest, size: Bytes, offset: Bytes = 0) -> Response:
    """The bytes from `offset` on, of a file that has `size` in all."""
    uploads = agent_of(request).runs.uploads
    return reply(await uploads.append(digest, total=size, offset=offset, pieces=_pieces(request)))


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    stream = request.stream()
    try:
        while True:
            async with asyncio.timeout(policy.BODY_SECONDS):
                piece = await anext(stream, None)
            if piece is None:
                return
            yield piece
    except TimeoutError as problem:
        raise TooSlow(f"nothing came for {policy.BODY_SECONDS:.0f} s") from problem
    except ClientDisconnect as problem:
        raise CallerGone("the caller hung up in the middle of its file") from problem
