"""What a run wrote, over HTTP: its log by offset or as events, and its artifacts with range requests."""

import json
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any, BinaryIO

from fastapi import APIRouter, Query, Request
from starlette.convertors import PathConvertor, register_url_convertor
from starlette.datastructures import Headers
from starlette.responses import Response, StreamingResponse

from vm_agent import artifacts, output, policy
from vm_agent.asking import agent_of, unless_gone
from vm_agent.problems import BadRange, NotFound
from vm_agent.protocol import LOG_COMPLETE_HEADER, LOG_NEXT_HEADER, Artifact, ArtifactList, RunView
from vm_agent.replies import reply
from vm_agent.run_routes import Wait
from vm_agent.runs import Runs


class _AnyPath(PathConvertor):
    """Starlette's own takes no newline, which a file's name may have."""

    regex = "(?s:.*)"


register_url_convertor("anything", _AnyPath())
router = APIRouter()

EVENTS = "text/event-stream"
BINARY = "application/octet-stream"  # never what a job claims it to be: a browser must not run it
_ONE_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


@router.get("/runs/{run_id}/logs")
async def show_log(request: Request, run_id: str, offset: Annotated[int, Query(ge=0)] = 0, wait: Wait = 0) -> Response:
    """The log from a byte offset: as soon as there is more, or the run has ended, or the wait is over."""
    runs = agent_of(request).runs
    log = runs.folder_of(runs.view(run_id).id) / "log"
    if EVENTS in request.headers.get("Accept", ""):
        start = _resumed(request.headers.get("Last-Event-ID"), offset)
        return StreamingResponse(_events(runs, run_id, log, start), media_type=EVENTS)
    view = await unless_gone(request, runs.until(lambda run: run.log_bytes > offset, run_id, wait))
    chunk = output.read(log, offset, policy.LOG_REPLY_BYTES_MAX)
    after = offset + len(chunk)
    complete = view.state.finished and after >= view.log_bytes
    headers = {LOG_NEXT_HEADER: str(after), LOG_COMPLETE_HEADER: str(complete).lower()}
    return Response(chunk, headers=headers, media_type=BINARY)


@router.get("/runs/{run_id}/artifacts")
async def list_artifacts(request: Request, run_id: str) -> Response:
    """The files of a run, by path; with their hashes once it is finished."""
    runs = agent_of(request).runs
    view = runs.view(run_id)
    return reply(ArtifactList(artifacts=[Artifact(**one) for one in _listed(runs.folder_of(view.id), view)]))


@router.get("/runs/{run_id}/artifacts/{path:anything}")
async def show_artifact(request: Request, run_id: str, path: str) -> Response:
    """One file, or the part of it that `Range` asks for."""
    runs = agent_of(request).runs
    view = runs.view(run_id)
    try:
        file = os.fdopen(artifacts.open_inside(runs.folder_of(view.id) / "artifacts", path), "rb")
    except FileNotFoundError:
        raise NotFound(f"run {run_id} has no artifact {path!r}") from None
    size = os.fstat(file.fileno()).st_size
    try:
        part = _part(request.headers, size)
    except BadRange:
        file.close()
        raise
    first, last = part or (0, size - 1)
    headers = {"Accept-Ranges": "bytes", "Content-Length": str(last - first + 1)}
    if part:
        headers["Content-Range"] = f"bytes {first}-{last}/{size}"
    return StreamingResponse(_bytes(file, first, last - first + 1), 206 if part else 200, headers, media_type=BINARY)


def _part(headers: Headers, size: int) -> tuple[int, int] | None:
    """First and last byte of the one range asked for; None for the whole file (also when the range makes no sense)."""
    asked = _ONE_RANGE.fullmatch(headers.get("Range", "").strip())
    if not asked or "If-Range" in headers:  # we give no validator, so none can match
        return None
    first, last = asked.groups()
    if not first:
        if not last:
            return None
        start, end = max(0, size - int(last)), size - 1
    else:
        start, end = int(first), min(int(last), size - 1) if last else size - 1
        if last and int(last) < start:
            return None
    if start > end:
        raise BadRange(size)
    return start, end


async def _bytes(file: BinaryIO, first: int, count: int) -> AsyncIterator[bytes]:
    with file:
        file.seek(first)
        while count > 0 and (chunk := file.read(min(policy.CHUNK_BYTES, count))):
            count -= len(chunk)
            yield chunk


def _listed(folder: Path, view: RunView) -> list[dict[str, Any]]:
    """What the keeper counted at the end, or what is there now."""
    counted = folder / "artifacts.json"
    if view.state.finished and counted.exists():
        return list(json.loads(counted.read_bytes()))
    return artifacts.inventory(folder / "artifacts", hashed=False)


def _resumed(last_event_id: str | None, offset: int) -> int:
    """Where a client that lost its stream goes on."""
    return int(last_event_id) if last_event_id and re.fullmatch("[0-9]{1,18}", last_event_id) else offset


def _events(runs: Runs, run_id: str, log: Path, offset: int) -> AsyncIterator[str]:
    async def more(read: int) -> bool | None:
        view = await runs.until(lambda run: run.log_bytes > read, run_id, None)
        return view.log_bytes > read or (False if view.state.finished else None)

    return output.events(log, offset, more)
