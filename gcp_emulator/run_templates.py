"""What a task of Cloud Run is made of: templates with their defaults, and the overrides of one run."""

import copy
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from gcp_emulator.errors import RpcError
from gcp_emulator.routes import Json

TIMEOUT_SECONDS, RETRIES = 600.0, 3  # of each attempt; of each task (discovery document of run.v2)
TIMEOUT_SECONDS_MAX, RETRIES_MAX, TASKS_MAX = 7 * 24 * 3600.0, 10, 10_000
LIMITS = {"cpu": "1000m", "memory": "512Mi"}
DURATION = re.compile(r"(\d+(?:\.\d{1,9})?)s")
# Names that Cloud Run keeps for itself.
RESERVED = re.compile(r"CLOUD_RUN_\w+|X_GOOGLE_\w+|PORT|K_\w+")


def execution_template(given: Json, service_account: str) -> Json:
    """Check an ExecutionTemplate and fill in what Cloud Run fills in. The account is the project's default."""
    template = copy.deepcopy(given)
    task = template["template"] = dict(template.get("template") or {})
    containers = task.get("containers") or []
    if not containers or not containers[0].get("image"):
        raise bad("template.template.containers[0].image: must specify an image")
    for index, container in enumerate(containers):
        resources = container.get("resources") or {}
        container["resources"] = {**resources, "limits": {**LIMITS, **(resources.get("limits") or {})}}
        _check_environment(container.get("env") or [], f"template.template.containers[{index}].env")
    task.setdefault("maxRetries", RETRIES)
    task.setdefault("timeout", f"{TIMEOUT_SECONDS:g}s")
    task["serviceAccount"] = task.get("serviceAccount") or service_account
    task.setdefault("executionEnvironment", "EXECUTION_ENVIRONMENT_GEN2")
    template["taskCount"] = template.get("taskCount") or 1
    template["parallelism"] = template.get("parallelism") or template["taskCount"]
    _check_limits(template)
    return template


def overridden(template: Json, overrides: Mapping[str, Any]) -> Json:
    """Give the template as one run has it: arguments replace, environment variables merge."""
    changed = copy.deepcopy(template)
    task = changed["template"]
    if count := overrides.get("taskCount"):
        changed["taskCount"], changed["parallelism"] = count, min(changed["parallelism"], count)
    if timeout := overrides.get("timeout"):
        task["timeout"] = timeout
    for override in overrides.get("containerOverrides") or []:
        _override(_container_named(task["containers"], override.get("name", "")), override)
    _check_limits(changed)
    return changed


def _container_named(containers: Sequence[Json], name: str) -> Json:
    found = [one for one in containers if one.get("name", "") == name] if name else [containers[0]]
    if not found:
        raise bad(f"overrides.container_overrides[0].name: there is no container {name!r}")
    return found[0]


def _override(container: Json, override: Mapping[str, Any]) -> None:
    if override.get("args") and override.get("clearArgs"):
        raise bad("overrides.container_overrides[0].args: must be empty if clear_args is true")
    if override.get("args") or override.get("clearArgs"):
        container["args"] = list(override.get("args") or [])
    added = override.get("env") or []
    _check_environment(added, "overrides.container_overrides[0].env")
    variables = {one["name"]: one for one in [*(container.get("env") or []), *added]}
    if variables:
        container["env"] = list(variables.values())


def _check_environment(variables: Sequence[Mapping[str, Any]], place: str) -> None:
    for index, variable in enumerate(variables):
        name = variable.get("name", "")
        if not name or RESERVED.fullmatch(name):
            raise bad(f"{place}[{index}].name: the name {name!r} is missing, or reserved for Cloud Run")
        if variable.get("valueSource") and "secret" not in (variable["valueSource"].get("secretKeyRef") or {}):
            raise bad(f"{place}[{index}].value_source.secret_key_ref.secret: must be set")


def _check_limits(template: Json) -> None:
    task = template["template"]
    if not 0 < seconds_of(task["timeout"]) <= TIMEOUT_SECONDS_MAX:
        raise bad(f"template.template.timeout: must be between 1s and {TIMEOUT_SECONDS_MAX:g}s")
    if not 0 <= task["maxRetries"] <= RETRIES_MAX:
        raise bad(f"template.template.max_retries: must be between 0 and {RETRIES_MAX}")
    if not 1 <= template["parallelism"] <= template["taskCount"] <= TASKS_MAX:
        raise bad(f"template.task_count: must be between parallelism, at least 1, and {TASKS_MAX}")


def seconds_of(duration: str) -> float:
    """Read a duration of Google's JSON: `600s`, `3.5s`."""
    match = DURATION.fullmatch(duration)
    if match is None:
        raise bad(f"Illegal duration format; duration must end with 's': {duration!r}")
    return float(match.group(1))


def timeout_of(task: Mapping[str, Any]) -> timedelta:
    """Tell how long an attempt may take."""
    return timedelta(seconds=seconds_of(task["timeout"]))


def bad(message: str) -> RpcError:
    """What Cloud Run says of a body that does not make sense."""
    return RpcError(400, message)
