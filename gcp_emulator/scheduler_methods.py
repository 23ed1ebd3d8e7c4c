"""What can be asked of Cloud Scheduler."""

import copy
import re
from typing import TYPE_CHECKING

from gcp_emulator.cron import BadScheduleError, next_tick
from gcp_emulator.enum_numbers import named
from gcp_emulator.errors import RpcError
from gcp_emulator.routes import Answer, Call, Json, Route
from gcp_emulator.run_places import place_of
from gcp_emulator.run_templates import seconds_of
from gcp_emulator.scheduler_jobs import (
    AGENT,
    DEADLINE,
    DEADLINE_SECONDS,
    ENABLED,
    PAUSED,
    RETRIES_MAX,
    RETRY,
    SCOPE,
    SchedulerJob,
)
from gcp_emulator.scheduler_ticks import plan, tick

if TYPE_CHECKING:
    from gcp_emulator.world import World

ID = re.compile(r"[A-Za-z0-9_-]{1,500}")
WITH_BODY = ("POST", "PUT", "PATCH")
# What a mask of `patch` may name: by the first word of the path, in the form of the JSON.
FIELDS = ("description", "schedule", "timeZone", "httpTarget", "retryConfig", "attemptDeadline")


def create(world: "World", call: Call) -> Answer:
    """Make a job; it is enabled."""
    place, given = place_of(world, call), named(call.document())
    name = given.get("name") or f"{place.name}/jobs/{world.new_id()}"
    prefix = f"{place.name}/jobs/"
    if not name.startswith(prefix) or not ID.fullmatch(name.removeprefix(prefix)):
        raise RpcError(400, f'Job name must be formatted: "{prefix}<job_id>", not {name!r}')
    if name in world.scheduler_jobs:
        raise RpcError(409, f"Job {name} already exists.")
    job = _read(world, name, given)
    world.scheduler_jobs[name] = job
    return _planned(world, job)


def patch(world: "World", call: Call) -> Answer:
    """Change what the mask names, or all that is given."""
    job, given = _find(world, call), named(call.document())
    mask = call.query.get("updateMask") or ",".join(name for name in FIELDS if name in given)
    document = {name: value for name, value in job.as_json().items() if name in FIELDS}
    for path in [_camel(one).split(".") for one in mask.split(",") if one]:
        if path[0] not in FIELDS:
            raise RpcError(400, f"update_mask: {path[0]} cannot be changed")
        document = _with(document, given, path)
    new = _read(world, job.name, document)
    job.schedule, job.time_zone, job.target, job.retry = new.schedule, new.time_zone, new.target, new.retry
    job.attempt_deadline, job.description, job.updated = new.attempt_deadline, new.description, world.now
    return _planned(world, job)


def _with(document: Json, given: Json, path: list[str]) -> Json:
    """Give the document with what the path names taken from what is given; what that does not have is taken away."""
    first, *rest = path
    value = given.get(first)
    if rest:
        value = _with(document.get(first) or {}, value or {}, rest)
    others = {name: kept for name, kept in document.items() if name != first}
    return others if value is None else {**others, first: value}


def _camel(path: str) -> str:
    return re.sub(r"_([a-z])", lambda letter: letter.group(1).upper(), path)


def _read(world: "World", name: str, given: Json) -> SchedulerJob:
    if "httpTarget" not in given:
        raise RpcError(400, "Job target must be set (the emulator knows only http_target).")
    retry = RETRY | (given.get("retryConfig") or {})
    if not 0 <= retry.get("retryCount", 0) <= RETRIES_MAX:
        raise RpcError(400, f"retry_config.retry_count: must be between 0 and {RETRIES_MAX}")
    for field in ("minBackoffDuration", "maxBackoffDuration", "maxRetryDuration"):
        seconds_of(retry[field])
    deadline = given.get("attemptDeadline") or DEADLINE
    least, most = DEADLINE_SECONDS
    if not least <= seconds_of(deadline) <= most:
        raise RpcError(400, f"attempt_deadline: must be between {least:g}s and {most:g}s")
    job = SchedulerJob(
        name=name,
        schedule=given.get("schedule") or "",
        time_zone=given.get("timeZone") or "UTC",
        target=_target(given["httpTarget"]),
        updated=world.now,
        retry=retry,
        attempt_deadline=deadline,
        description=given.get("description") or "",
    )
    _check(world, job)
    return job


def _target(given: Json) -> Json:
    target = copy.deepcopy(given)
    if not str(target.get("uri", "")).startswith(("https://", "http://")):
        raise RpcError(400, "http_target.uri: must begin with https:// or http://")
    target["httpMethod"] = target.get("httpMethod") or "POST"
    if target.get("body") and target["httpMethod"] not in WITH_BODY:
        raise RpcError(400, f"http_target.body: not allowed with {target['httpMethod']}")
    if target.get("oauthToken") and target.get("oidcToken"):
        raise RpcError(400, "http_target: only one of oauth_token and oidc_token may be set")
    if target.get("oauthToken"):
        target["oauthToken"].setdefault("scope", SCOPE)
    target["headers"] = {"User-Agent": AGENT, **(target.get("headers") or {})}
    if target.get("body"):
        target["headers"].setdefault("Content-Type", "application/octet-stream")
    return target


def _check(world: "World", job: SchedulerJob) -> None:
    """Refuse a schedule that is none, before anything is changed."""
    try:
        next_tick(job.schedule, job.time_zone, world.now)
    except BadScheduleError as wrong:
        raise RpcError(400, str(wrong)) from wrong


def _planned(world: "World", job: SchedulerJob) -> Json:
    plan(world, job)
    world.changes += 1
    return job.as_json()


def get(world: "World", call: Call) -> Answer:
    """Show a job."""
    return _find(world, call).as_json()


def list_(world: "World", call: Call) -> Answer:
    """Show the jobs of a place."""
    prefix = f"{place_of(world, call).name}/"
    found = [job.as_json() for name, job in world.scheduler_jobs.items() if name.startswith(prefix)]
    return {"jobs": found} if found else {}


def delete(world: "World", call: Call) -> Answer:
    """Take a job away. What it has called runs on."""
    del world.scheduler_jobs[_find(world, call).name]
    world.changes += 1
    return {}


def pause(world: "World", call: Call) -> Answer:
    """Let it be due no more."""
    job = _find(world, call)
    if job.state != ENABLED:
        raise RpcError(400, "Job is not in a state that can be paused.", "FAILED_PRECONDITION")
    job.state = PAUSED
    return _planned(world, job)


def resume(world: "World", call: Call) -> Answer:
    """Let it be due again, from now on."""
    job = _find(world, call)
    if job.state != PAUSED:
        raise RpcError(400, "Job is not in a state that can be resumed.", "FAILED_PRECONDITION")
    job.state = ENABLED
    return _planned(world, job)


def run(world: "World", call: Call) -> Answer:
    """Call its target once the request is answered, paused or not."""
    job = _find(world, call)
    world.agenda.put(world.now, lambda: tick(world, job))
    return job.as_json()


def _find(world: "World", call: Call) -> SchedulerJob:
    name = f"{place_of(world, call).name}/jobs/{call.params['job']}"
    if job := world.scheduler_jobs.get(name):
        return job
    raise RpcError(404, f"Job {name} not found.")


JOBS = "/v1/projects/{project}/locations/{location}/jobs"
JOB = f"{JOBS}/{{job}}"
ROUTES = (
    Route("POST", JOBS, "cloudscheduler.jobs.create", create),
    Route("GET", JOBS, "cloudscheduler.jobs.list", list_),
    Route("GET", JOB, "cloudscheduler.jobs.get", get),
    Route("PATCH", JOB, "cloudscheduler.jobs.update", patch),
    Route("DELETE", JOB, "cloudscheduler.jobs.delete", delete),
    Route("POST", f"{JOB}:pause", "cloudscheduler.jobs.pause", pause),
    Route("POST", f"{JOB}:resume", "cloudscheduler.jobs.enable", resume),
    Route("POST", f"{JOB}:run", "cloudscheduler.jobs.run", run),
)
