"""What a VM's metadata server knows: a tree of names. Dicts and lists are directories, tuples values of many lines."""

from typing import TYPE_CHECKING, Any

from gcp_emulator.guest_attributes import enabled
from gcp_emulator.instance_body import SCOPES
from gcp_emulator.instances import Instance

if TYPE_CHECKING:
    from gcp_emulator.world import World

Tree = dict[str, Any]


class Attributes(dict[str, Any]):
    """A directory whose names are the user's own: shown as they are, never in camelCase."""


def tree(world: "World", vm: Instance) -> Tree:
    """Build what is below /computeMetadata/v1/."""
    project = world.projects[vm.project]
    return {
        "instance": _instance(world, vm, project.number),
        "project": {
            "attributes": Attributes(project.metadata),
            "numeric-project-id": int(project.number),
            "project-id": project.id,
        },
        "universe": {"universe-domain": "googleapis.com"},
    }


def _instance(world: "World", vm: Instance, number: str) -> Tree:
    spot = vm.scheduling["provisioningModel"] == "SPOT"
    document: Tree = {
        "attributes": Attributes(vm.metadata),
        "cpu-platform": "Intel Broadwell",
        "description": "",
        "disks": [
            {"device-name": vm.name, "index": 0, "interface": "SCSI", "mode": "READ_WRITE", "type": "PERSISTENT"}
        ],
        "hostname": f"{vm.name}.{vm.zone}.c.{vm.project}.internal",
        "id": int(vm.id),
        "image": f"projects/{vm.project}/global/images/mayfly",
        "licenses": [],
        "machine-type": f"projects/{number}/machineTypes/{vm.machine_type}",
        "maintenance-event": "NONE",
        "name": vm.name,
        "network-interfaces": [_nic0(vm, number)],
        "preempted": str(vm.preempted).upper(),
        "remaining-cpu-time": -1,
        "scheduling": {
            "automatic-restart": str(vm.scheduling["automaticRestart"]).upper(),
            "on-host-maintenance": vm.scheduling["onHostMaintenance"],
            "preemptible": str(spot or vm.scheduling["preemptible"]).upper(),
        },
        "service-accounts": _service_accounts(vm),
        "tags": vm.tags,
        "zone": f"projects/{number}/zones/{vm.zone}",
    }
    if enabled(world, vm):
        document["guest-attributes"] = _guest_attributes(vm)
    return document


def _guest_attributes(vm: Instance) -> Tree:
    spaces = Attributes()
    for (space, key), value in vm.guest_attributes.items():
        spaces.setdefault(space, Attributes())[key] = value
    return spaces


def _nic0(vm: Instance, number: str) -> Tree:
    nic: Tree = {
        "access-configs": [],
        "dns-servers": ("169.254.169.254",),
        "forwarded-ips": [],
        "gateway": vm.internal_ip.rsplit(".", 1)[0] + ".1",
        "ip": vm.internal_ip,
        "ip-aliases": [],
        "mac": "42:01:" + ":".join(f"{int(part):02x}" for part in vm.internal_ip.split(".")),
        "mtu": 1460,
        "network": f"projects/{number}/networks/default",
        "subnetmask": "255.255.255.0",
        "target-instance-ips": [],
    }
    if vm.access_config:
        nic["access-configs"] = [{"external-ip": vm.access_config.nat_ip or "", "type": "ONE_TO_ONE_NAT"}]
    return nic


def _service_accounts(vm: Instance) -> Tree:
    if not vm.service_account:
        return Attributes()
    account: Tree = {"aliases": ("default",), "email": vm.service_account, "scopes": SCOPES}
    return Attributes({"default": account, vm.service_account: account})
