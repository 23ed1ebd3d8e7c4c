"""The life of an execution: attempts begin, end, are told to end, and are made again.

PENDING -> RUNNING -> SUCCEEDED | FAILED | CANCELLED     a failed attempt with retries left: RUNNING -> PENDING
"""

import base64
import json
from datetime import timedelta
from typing import TYPE_CHECKING

from gcp_emulator.logs import write_line
from gcp_emulator.run_executions import EXITED, TIMED_OUT, Execution, Result, State, Task
from gcp_emulator.tokens import token_of
from gcp_emulator.wire import KillTask, Reply, Request, StartTask, TaskEnded, TaskEvent, TaskOutput, TermTask

if TYPE_CHECKING:
    from gcp_emulator.world import World


def begin(world: "World", execution: Execution) -> None:
    """Let its first tasks start, as many as may run at once."""
    world.executions[execution.name] = execution
    for index in range(execution.template["taskCount"]):
        name = f"{execution.name}/tasks/{execution.id}-task{index}"
        execution.tasks.append(Task(name, index, world.new_uid()))
    for task in execution.tasks[: execution.template["parallelism"]]:
        _due(world, execution, task)


def _due(world: "World", execution: Execution, task: Task) -> None:
    task.due = True
    world.later("task", lambda: _start(world, execution, task))


def _start(world: "World", execution: Execution, task: Task) -> None:
    if task.state is not State.PENDING or execution.name not in world.executions:
        return  # cancelled, or deleted meanwhile
    try:
        environment = _environment(world, execution, task)
    except SecretDenied as denied:
        task.result = Result(str(denied))
        _finish(world, execution, task, State.FAILED)
        return
    task.began = task.began or world.now
    if execution.began is None:
        execution.began = world.now
        _move(world, execution, State.RUNNING)
    task.state, task.timed_out = State.RUNNING, False
    world.effects.append(_order(world, execution, task, environment))
    _written_down(world, execution, task, "started")
    attempt = task.attempt
    world.agenda.put(world.now + execution.timeout, lambda: _time_out(world, execution, task, attempt))


def _order(world: "World", execution: Execution, task: Task, environment: dict[str, str]) -> StartTask:
    container = execution.template["template"]["containers"][0]
    _, project, _, region, *_ = execution.name.split("/")
    return StartTask(
        task=task.name,
        attempt=task.attempt,
        image=container["image"],
        command=tuple(container.get("command") or ()),
        arguments=tuple(container.get("args") or ()),
        environment=environment,
        project=project,
        project_number=world.projects[project].number,
        region=region,
        service_account=execution.template["template"]["serviceAccount"],
    )


class SecretDenied(Exception):
    """A secret that the task's environment is made of cannot be read. The text is Cloud Run's."""


def _environment(world: "World", execution: Execution, task: Task) -> dict[str, str]:
    variables = {
        variable["name"]: _secret(world, execution, variable["valueSource"]["secretKeyRef"])
        if variable.get("valueSource")
        else variable.get("value", "")
        for variable in execution.template["template"]["containers"][0].get("env") or []
    }
    return variables | {
        "CLOUD_RUN_JOB": execution.job.rpartition("/")[2],
        "CLOUD_RUN_EXECUTION": execution.id,
        "CLOUD_RUN_TASK_INDEX": str(task.index),
        "CLOUD_RUN_TASK_ATTEMPT": str(task.attempt),
        "CLOUD_RUN_TASK_COUNT": str(execution.template["taskCount"]),
    }


def _secret(world: "World", execution: Execution, wanted: dict[str, str]) -> str:
    """Read it as the job's service account may."""
    account = execution.template["template"]["serviceAccount"]
    secret = wanted["secret"] if "/" in wanted["secret"] else f"{_project(execution)}/secrets/{wanted['secret']}"
    version = f"{secret}/versions/{wanted.get('version') or 'latest'}"
    request = Request("GET", f"/v1/{version}:access", headers={"authorization": f"Bearer {token_of(account)}"})
    reply = world.ask(request)
    if not isinstance(reply, Reply) or reply.status != 200:  # noqa: PLR2004
        raise SecretDenied(
            f"Permission denied on secret: {version} for Revision service account {account}. The service account used "
            "must be granted the 'Secret Manager Secret Accessor' role (roles/secretmanager.secretAccessor) at the "
            "secret, project or higher level."
        )
    return base64.b64decode(json.loads(reply.body)["payload"]["data"]).decode(errors="surrogateescape")


def _project(execution: Execution) -> str:
    return "/".join(execution.name.split("/")[:2])


# --- how attempts end --------------------------------------------------------------------------------------------


def _time_out(world: "World", execution: Execution, task: Task, attempt: int) -> None:
    if task.state is State.RUNNING and task.attempt == attempt and not task.timed_out:
        task.timed_out = True
        _written_down(world, execution, task, "timeout")
        _end(world, task)


def _end(world: "World", task: Task) -> None:
    """SIGTERM, and SIGKILL after the grace."""
    attempt = task.attempt
    world.effects.append(TermTask(task.name, attempt))

    def kill() -> None:
        if task.state is State.RUNNING and task.attempt == attempt:
            world.effects.append(KillTask(task.name, attempt))

    world.agenda.put(world.now + timedelta(seconds=world.knobs.task_grace_seconds), kill)


def cancel(world: "World", execution: Execution, *, at_once: bool = False) -> None:
    """End it: what waits never starts, and what runs is told so, or killed."""
    if execution.state.over or execution.cancelling:
        return
    execution.cancelling = True
    world.changes += 1
    for task in execution.tasks:
        if task.state is State.PENDING:
            task.state, task.ended = State.CANCELLED, world.now
        elif task.state is State.RUNNING and (at_once or world.knobs.cancelled_task == "kill"):
            world.effects.append(KillTask(task.name, task.attempt))
        elif task.state is State.RUNNING:
            _end(world, task)
    _conclude(world, execution)


def forget(world: "World", execution: Execution) -> None:
    """Take it away; what runs of it ends at once, and is not heard of again."""
    cancel(world, execution, at_once=True)
    del world.executions[execution.name]
    world.moved(f"executions/{execution.id}", execution.state.value, "DELETED")


def task_says(world: "World", name: str, event: TaskEvent) -> None:
    """Take in what an attempt printed, or how it ended. What comes too late changes nothing."""
    execution = world.executions.get(name.rpartition("/tasks/")[0])
    task = next((one for one in execution.tasks if one.name == name), None) if execution else None
    if execution is None or task is None or task.state is not State.RUNNING or task.attempt != event.attempt:
        return
    match event:
        case TaskOutput(stream=stream, data=data):
            *lines, task.partial[stream] = (task.partial.get(stream, b"") + data).split(b"\n")
            for line in lines:
                write_line(world, execution, task, stream, line)
        case TaskEnded():
            _ended(world, execution, task, event)


def _ended(world: "World", execution: Execution, task: Task, event: TaskEnded) -> None:
    for stream, line in task.partial.items():
        if line:
            write_line(world, execution, task, stream, line)
    task.partial.clear()
    task.result = _result(task, event)
    if execution.cancelling:
        _finish(world, execution, task, State.CANCELLED)
    elif not task.result.why:
        _finish(world, execution, task, State.SUCCEEDED)
    elif task.attempt < execution.template["template"]["maxRetries"]:
        _written_down(world, execution, task, "failed")
        task.state, task.attempt = State.PENDING, task.attempt + 1
        _due(world, execution, task)
    else:
        _finish(world, execution, task, State.FAILED)


def _result(task: Task, event: TaskEnded) -> Result:
    if event.failure:
        return Result(event.failure)
    if task.timed_out:
        return Result(TIMED_OUT, event.exit_code, event.signal)
    return Result("" if event.exit_code == 0 else EXITED, event.exit_code, event.signal)


def _finish(world: "World", execution: Execution, task: Task, state: State) -> None:
    task.state, task.ended = state, world.now
    _written_down(world, execution, task, state.lower())
    busy = sum(one.due and not one.state.over for one in execution.tasks)
    waiting = [one for one in execution.tasks if not one.due and not one.state.over]
    for other in waiting[: execution.template["parallelism"] - busy]:
        _due(world, execution, other)
    _conclude(world, execution)


def _conclude(world: "World", execution: Execution) -> None:
    if any(not task.state.over for task in execution.tasks) or execution.state.over:
        return
    execution.ended = world.now
    states = {task.state for task in execution.tasks}
    if execution.cancelling:
        _move(world, execution, State.CANCELLED)
    else:
        _move(world, execution, State.FAILED if State.FAILED in states else State.SUCCEEDED)


def _move(world: "World", execution: Execution, state: State) -> None:
    before, execution.state = execution.state, state
    world.moved(f"executions/{execution.id}", before.value, state.value)


def _written_down(world: "World", execution: Execution, task: Task, event: str) -> None:
    world.changes += 1
    result = None if event in {"started", "timeout"} else task.result
    facts = {"exit_code": result.exit_code, "signal": result.signal} if result else {}
    resource = f"executions/{execution.id}/tasks/{task.index}"
    world.history.add(world.now, "task", resource=resource, attempt=task.attempt, event=event, **facts)
