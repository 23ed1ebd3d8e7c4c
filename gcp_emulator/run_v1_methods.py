"""What gcloud asks of Cloud Run: the namespaces of the v1 API, each region at a host of its own.

A request at `us-central1-run.googleapis.com` is about us-central1; at the host without a region a list is of them all.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from gcp_emulator import run_attempts
from gcp_emulator.errors import RpcError
from gcp_emulator.places import Project
from gcp_emulator.routes import Answer, Call, Json, Route
from gcp_emulator.run_executions import Execution
from gcp_emulator.run_job_methods import changed, check_new, missing, new_job, prepared, put, remove, start
from gcp_emulator.run_jobs import Job
from gcp_emulator.run_v1_shapes import (
    LOCATION,
    VERSION,
    execution_as_v1,
    job_as_v1,
    job_from_v1,
    overrides_from_v1,
    task_as_v1,
)

if TYPE_CHECKING:
    from gcp_emulator.world import World

DONE = {"status": "Success"}


# --- jobs --------------------------------------------------------------------------------------------------------


def create_job(world: "World", call: Call) -> Answer:
    """Make a job."""
    given = call.document()
    identifier = (given.get("metadata") or {}).get("name", "")
    job = new_job(world, call, f"{_place(world, call)}/jobs/{identifier}", job_from_v1(given))
    check_new(world, job)
    if not call.query.get("dryRun"):
        put(world, call, job)
    return job_as_v1(world, job)


def replace_job(world: "World", call: Call) -> Answer:
    """Put another job in its place."""
    job = changed(world, call, _job(world, call), job_from_v1(call.document()))
    if not call.query.get("dryRun"):
        put(world, call, job)
    return job_as_v1(world, job)


def get_job(world: "World", call: Call) -> Answer:
    """Show a job."""
    return job_as_v1(world, _job(world, call))


def list_jobs(world: "World", call: Call) -> Answer:
    """Show the jobs of a region, or of all."""
    shown = (job_as_v1(world, job) for job in world.jobs.values() if _is_here(world, call, job.name))
    return _listed(call, "JobList", shown)


def delete_job(world: "World", call: Call) -> Answer:
    """Take a job away, with its executions."""
    remove(world, _job(world, call))
    return DONE


def run_job(world: "World", call: Call) -> Answer:
    """Start an execution."""
    job = _job(world, call)
    execution = prepared(world, call, job, overrides_from_v1(call.document().get("overrides") or {}))
    start(world, job, execution)
    return execution_as_v1(world, execution)


# --- executions and tasks ----------------------------------------------------------------------------------------


def get_execution(world: "World", call: Call) -> Answer:
    """Show an execution."""
    return execution_as_v1(world, _execution(world, call))


def list_executions(world: "World", call: Call) -> Answer:
    """Show executions, the latest first."""
    here = [one for one in world.executions.values() if _is_here(world, call, one.name)]
    return _listed(call, "ExecutionList", (execution_as_v1(world, one) for one in reversed(here)))


def cancel_execution(world: "World", call: Call) -> Answer:
    """Tell its tasks to end."""
    execution = _execution(world, call)
    if execution.state.over:
        raise RpcError(400, f"Execution '{execution.id}' is already completed.", "FAILED_PRECONDITION")
    run_attempts.cancel(world, execution)
    return execution_as_v1(world, execution)


def delete_execution(world: "World", call: Call) -> Answer:
    """Take an execution away."""
    run_attempts.forget(world, _execution(world, call))
    return DONE


def list_tasks(world: "World", call: Call) -> Answer:
    """Show tasks."""
    here = [one for one in world.executions.values() if _is_here(world, call, one.name)]
    return _listed(call, "TaskList", (task_as_v1(world, one, task) for one in here for task in one.tasks))


def get_task(world: "World", call: Call) -> Answer:
    """Show a task."""
    for execution in world.executions.values():
        for task in execution.tasks:
            if task.name.endswith(f"/{call.params['task']}") and _is_here(world, call, task.name):
                return task_as_v1(world, execution, task)
    raise _missing(world, call, "TASK", call.params["task"])


# --- finding -----------------------------------------------------------------------------------------------------


def _project(world: "World", call: Call) -> Project:
    wanted = call.params["namespace"]
    for project in world.projects.values():
        if wanted in {project.id, project.number}:
            return project
    raise RpcError(403, f"Permission denied on resource project {wanted}.")


def _region(world: "World", call: Call) -> str | None:
    host = call.request.headers.get("host", "")
    return next((region for region in world.regions if host.startswith(f"{region}-")), None)


def _place(world: "World", call: Call) -> str:
    region = _region(world, call)
    if region is None:
        host = call.request.headers.get("host", "")
        raise RpcError(400, f"{host} is of no region: this needs a host such as us-central1-run.googleapis.com")
    return f"projects/{_project(world, call).id}/locations/{region}"


def _is_here(world: "World", call: Call, name: str) -> bool:
    region, project = _region(world, call), _project(world, call).id
    prefix = f"projects/{project}/locations/{region}/" if region else f"projects/{project}/"
    return name.startswith(prefix)


def _job(world: "World", call: Call) -> Job:
    identifier = call.params["job"]
    if job := world.jobs.get(f"{_place(world, call)}/jobs/{identifier}"):
        return job
    raise _missing(world, call, "JOB", identifier)


def _execution(world: "World", call: Call) -> Execution:
    place, identifier = _place(world, call), call.params["execution"]
    for execution in world.executions.values():
        if execution.id == identifier and execution.name.startswith(f"{place}/"):
            return execution
    raise _missing(world, call, "EXECUTION", identifier)


def _missing(world: "World", call: Call, kind: str, identifier: str) -> RpcError:
    return missing(kind, identifier, _region(world, call) or "-", _project(world, call).id)


def _listed(call: Call, kind: str, items: Iterable[Json]) -> Json:
    """Give a page of those that the label selector lets through."""
    wanted = [term.partition("=") for term in call.query.get("labelSelector", "").split(",") if term]
    labels = {name.strip(): value.strip("= ") for name, _, value in wanted}
    chosen = [item for item in items if labels.items() <= item["metadata"]["labels"].items()]
    begin, limit = int(call.query.get("continue") or 0), int(call.query.get("limit") or 0) or len(chosen)
    rest = {"continue": str(begin + limit)} if begin + limit < len(chosen) else {}
    page = chosen[begin : begin + limit]
    return {"apiVersion": VERSION, "kind": kind, "metadata": rest, **({"items": page} if page else {})}


def list_locations(world: "World", call: Call) -> Answer:
    """Show the regions."""
    project = call.params["project"]
    return {
        "locations": [
            {"name": f"projects/{project}/locations/{region}", "locationId": region, "labels": {LOCATION: region}}
            for region in world.regions
        ]
    }


NAMESPACE = f"/apis/{VERSION}/namespaces/{{namespace}}"
JOB, EXECUTION = f"{NAMESPACE}/jobs/{{job}}", f"{NAMESPACE}/executions/{{execution}}"
ROUTES = (
    Route("POST", f"{NAMESPACE}/jobs", "run.jobs.create", create_job),
    Route("GET", f"{NAMESPACE}/jobs", "run.jobs.list", list_jobs),
    Route("GET", JOB, "run.jobs.get", get_job),
    Route("PUT", JOB, "run.jobs.update", replace_job),
    Route("DELETE", JOB, "run.jobs.delete", delete_job),
    Route("POST", f"{JOB}:run", "run.jobs.run", run_job),
    Route("GET", f"{NAMESPACE}/executions", "run.executions.list", list_executions),
    Route("GET", EXECUTION, "run.executions.get", get_execution),
    Route("POST", f"{EXECUTION}:cancel", "run.executions.cancel", cancel_execution),
    Route("DELETE", EXECUTION, "run.executions.delete", delete_execution),
    Route("GET", f"{NAMESPACE}/tasks", "run.tasks.list", list_tasks),
    Route("GET", f"{NAMESPACE}/tasks/{{task}}", "run.tasks.get", get_task),
    Route("GET", "/v1/projects/{project}/locations", "run.locations.list", list_locations),
)
