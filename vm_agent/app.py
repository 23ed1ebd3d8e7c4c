"""The agent's HTTP face. Every endpoint is async and blocks on nothing: the app can also run on a virtual clock."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp

from vm_agent import file_routes, run_routes, upload_routes
from vm_agent.agent import Agent
from vm_agent.asking import agent_of, epoch_of
from vm_agent.door import Door
from vm_agent.guard import Bounded, Guard
from vm_agent.problems import BadRequest, Busy, Refused
from vm_agent.protocol import PROBLEM_MEDIA_TYPE, Problem
from vm_agent.replies import problem

log = logging.getLogger(__name__)

router = APIRouter()
PARTS = (router, run_routes.router, file_routes.router, upload_routes.router)


def create_app(agent: Agent) -> ASGIApp:
    """The whole app around this agent, its door included."""
    return behind_the_door(make_face(), agent)


def behind_the_door(face: FastAPI, agent: Agent) -> ASGIApp:
    """That face, as this agent's."""
    face.state.agent, face.version = agent, agent.version
    door = Door(
        Bounded(face),
        credentials=agent.credentials,
        attempts=agent.attempts,
        fence=agent.fence,
        heard=agent.deadman.word,
    )
    return Guard(door, agent.names)


def make_face() -> FastAPI:
    """All paths; `state.agent` is whom they ask."""
    app = FastAPI(
        title="Mayfly agent",
        lifespan=_lifespan,
        openapi_url=None,
        redirect_slashes=False,  # it would send the caller, and its key, to whatever host its request named
        generate_unique_id_function=lambda route: route.name,
    )
    for part in PARTS:
        app.include_router(part)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(RequestValidationError, _misunderstood)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _crashed)
    return app


@asynccontextmanager
async def _lifespan(face: FastAPI) -> AsyncIterator[None]:
    agent: Agent = face.state.agent
    agent.begin()
    try:
        yield
    finally:
        await agent.end()


@router.get("/")
async def health(request: Request) -> Response:
    """Is the agent well? With credentials: who and what it is, and what it is doing."""
    agent = agent_of(request)
    said = await agent.greeting() if request.state.caller else agent.health()
    body = said.model_dump_json(exclude_none=not request.state.caller)  # to anybody: no more than there is to say
    status = 200 if said.status == "ok" else 503
    return Response(body, status, media_type="application/json")


@router.post("/poweroff")
async def power_off(request: Request) -> Response:
    """Turn the machine off. Not under a run inside its deadline, whoever asks: cancel that first."""
    agent = agent_of(request)
    await agent.fence.admit(epoch_of(request))
    if agent.deadman.minds_a_run:
        raise Busy("a run is in progress: cancel it first")
    await agent.turn_off()
    return Response(status_code=202)


async def _refused(_: Request, refused: Exception) -> Response:
    assert isinstance(refused, Refused)  # noqa: S101 - it is registered for nothing else
    return problem(refused)


async def _misunderstood(_: Request, wrong: Exception) -> Response:
    assert isinstance(wrong, RequestValidationError)  # noqa: S101
    return problem(BadRequest("; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in wrong.errors())))


async def _http_error(request: Request, error: Exception) -> Response:
    """No such path, or no such method on it."""
    assert isinstance(error, HTTPException)  # noqa: S101
    if error.status_code == 405:  # noqa: PLR2004
        error.headers = {"Allow": ", ".join(sorted(_methods(request)))}
    code = "not-found" if error.status_code == 404 else "bad-request"  # noqa: PLR2004
    said = Problem(title=error.detail, status=error.status_code, code=code)
    return Response(said.model_dump_json(), error.status_code, error.headers, media_type=PROBLEM_MEDIA_TYPE)


def _methods(request: Request) -> set[str]:
    """All that can be asked of this path. Starlette names those of the first of its routes alone."""
    routes = [route for part in PARTS for route in part.routes if isinstance(route, Route)]
    found = [route.methods or set() for route in routes if route.matches(request.scope)[0] is not Match.NONE]
    return set().union(*found)


async def _crashed(request: Request, _: Exception) -> Response:
    """Our own mistake. Starlette raises it again behind us, and uvicorn logs its traceback."""
    log.error("%s %s failed", request.method, request.url.path)
    said = Problem(title="The agent made a mistake", status=500, detail="its log has the traceback", code="internal")
    return Response(said.model_dump_json(), 500, media_type=PROBLEM_MEDIA_TYPE)
