"""What can be asked of Cloud Run about jobs, in the v2 API."""

import re
from typing import TYPE_CHECKING

from gcp_emulator import policies, run_attempts, run_operations
from gcp_emulator.enum_numbers import named
from gcp_emulator.errors import RpcError
from gcp_emulator.fault_kinds import JobFails
from gcp_emulator.operations import user_of
from gcp_emulator.routes import Answer, Call, Json, Route
from gcp_emulator.run_executions import Execution, State
from gcp_emulator.run_jobs import Job
from gcp_emulator.run_places import PLACE, place_of
from gcp_emulator.run_templates import bad, execution_template, overridden

if TYPE_CHECKING:
    from gcp_emulator.world import World

ID = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
SUFFIX_LETTERS, SUFFIX_LENGTH = "bcdfghjklmnpqrstvwxz2456789", 5


def create(world: "World", call: Call) -> Answer:
    """Make a job."""
    name = f"{place_of(world, call).name}/jobs/{call.query.get('jobId', '')}"
    job = new_job(world, call, name, named(call.document()))
    check_new(world, job)
    return _written(world, call, job)


def patch(world: "World", call: Call) -> Answer:
    """Put another template, labels and annotations in the place of those that are there."""
    given = named(call.document())
    name = f"{place_of(world, call).name}/jobs/{call.params['job']}"
    if name not in world.jobs and call.flag("allowMissing"):
        return _written(world, call, new_job(world, call, name, given))
    return _written(world, call, changed(world, call, find(world, call), given))


def new_job(world: "World", call: Call, name: str, given: Json) -> Job:
    """Read a job from what was sent; it exists only once it is put into the world."""
    account = world.projects[name.split("/")[1]].service_account
    template = execution_template(given.get("template") or {}, account)
    job = Job(name, world.new_uid(), world.now, user_of(call), user_of(call), template)
    _describe(job, given)
    return job


def check_new(world: "World", job: Job) -> None:
    """Refuse a name that is none, or is taken."""
    if not ID.fullmatch(job.id):
        raise bad(f"job_id: must be a lower-case name of at most 63 letters, digits and hyphens, not {job.id!r}")
    if job.name in world.jobs:
        raise RpcError(409, f"Resource '{job.id}' already exists.")


def changed(world: "World", call: Call, job: Job, given: Json) -> Job:
    """Read what is to be in the place of a job."""
    check_etag(job, given.get("etag"))
    new = new_job(world, call, job.name, given)
    new.uid, new.created, new.creator = job.uid, job.created, job.creator
    new.generation, new.updated = job.generation + 1, world.now
    new.executions_made, new.latest = job.executions_made, job.latest
    return new


def _describe(job: Job, given: Json) -> None:
    job.labels = dict(given.get("labels") or {})
    job.annotations = dict(given.get("annotations") or {})
    job.client = {name: given[name] for name in ("client", "clientVersion") if given.get(name)}
    job.launch_stage = given.get("launchStage") or "GA"


def _written(world: "World", call: Call, job: Job) -> Json:
    if call.flag("validateOnly"):
        return run_operations.opened(world, "Job", job, lambda: "").as_json()
    put(world, call, job)
    return run_operations.opened(world, "Job", job, lambda: job.failure if job.settled else None).as_json()


def put(world: "World", call: Call, job: Job) -> None:
    """Let it be there from now on, and be ready a little later; or never, by a fault."""
    fails = world.fault(JobFails, call)
    world.jobs[job.name] = job
    world.changes += 1

    def ready() -> None:
        job.ready, job.failure = fails is None, fails.message if fails else ""
        world.changes += 1

    world.later("run_job", ready)


def get(world: "World", call: Call) -> Answer:
    """Show a job."""
    return find(world, call).as_json()


def list_(world: "World", call: Call) -> Answer:
    """Show the jobs of a place; `-` is every region."""
    project = call.params["project"]
    if call.params["location"] == "-":
        prefixes = tuple(f"projects/{one.id}/" for one in world.projects.values() if project in {one.id, one.number})
    else:
        prefixes = (f"{place_of(world, call).name}/",)
    found = [job.as_json() for name, job in world.jobs.items() if name.startswith(prefixes)]
    return {"jobs": found} if found else {}


def delete(world: "World", call: Call) -> Answer:
    """Take a job away, with all its executions; those that run end."""
    job = find(world, call)
    check_etag(job, call.query.get("etag"))
    operation = run_operations.opened(world, "Job", job, lambda: "")
    if not call.flag("validateOnly"):
        remove(world, job)
    return operation.as_json()


def remove(world: "World", job: Job) -> None:
    """Take it away, and its policy."""
    policies.forget(world, job.name)
    for execution in [one for one in world.executions.values() if one.job == job.name]:
        run_attempts.forget(world, execution)
    del world.jobs[job.name]
    world.changes += 1


def run(world: "World", call: Call) -> Answer:
    """Start an execution. The operation is done when that is over."""
    job, given = find(world, call), call.document()
    check_etag(job, given.get("etag"))
    execution = prepared(world, call, job, given.get("overrides") or {})
    if given.get("validateOnly"):
        return run_operations.opened(world, "Execution", execution, lambda: "").as_json()
    start(world, job, execution)
    return run_operations.opened(world, "Execution", execution, lambda: _failure(execution)).as_json()


def prepared(world: "World", call: Call, job: Job, overrides: Json) -> Execution:
    """Read what one run will be; nothing of it has begun."""
    template = overridden(job.template, overrides)
    suffix = "".join(world.random.choice(SUFFIX_LETTERS) for _ in range(SUFFIX_LENGTH))
    labels, annotations = dict(job.template.get("labels") or {}), dict(job.template.get("annotations") or {})
    name = f"{job.name}/executions/{job.id}-{suffix}"
    return Execution(name, world.new_uid(), world.now, user_of(call), template, labels, annotations)


def start(world: "World", job: Job, execution: Execution) -> None:
    """Let it begin, and be the job's latest."""
    job.executions_made += 1
    run_attempts.begin(world, execution)
    job.latest = execution


def _failure(execution: Execution) -> str | None:
    if not execution.state.over:
        return None
    return "" if execution.state is State.SUCCEEDED else execution.message


def find(world: "World", call: Call) -> Job:
    """Find the job that a request is about."""
    place, identifier = place_of(world, call), call.params["job"]
    if job := world.jobs.get(f"{place.name}/jobs/{identifier}"):
        return job
    raise missing("JOB", identifier, place.region, place.project.id)


def missing(kind: str, identifier: str, region: str, project: str) -> RpcError:
    """Nothing has this name."""
    where = f"in region '{region}' in project '{project}'"
    return RpcError(404, f"Resource '{identifier}' of kind '{kind}' {where} does not exist.")


def check_etag(job: Job, etag: str | None) -> None:
    """Refuse a change of something that is not what its writer has read."""
    if etag and etag != job.etag:
        raise RpcError(409, f"Conflict for resource '{job.id}': version '{etag}' was specified.", "ABORTED")


JOB = f"{PLACE}/jobs/{{job}}"
ROUTES = (
    Route("POST", f"{PLACE}/jobs", "run.jobs.create", create),
    Route("GET", f"{PLACE}/jobs", "run.jobs.list", list_),
    Route("GET", JOB, "run.jobs.get", get),
    Route("PATCH", JOB, "run.jobs.update", patch),
    Route("DELETE", JOB, "run.jobs.delete", delete),
    Route("POST", f"{JOB}:run", "run.jobs.run", run),
)
