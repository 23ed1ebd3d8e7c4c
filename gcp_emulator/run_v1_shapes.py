"""Jobs, executions and tasks in the shapes of the v1 API, which gcloud speaks: those of Kubernetes and Knative."""

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from gcp_emulator.routes import Json
from gcp_emulator.run_executions import CONDITIONS, Execution, State, Task
from gcp_emulator.run_jobs import Job
from gcp_emulator.run_templates import seconds_of
from gcp_emulator.timing import zulu

if TYPE_CHECKING:
    from gcp_emulator.world import World

VERSION = "run.googleapis.com/v1"
LOCATION, JOB_LABEL, EXECUTION_LABEL = (
    "cloud.googleapis.com/location",
    "run.googleapis.com/job",
    "run.googleapis.com/execution",
)
ENVIRONMENTS = {"gen1": "EXECUTION_ENVIRONMENT_GEN1", "gen2": "EXECUTION_ENVIRONMENT_GEN2"}
ENVIRONMENT = "run.googleapis.com/execution-environment"
CLIENT = {"run.googleapis.com/client-name": "client", "run.googleapis.com/client-version": "clientVersion"}
CREATOR, UPDATED = "run.googleapis.com/creator", "run.googleapis.com/lastUpdatedTime"
OURS = ("run.googleapis.com/", "cloud.googleapis.com/", "serving.knative.dev/")  # fields of their own in v2
REASONS = {"NON_ZERO_EXIT_CODE": "NonZeroExitCode", "CANCELLED": "Cancelled"}
STATUS = {"CONDITION_SUCCEEDED": "True", "CONDITION_FAILED": "False"}


# --- what is shown -----------------------------------------------------------------------------------------------


def job_as_v1(world: "World", job: Job) -> Json:
    """Show a job."""
    annotations = {CREATOR: job.creator, "run.googleapis.com/lastModifier": job.modifier}
    annotations |= {name: job.client[field] for name, field in CLIENT.items() if field in job.client}
    metadata = _metadata(world, job.name, "jobs", job.uid, job.created)
    metadata["generation"] = job.generation
    metadata["resourceVersion"] = job.etag.strip('"')
    metadata["labels"] |= {UPDATED: zulu(job.changed_at), **job.labels}
    metadata["annotations"] = {**annotations, **job.annotations}
    ready = "False" if job.failure else "True" if job.ready else "Unknown"
    condition = {"type": "Ready", "status": ready, "lastTransitionTime": zulu(job.changed_at)}
    status: Json = {
        "observedGeneration": job.generation if job.settled else job.generation - 1,
        "conditions": [condition | ({"message": job.failure} if job.failure else {})],
        **({"executionCount": job.executions_made} if job.executions_made else {}),
    }
    if job.latest:
        reference = job.latest.reference()
        names = {"createTime": "creationTimestamp", "completionTime": "completionTimestamp"}
        status["latestCreatedExecution"] = {names.get(name, name): value for name, value in reference.items()}
    return _thing("Job", metadata, {"template": _template_as_v1(job.template)}, status)


def execution_as_v1(world: "World", execution: Execution) -> Json:
    """Show an execution."""
    metadata = _metadata(world, execution.name, "executions", execution.uid, execution.created)
    metadata["labels"] |= {JOB_LABEL: execution.job.rpartition("/")[2], **execution.labels}
    metadata["annotations"] = {CREATOR: execution.creator, **execution.annotations}
    reached = "True" if execution.began else "Unknown"
    at = execution.began or execution.created
    status = {
        "observedGeneration": 1,
        "conditions": [
            _completed(execution.state, execution.changed_at(), execution.message),
            *({"type": kind, "status": reached, "lastTransitionTime": zulu(at)} for kind in STAGES),
        ],
        **_given(
            startTime=execution.began and zulu(execution.began),
            completionTime=execution.ended and zulu(execution.ended),
            runningCount=execution.count(State.RUNNING),
            succeededCount=execution.count(State.SUCCEEDED),
            failedCount=execution.count(State.FAILED),
            cancelledCount=execution.count(State.CANCELLED),
            retriedCount=execution.retried,
        ),
        "logUri": execution.as_json()["logUri"],
    }
    return _thing("Execution", metadata, _template_as_v1(execution.template)["spec"], status)


STAGES = ("ResourcesAvailable", "Started", "ContainerReady")


def task_as_v1(world: "World", execution: Execution, task: Task) -> Json:
    """Show a task."""
    metadata = _metadata(world, task.name, "tasks", task.uid, execution.created)
    job = execution.job.rpartition("/")[2]
    metadata["labels"] |= {JOB_LABEL: job, EXECUTION_LABEL: execution.id}
    status = {
        "observedGeneration": 1,
        "index": task.index,
        "conditions": [
            _completed(
                task.state,
                task.ended or task.began or execution.created,
                task.result.why if task.result else "",
            )
        ],
        **_given(
            startTime=task.began and zulu(task.began),
            completionTime=task.ended and zulu(task.ended),
            retried=task.attempt,
            lastAttemptResult=task.result and task.result.as_json(),
        ),
    }
    return _thing("Task", metadata, _task_as_v1(execution.template["template"]), status)


def _thing(kind: str, metadata: Json, spec: Json, status: Json) -> Json:
    return {"apiVersion": VERSION, "kind": kind, "metadata": metadata, "spec": spec, "status": status}


def _metadata(world: "World", name: str, kind: str, uid: str, created: datetime) -> Json:
    _, project, _, region, *_, identifier = name.split("/")
    number = world.projects[project].number
    return {
        "name": identifier,
        "namespace": number,
        "selfLink": f"/apis/{VERSION}/namespaces/{number}/{kind}/{identifier}",
        "uid": uid,
        "resourceVersion": uid[:8],
        "generation": 1,
        "creationTimestamp": zulu(created),
        "labels": {LOCATION: region},
    }


def _completed(state: State, at: datetime, message: str) -> Json:
    condition, reason = CONDITIONS[state]
    words = _given(message=message, reason=REASONS.get(reason or ""))
    return {"type": "Completed", "status": STATUS.get(condition, "Unknown"), "lastTransitionTime": zulu(at), **words}


def _template_as_v1(template: Json) -> Json:
    environment = template["template"]["executionEnvironment"].rpartition("_")[2].lower()
    return {
        "metadata": {
            "annotations": {ENVIRONMENT: environment, **(template.get("annotations") or {})},
            **_given(labels=template.get("labels")),
        },
        "spec": {
            "parallelism": template["parallelism"],
            "taskCount": template["taskCount"],
            "template": {"spec": _task_as_v1(template["template"])},
        },
    }


def _task_as_v1(task: Json) -> Json:
    return {
        "containers": [_container_as_v1(container) for container in task["containers"]],
        "maxRetries": task["maxRetries"],
        "timeoutSeconds": f"{seconds_of(task['timeout']):.0f}",
        "serviceAccountName": task["serviceAccount"],
    }


def _container_as_v1(container: Json) -> Json:
    limits = (container.get("resources") or {}).get("limits") or {}
    shown = {name: container[name] for name in SAME_IN_CONTAINERS if container.get(name)}
    env = [_variable_as_v1(variable) for variable in container.get("env") or []]
    return {**shown, **_given(env=env), "resources": {"limits": limits}}


SAME_IN_CONTAINERS = ("name", "image", "command", "args", "workingDir")


def _variable_as_v1(variable: Json) -> Json:
    if not variable.get("valueSource"):
        return {name: variable[name] for name in ("name", "value") if name in variable}
    secret = variable["valueSource"]["secretKeyRef"]
    reference = {"name": secret["secret"].rpartition("/")[2], "key": secret.get("version") or "latest"}
    return {"name": variable["name"], "valueFrom": {"secretKeyRef": reference}}


def _given(**fields: object) -> Json:
    return {name: value for name, value in fields.items() if value}


# --- what is written ---------------------------------------------------------------------------------------------


def job_from_v1(given: Mapping[str, Any]) -> Json:
    """Read a job as the v2 API would have it."""
    metadata = given.get("metadata") or {}
    annotations = metadata.get("annotations") or {}
    client = {field: annotations[name] for name, field in CLIENT.items() if name in annotations}
    template = (given.get("spec") or {}).get("template") or {}
    return {
        "template": _template_from_v1(template),
        "labels": _without_ours(metadata.get("labels")),
        "annotations": _without_ours(annotations),
        **client,
    }


def _template_from_v1(template: Mapping[str, Any]) -> Json:
    metadata, spec = template.get("metadata") or {}, template.get("spec") or {}
    task = dict((spec.get("template") or {}).get("spec") or {})
    environment = ENVIRONMENTS.get((metadata.get("annotations") or {}).get(ENVIRONMENT, ""))
    return {
        **{name: spec[name] for name in ("parallelism", "taskCount") if spec.get(name)},
        "labels": _without_ours(metadata.get("labels")),
        "annotations": _without_ours(metadata.get("annotations")),
        "template": {
            "containers": [container_from_v1(container) for container in task.get("containers") or []],
            **({"maxRetries": task["maxRetries"]} if task.get("maxRetries") is not None else {}),
            **({"timeout": f"{task['timeoutSeconds']}s"} if task.get("timeoutSeconds") else {}),
            **_given(serviceAccount=task.get("serviceAccountName"), executionEnvironment=environment),
        },
    }


def overrides_from_v1(given: Mapping[str, Any]) -> Json:
    """Read the overrides of one run as the v2 API would have them."""
    containers = [container_from_v1(one) for one in given.get("containerOverrides") or []]
    timeout = given.get("timeoutSeconds")
    counts = _given(taskCount=given.get("taskCount"), timeout=f"{timeout}s" if timeout else "")
    return {"containerOverrides": containers, **counts}


def container_from_v1(container: Mapping[str, Any]) -> Json:
    """Read a container, or what overrides one."""
    same = {name: container[name] for name in (*SAME_IN_CONTAINERS, "clearArgs") if container.get(name)}
    env = [_variable_from_v1(variable) for variable in container.get("env") or []]
    limits = (container.get("resources") or {}).get("limits")
    return {**same, **_given(env=env, resources=limits and {"limits": limits})}


def _variable_from_v1(variable: Mapping[str, Any]) -> Json:
    if not variable.get("valueFrom"):
        return {name: variable[name] for name in ("name", "value") if name in variable}
    secret = variable["valueFrom"].get("secretKeyRef") or {}
    reference = {"secret": secret.get("name", ""), "version": secret.get("key", "latest")}
    return {"name": variable.get("name", ""), "valueSource": {"secretKeyRef": reference}}


def _without_ours(given: Mapping[str, str] | None) -> dict[str, str]:
    return {name: value for name, value in (given or {}).items() if not name.startswith(OURS)}
