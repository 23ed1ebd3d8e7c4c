"""What Cloud Scheduler does by itself: a job is due, its target is called, and called again if that failed.

The call is a request of the job's service account, inside this cloud: what it may, the account's permissions decide.
"""

import base64
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from gcp_emulator import discovery
from gcp_emulator.cron import next_tick
from gcp_emulator.errors import ApiError, RpcError
from gcp_emulator.fault_kinds import TickTwice
from gcp_emulator.routes import Call
from gcp_emulator.run_templates import seconds_of
from gcp_emulator.scheduler_jobs import ENABLED, SchedulerJob
from gcp_emulator.timing import zulu
from gcp_emulator.tokens import token_of
from gcp_emulator.wire import Held, Lost, Reply, Request

if TYPE_CHECKING:
    from gcp_emulator.world import World

TICK = "cloudscheduler.tick"  # the verb by which fault rules name the moment at which a job is due
UNAVAILABLE, UNAUTHENTICATED, DEADLINE_EXCEEDED = 14, 16, 4
# google.rpc.Code by HTTP status
CODES = {400: 3, 401: 16, 403: 7, 404: 5, 409: 10, 412: 9, 429: 8, 500: 13, 501: 12, 503: 14, 504: 4}
UNKNOWN, MULTIPLE_CHOICES = 2, 300
INSIDE = (".googleapis.com",)  # hosts of this cloud
HERE = ("localhost", "127.0.0.1")


def plan(world: "World", job: SchedulerJob) -> None:
    """Find out when it is due next, and let that happen; what was planned before is void."""
    job.turn += 1
    job.next_tick = next_tick(job.schedule, job.time_zone, world.now) if job.state == ENABLED else None
    turn = job.turn
    if job.next_tick:
        world.agenda.put(job.next_tick, lambda: _due(world, job, turn))


def _due(world: "World", job: SchedulerJob, turn: int) -> None:
    if job.turn != turn or world.scheduler_jobs.get(job.name) is not job:
        return
    plan(world, job)
    if job.busy:  # never two calls of one job at a time
        _written_down(world, job, "skipped")
        return
    tick(world, job)


def tick(world: "World", job: SchedulerJob) -> None:
    """Call the target, now. A fault makes that two calls: delivery is at least once."""
    scheduled = world.now
    request = Request("POST", f"/v1/{job.name}")
    twice = world.fault(TickTwice, Call(request, TICK, {}, world.now))
    _attempt(world, job, Tick(scheduled))
    if twice:
        world.agenda.put(world.now + timedelta(seconds=twice.after), lambda: _attempt(world, job, Tick(scheduled)))


@dataclass(frozen=True, slots=True)
class Tick:
    """One call for one moment of the schedule."""

    scheduled: datetime
    attempt: int = 0

    @property
    def again(self) -> "Tick":
        """The next attempt of it."""
        return Tick(self.scheduled, self.attempt + 1)


def _attempt(world: "World", job: SchedulerJob, now: Tick) -> None:
    if world.scheduler_jobs.get(job.name) is not job:
        return  # it was deleted meanwhile
    job.last_attempt, job.next_retry, job.busy = world.now, None, True
    try:
        request = _request(job, now.scheduled)
        _await(world, job, now, request, world.now + job.deadline)
    except RpcError as refused:
        _answered(world, job, now, refused.reply())


def _await(world: "World", job: SchedulerJob, now: Tick, request: Request, deadline: datetime) -> None:
    """Ask; a request that is held is asked again when its time has come, but not past the deadline."""
    reply = world.ask(request)
    if isinstance(reply, Held) and world.now < deadline:
        world.agenda.put(min(reply.until, deadline), lambda: _await(world, job, now, request, deadline))
    else:
        _answered(world, job, now, reply)


def _request(job: SchedulerJob, scheduled: datetime) -> Request:
    """The call, as the target's front end lets it in. Raises RpcError where it would not."""
    target, uri = job.target, urlsplit(job.target["uri"])
    if not (uri.hostname or "").endswith(INSIDE) and uri.hostname not in HERE:
        raise RpcError(503, f"{uri.hostname} is outside of this cloud, where the emulator sends nothing")
    email = (target.get("oauthToken") or {}).get("serviceAccountEmail")
    if not email:
        raise RpcError(401, "Request is missing required authentication credential. Expected OAuth 2 access token.")
    headers = {name.lower(): value for name, value in target["headers"].items()} | {
        "host": uri.netloc,  # of Cloud Run's v1 API it names the region
        "authorization": f"Bearer {token_of(email)}",
        "x-cloudscheduler": "true",
        "x-cloudscheduler-jobname": job.id,
        "x-cloudscheduler-scheduletime": zulu(scheduled),
    }
    body = base64.b64decode(target.get("body", ""))
    request = Request(target["httpMethod"], uri.path, dict(parse_qsl(uri.query)), headers, body)
    method = discovery.method_of(request.method, request.path)
    if method is None:
        raise RpcError(404, f"The requested URL {uri.path} was not found on this server.")
    try:
        discovery.check_request(request, method)
    except ApiError as error:
        raise RpcError(error.status, error.message) from error
    return request


def _answered(world: "World", job: SchedulerJob, now: Tick, reply: Reply | Held | Lost) -> None:
    job.busy, job.status = False, _status(reply)
    _written_down(world, job, "called", attempt=now.attempt, scheduled=zulu(now.scheduled), **job.status)
    if not job.status or world.scheduler_jobs.get(job.name) is not job or not _may_try_again(world, job, now.again):
        return
    job.busy, job.next_retry = True, world.now + job.backoff(now.again.attempt)
    world.agenda.put(job.next_retry, lambda: _attempt(world, job, now.again))


def _may_try_again(world: "World", job: SchedulerJob, again: Tick) -> bool:
    """With both limits given, a call is made again until both are reached."""
    count, span = int(job.retry.get("retryCount", 0)), seconds_of(job.retry["maxRetryDuration"])
    return again.attempt <= count or (span > 0 and (world.now - again.scheduled).total_seconds() < span)


def _status(reply: Reply | Held | Lost) -> dict[str, object]:
    if isinstance(reply, Held):
        return {"code": DEADLINE_EXCEEDED, "message": "The target has not answered in time."}
    if isinstance(reply, Lost):
        return {"code": UNAVAILABLE, "message": "The target has ended the connection without an answer."}
    if reply.status < MULTIPLE_CHOICES:
        return {}
    return {"code": CODES.get(reply.status, UNKNOWN), "message": _message(reply)}


def _message(reply: Reply) -> str:
    try:
        return str(json.loads(reply.body)["error"]["message"])
    except (ValueError, KeyError):
        return f"HTTP {reply.status}"


def _written_down(world: "World", job: SchedulerJob, event: str, **facts: object) -> None:
    world.changes += 1
    world.history.add(world.now, "tick", resource=f"schedules/{job.id}", event=event, **facts)
