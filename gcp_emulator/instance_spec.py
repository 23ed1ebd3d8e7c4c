"""From the body of an insert, a template under it or not, to an instance: what Compute Engine asks of it.

What is not read here (shielded VMs, reservations, resource policies, further disks...) is taken and has no effect.
"""

import re
from typing import TYPE_CHECKING, Any

from gcp_emulator.errors import ApiError, invalid, missing
from gcp_emulator.instances import Instance, labels_from, metadata_from
from gcp_emulator.links import last
from gcp_emulator.routes import Json
from gcp_emulator.scheduling import scheduling_from

if TYPE_CHECKING:
    from gcp_emulator.places import Project
    from gcp_emulator.world import World

NAME = re.compile(r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?\Z")
DISK_GB = 10  # of an image, where the body says nothing


def merged(template: Any, body: Any) -> Any:
    """What the body says in place of the template: a JSON merge patch (RFC 7396), so a list replaces a whole list."""
    if not isinstance(body, dict):
        return body
    under = template if isinstance(template, dict) else {}
    over = {name: merged(under.get(name), value) for name, value in body.items() if value is not None}
    return {name: value for name, value in {**under, **over}.items() if body.get(name, "") is not None}


def checked_name(document: Json) -> str:
    """Give the name that a new resource can have."""
    name = document.get("name")
    if not name:
        raise missing("resource.name")
    if not isinstance(name, str) or not NAME.match(name):
        raise invalid("resource.name", name, "Must be a match of regex '(?:[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?)'")
    return name


def instance_from(world: "World", project: "Project", zone: str, document: Json) -> Instance:
    """Make the instance that a complete body describes; it has no address yet and is nowhere registered."""
    check_properties(document, "resource")
    gpu = _gpu(document)
    boot = document["disks"][0]
    return Instance(
        project=project.id,
        zone=zone,
        name=checked_name(document),
        id=world.new_id(),
        created=world.now,
        internal_ip=_internal_ip(world),
        service_account=_service_account(project, document),
        scheduling=scheduling_from(document.get("scheduling") or {}, has_gpu=gpu is not None),
        machine_type=last(document["machineType"]),
        gpu=gpu,
        local_ssd=any(disk.get("type") == "SCRATCH" for disk in document["disks"]),
        description=document.get("description", ""),
        disk_gb=int((boot.get("initializeParams") or {}).get("diskSizeGb") or boot.get("diskSizeGb") or DISK_GB),
        disk_auto_delete=boot.get("autoDelete", False),
        deletion_protection=document.get("deletionProtection", False),
        tags=tuple((document.get("tags") or {}).get("items") or ()),
        metadata=metadata_from((document.get("metadata") or {}).get("items") or []),
        labels=labels_from(document.get("labels") or {}),
        status="",
    )


def check_properties(document: Json, place: str) -> None:
    """Refuse what no instance can be made from. `place` is how Compute Engine calls the document."""
    if not document.get("machineType"):
        raise missing(f"{place}.machineType")
    disks = document.get("disks") or []
    if not disks:
        raise invalid(f"{place}.disks", "", "No disks are specified.")
    if not disks[0].get("boot"):
        raise invalid(f"{place}.disks", "", "Boot disk must be the first disk attached to the instance.")
    if disks[0].get("source"):
        why = "This emulator makes boot disks from images; it attaches none that exists."
        raise invalid(f"{place}.disks[0].source", disks[0]["source"], why)
    nics = document.get("networkInterfaces") or []
    if not nics:
        raise invalid(f"{place}.networkInterfaces", "", "At least one network interface is required.")
    if len(nics) > 1:
        raise invalid(f"{place}.networkInterfaces", len(nics), "This emulator has one network.")
    if len(nics[0].get("accessConfigs") or []) > 1:
        raise invalid(f"{place}.networkInterfaces[0].accessConfigs", "", "Multiple access configs are not supported.")


def check_machine_type(body: Json, zone: str) -> None:
    """A bare name will do in a template; an instance wants a URL, and one of its own zone."""
    url = body.get("machineType")
    if url is None:
        return
    if "/machineTypes/" not in f"/{url}":
        raise invalid("resource.machineType", url, "The URL is malformed.")
    if "/zones/" in f"/{url}" and f"/zones/{zone}/" not in f"/{url}":
        raise invalid("resource.machineType", url, f"It is not in zone '{zone}'.")


def _gpu(document: Json) -> str | None:
    accelerators = document.get("guestAccelerators") or []
    return last(accelerators[0]["acceleratorType"]) if accelerators else None


def _service_account(project: "Project", document: Json) -> str:
    """Without one in the body there is none: gcloud is who adds the project's default."""
    accounts = document.get("serviceAccounts") or []
    email = accounts[0].get("email", "default") if accounts else ""
    return project.service_account if email == "default" else str(email)


def _internal_ip(world: "World") -> str:
    ip = world.network.next_internal({vm.internal_ip for vm in world.instances.values()})
    if ip is None:
        raise ApiError(403, "quotaExceeded", "Quota 'INSTANCES' exceeded.  Limit: 126.0 in this emulator.")
    return ip
