"""How the API shows an instance."""

from typing import TYPE_CHECKING, Any

from gcp_emulator.fingerprints import fingerprint
from gcp_emulator.links import link
from gcp_emulator.routes import Json
from gcp_emulator.timing import timestamp

if TYPE_CHECKING:
    from gcp_emulator.instances import Instance

SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)


def instance_as_json(vm: "Instance") -> Json:
    """Write the whole resource."""
    zone = f"projects/{vm.project}/zones/{vm.zone}"
    document: Json = {
        "kind": "compute#instance",
        "id": vm.id,
        "creationTimestamp": timestamp(vm.created),
        "name": vm.name,
        "description": vm.description,
        "tags": {"fingerprint": fingerprint(vm.tags), **({"items": list(vm.tags)} if vm.tags else {})},
        "machineType": link(f"{zone}/machineTypes/{vm.machine_type}"),
        "status": vm.status,
        "zone": link(zone),
        "canIpForward": False,
        "networkInterfaces": [_nic0(vm)],
        "disks": _disks(vm),
        "metadata": metadata_as_json(vm.metadata),
        "selfLink": link(vm.key),
        "scheduling": vm.scheduling,
        "cpuPlatform": "Intel Broadwell" if vm.status in {"RUNNING", "STOPPING"} else "Unknown CPU Platform",
        "labelFingerprint": fingerprint(vm.labels),
        "startRestricted": False,
        "deletionProtection": vm.deletion_protection,
        "reservationAffinity": {"consumeReservationType": "ANY_RESERVATION"},
        "shieldedInstanceConfig": {"enableSecureBoot": False, "enableVtpm": True, "enableIntegrityMonitoring": True},
        "shieldedInstanceIntegrityPolicy": {"updateAutoLearnPolicy": True},
        "fingerprint": fingerprint({**vm.labels, **vm.metadata, "status": vm.status}),
        "lastStartTimestamp": timestamp(vm.last_start or vm.created),
        "resourceStatus": _resource_status(vm),
    }
    if vm.labels:
        document["labels"] = vm.labels
    if vm.service_account:
        document["serviceAccounts"] = [{"email": vm.service_account, "scopes": list(SCOPES)}]
    if vm.last_stop:
        document["lastStopTimestamp"] = timestamp(vm.last_stop)
    if vm.gpu:
        accelerator = link(f"{zone}/acceleratorTypes/{vm.gpu}")
        document["guestAccelerators"] = [{"acceleratorType": accelerator, "acceleratorCount": 1}]
    return document


def metadata_as_json(metadata: dict[str, str]) -> Json:
    """Write metadata, with its fingerprint, as instances and projects show it."""
    document: Json = {"kind": "compute#metadata", "fingerprint": fingerprint(metadata)}
    if metadata:
        document["items"] = [{"key": key, "value": value} for key, value in metadata.items()]
    return document


def _nic0(vm: "Instance") -> Json:
    nic: Json = {
        "kind": "compute#networkInterface",
        "network": link(f"projects/{vm.project}/global/networks/default"),
        "subnetwork": link(f"projects/{vm.project}/regions/{vm.zone.rsplit('-', 1)[0]}/subnetworks/default"),
        "networkIP": vm.internal_ip,
        "name": "nic0",
        "fingerprint": fingerprint([vm.internal_ip, vm.external_ip or "", str(vm.access_config)]),
        "stackType": "IPV4_ONLY",
    }
    if config := vm.access_config:
        shown: dict[str, Any] = {
            "kind": "compute#accessConfig",
            "type": "ONE_TO_ONE_NAT",
            "name": config.name,
            "networkTier": config.network_tier,
        }
        if config.nat_ip:
            shown["natIP"] = config.nat_ip
        nic["accessConfigs"] = [shown]
    return nic


def _disks(vm: "Instance") -> list[Json]:
    boot: Json = {
        "kind": "compute#attachedDisk",
        "type": "PERSISTENT",
        "mode": "READ_WRITE",
        "source": link(f"projects/{vm.project}/zones/{vm.zone}/disks/{vm.name}"),
        "deviceName": vm.name,
        "index": 0,
        "boot": True,
        "autoDelete": vm.disk_auto_delete,
        "interface": "SCSI",
        "diskSizeGb": str(vm.disk_gb),
        "architecture": "X86_64",
    }
    if not vm.local_ssd:
        return [boot]
    scratch: Json = {
        "kind": "compute#attachedDisk",
        "type": "SCRATCH",
        "mode": "READ_WRITE",
        "deviceName": "local-ssd-0",
        "index": 1,
        "boot": False,
        "autoDelete": True,
        "interface": "NVME",
        "diskSizeGb": "375",
    }
    return [boot, scratch]


def _resource_status(vm: "Instance") -> Json:
    scheduling: Json = {}
    if vm.termination:
        scheduling["terminationTimestamp"] = timestamp(vm.termination)
    return {"scheduling": scheduling, "effectiveInstanceMetadata": {}}
