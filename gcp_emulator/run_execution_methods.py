"""What can be asked of Cloud Run about executions and their tasks, in the v2 API."""

from typing import TYPE_CHECKING

from gcp_emulator import run_attempts, run_operations
from gcp_emulator.errors import RpcError
from gcp_emulator.routes import Answer, Call, Route
from gcp_emulator.run_executions import Execution
from gcp_emulator.run_job_methods import JOB, missing
from gcp_emulator.run_places import place_of

if TYPE_CHECKING:
    from gcp_emulator.world import World


def get(world: "World", call: Call) -> Answer:
    """Show an execution."""
    return _find(world, call).as_json()


def list_(world: "World", call: Call) -> Answer:
    """Show the executions of a job, the latest first; `-` is every job."""
    place, job = place_of(world, call), call.params["job"]
    prefix = f"{place.name}/jobs/" if job == "-" else f"{place.name}/jobs/{job}/"
    found = [one.as_json() for name, one in world.executions.items() if name.startswith(prefix)]
    size = int(call.query.get("pageSize") or 100)
    newest, begin = found[::-1], int(call.query.get("pageToken") or 0)
    page = newest[begin : begin + size]
    more = {"nextPageToken": str(begin + size)} if len(newest) > begin + size else {}
    return ({"executions": page} if page else {}) | more


def cancel(world: "World", call: Call) -> Answer:
    """Tell its tasks to end; the operation is done when they have."""
    execution = _find(world, call)
    if execution.state.over:
        raise RpcError(400, f"Execution '{execution.id}' is already completed.", "FAILED_PRECONDITION")
    if not call.document().get("validateOnly"):
        run_attempts.cancel(world, execution)
    operation = run_operations.opened(
        world, "Execution", execution, lambda: "" if execution.state.over or not execution.cancelling else None
    )
    return operation.as_json()


def delete(world: "World", call: Call) -> Answer:
    """Take an execution away; one that runs ends at once."""
    execution = _find(world, call)
    operation = run_operations.opened(world, "Execution", execution, lambda: "")
    if not call.flag("validateOnly"):
        run_attempts.forget(world, execution)
    return operation.as_json()


def get_task(world: "World", call: Call) -> Answer:
    """Show a task."""
    execution, identifier = _find(world, call), call.params["task"]
    for task in execution.tasks:
        if task.name.rpartition("/")[2] == identifier:
            return execution.task_as_json(task)
    place = place_of(world, call)
    raise missing("TASK", identifier, place.region, place.project.id)


def list_tasks(world: "World", call: Call) -> Answer:
    """Show the tasks of an execution."""
    execution = _find(world, call)
    return {"tasks": [execution.task_as_json(task) for task in execution.tasks]}


def _find(world: "World", call: Call) -> Execution:
    place, identifier = place_of(world, call), call.params["execution"]
    if execution := world.executions.get(f"{place.name}/jobs/{call.params['job']}/executions/{identifier}"):
        return execution
    raise missing("EXECUTION", identifier, place.region, place.project.id)


EXECUTION = f"{JOB}/executions/{{execution}}"
ROUTES = (
    Route("GET", f"{JOB}/executions", "run.executions.list", list_),
    Route("GET", EXECUTION, "run.executions.get", get),
    Route("POST", f"{EXECUTION}:cancel", "run.executions.cancel", cancel),
    Route("DELETE", EXECUTION, "run.executions.delete", delete),
    Route("GET", f"{EXECUTION}/tasks", "run.tasks.list", list_tasks),
    Route("GET", f"{EXECUTION}/tasks/{{task}}", "run.tasks.get", get_task),
)
