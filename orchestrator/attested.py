"""What Google has signed about an instance, next to the VM that we know."""

from collections.abc import Mapping
from typing import Any

from orchestrator.seen import Machine


def difference(claims: Mapping[str, Any], project: str, zone: str, machine: Machine) -> str:
    """In what the instance of these claims is another than `machine`, for a person to read; "" if it is that one.

    The number counts: a name may have been given to another VM since, and an IP may lead there.
    """
    google = claims.get("google")
    told = google.get("compute_engine") if isinstance(google, Mapping) else None
    if not isinstance(told, Mapping):
        return "Google says of no instance that it is theirs"
    said = {name: str(told.get(name, "")) for name in ("project_id", "project_number", "zone", "instance_id")}
    if project not in {said["project_id"], said["project_number"]} or said["zone"] != zone:
        return f"it is an instance of zone {said['zone']} of project {said['project_id']}"
    if said["instance_id"] != machine.id:
        return f"it is instance {said['instance_id']}, and {machine.name} is instance {machine.id}"
    return ""
