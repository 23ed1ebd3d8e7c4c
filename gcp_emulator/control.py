"""/_emulator/*: what tests and the live page ask and tell. Google has nothing of this."""

import json
from typing import TYPE_CHECKING, Any

from gcp_emulator import mishaps
from gcp_emulator.errors import JSON_TYPE, ApiError
from gcp_emulator.fault_grammar import rule_from_json
from gcp_emulator.fault_kinds import Event, Stale
from gcp_emulator.instances import Instance
from gcp_emulator.places import Project
from gcp_emulator.routes import Answer, Call, Json, Route
from gcp_emulator.run_executions import Execution
from gcp_emulator.timing import zulu
from gcp_emulator.wire import Reply

if TYPE_CHECKING:
    from gcp_emulator.world import World

OPERATIONS_SHOWN = 100


def reply_json(document: Any, status: int = 200) -> Reply:
    """Write an answer of the emulator's own."""
    return Reply(status, json.dumps(document).encode(), JSON_TYPE)


def history(world: "World", call: Call) -> Answer:
    """Show everything that happened, or what came after `since`."""
    since = call.query.get("since", "0")
    if not since.isdigit():
        raise ApiError(400, "invalid", "since is the number that `next` gave")
    return world.history.since(int(since))


def state(world: "World", _call: Call) -> Answer:
    """Show what exists now."""
    return {
        "now": world.now.isoformat(),
        "changes": world.changes,
        "projects": [_project(project) for project in world.projects.values()],
        "instances": [_instance(vm) for vm in world.instances.values()],
        "addresses": [address.as_json() for address in world.addresses.values()],
        "operations": [one.as_json() for one in list(world.operations.values())[-OPERATIONS_SHOWN:]],
        "secrets": [{"name": one.name, "versions": len(one.versions)} for one in world.secrets.values()],
        "firewalls": list(world.firewalls),
        "accounts": [account.key for account in world.accounts.values()],
        "roles": [role.as_json() for role in world.roles.values()],
        "policies": {key: policy.as_json() for key, policy in world.policies.items()},
        "repositories": list(world.repositories),
        "images": list(world.images),
        "templates": [template.key for template in world.templates.values()],
        "buckets": {
            bucket.name: {name: len(stored.content) for name, stored in bucket.objects.items()}
            for bucket in world.buckets.values()
        },
        "jobs": list(world.jobs),
        "executions": [_execution(one) for one in list(world.executions.values())[-OPERATIONS_SHOWN:]],
        "schedules": [one.as_json() for one in world.scheduler_jobs.values()],
        "faults": [rule.as_json() for rule in world.faults.rules],
    }


def _execution(execution: Execution) -> Json:
    """Without its template: variables of a container are for who may read the job."""
    return {
        "name": execution.name,
        "state": execution.state,
        "message": execution.message,
        "createTime": zulu(execution.created),
        "completionTime": execution.ended and zulu(execution.ended),
        "tasks": [{"index": task.index, "state": task.state, "attempt": task.attempt} for task in execution.tasks],
    }


def _project(project: Project) -> Json:
    return {"id": project.id, "number": project.number, "metadata": project.metadata, "apis": project.apis}


def _instance(vm: Instance) -> Json:
    return {
        **vm.as_json(),
        "key": vm.key,
        "internal_ip": vm.internal_ip,
        "external_ip": vm.external_ip,
        "guest_up": vm.guest_up,
        "guest_attributes": {f"{space}/{key}": value for (space, key), value in vm.guest_attributes.items()},
        "serial_bytes": vm.serial.end,
    }


def add_faults(world: "World", call: Call) -> Answer:
    """Take in one rule, or a list of them; what is to happen now happens. All are good, or none is taken in."""
    faults = world.faults
    try:
        given = json.loads(call.request.body)
        documents = given if isinstance(given, list) else [given]
        rules = [rule_from_json(faults.next_id(later), one, faults.verbs) for later, one in enumerate(documents)]
    except ValueError as wrong:
        raise ApiError(400, "invalid", str(wrong)) from wrong
    for rule in rules:
        faults.add(rule)
        world.past.kept = world.past.kept or isinstance(rule.fault, Stale)
        if isinstance(rule.fault, Event) and not rule.on:
            mishaps.set_off(world, rule)
    world.past.remember(world)
    return {"faults": [rule.as_json() for rule in rules]}


def show_faults(world: "World", _call: Call) -> Answer:
    """Show the rules, how often each happened, and whether all are spent."""
    rules = world.faults.rules
    return {"faults": [rule.as_json() for rule in rules], "all_spent": all(rule.spent for rule in rules)}


def clear_faults(world: "World", _call: Call) -> Answer:
    """Forget all rules."""
    world.faults.clear()
    return {"faults": []}


ROUTES = (
    Route("GET", "/_emulator/history", "emulator.history", history),
    Route("GET", "/_emulator/state", "emulator.state", state),
    Route("POST", "/_emulator/faults", "emulator.faults.add", add_faults),
    Route("GET", "/_emulator/faults", "emulator.faults.list", show_faults),
    Route("DELETE", "/_emulator/faults", "emulator.faults.clear", clear_faults),
)
