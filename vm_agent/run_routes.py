"""Runs over HTTP: start, look, wait, cancel."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import JSONResponse, Response

from vm_agent.asking import agent_of, epoch_of, key_of, preferred_wait, start_request, unless_gone
from vm_agent.protocol import WAIT_SECONDS_MAX, Mode, RunList, RunView, StartRequest, State
from vm_agent.replies import reply

router = APIRouter()

Wait = Annotated[float, Query(ge=0, le=WAIT_SECONDS_MAX)]


@router.post("/run")
async def start_run(request: Request) -> Response:
    """Start the job for real."""
    return await _start(request, Mode.RUN)


@router.post("/test")
async def start_test(request: Request) -> Response:
    """Rehearse the job."""
    return await _start(request, Mode.TEST)


@router.get("/run")
async def run_plainly(request: Request) -> Response:
    """Start the job for real and wait for its end, however long it takes: the plain form for `curl`."""
    return await _start_plainly(request, Mode.RUN)


@router.get("/test")
async def test_plainly(request: Request) -> Response:
    """Rehearse the job and wait for its end: the plain form for `curl`."""
    return await _start_plainly(request, Mode.TEST)


@router.get("/runs")
async def list_runs(request: Request, key: str | None = None) -> Response:
    """The last runs, newest first."""
    return reply(RunList(runs=agent_of(request).runs.newest(key)))


@router.get("/runs/{run_id}")
async def show_run(request: Request, run_id: str, wait: Wait = 0, seen: int | None = None) -> Response:
    """One run: as soon as its version differs from `seen`, or once it is finished, or when the wait is over."""

    def news(view: RunView) -> bool:
        return seen is not None and view.version != seen

    return reply(await unless_gone(request, agent_of(request).runs.until(news, run_id, wait)))


@router.post("/runs/{run_id}/cancel")
async def cancel_run(request: Request, run_id: str) -> Response:
    """Begin to end a run. Fine if it has finished."""
    agent = agent_of(request)
    agent.runs.view(run_id)
    await agent.fence.admit(epoch_of(request))
    return reply(agent.runs.cancel(run_id), 202)


async def _start(request: Request, mode: Mode) -> Response:
    view = await _accepted(request, mode, await start_request(request))
    headers = {"Location": f"/runs/{view.id}"}
    if (seconds := preferred_wait(request)) is not None:
        waiting = agent_of(request).runs.until(lambda run: run.state.finished, view.id, seconds)
        view = await unless_gone(request, waiting)
        headers["Preference-Applied"] = f"wait={seconds}"
    return reply(view, 200 if view.state.finished else 202, headers)


async def _start_plainly(request: Request, mode: Mode) -> Response:
    started = await _accepted(request, mode, StartRequest())
    view = await unless_gone(request, agent_of(request).runs.finished(started.id))
    headers = {"Content-Location": f"/runs/{view.id}"}
    if view.state is State.SUCCEEDED:
        return JSONResponse({"status": "ok", "result": view.result}, headers=headers)
    detail = view.failure.detail if view.failure else view.state
    return JSONResponse({"status": "error", "detail": detail}, 500, headers)


async def _accepted(request: Request, mode: Mode, start: StartRequest) -> RunView:
    agent, key = agent_of(request), key_of(request)
    agent.must_be_ready()
    if start.egress_ip and not (key and agent.runs.begun(mode, start, key)):
        await unless_gone(request, agent.must_go_out_by(start.egress_ip))
    await agent.fence.admit(epoch_of(request))
    return agent.runs.start(mode, start, key or agent.runs.new_id())
