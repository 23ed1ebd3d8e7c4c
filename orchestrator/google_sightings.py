"""From Google's messages to what we have seen."""

import json
from datetime import datetime, timedelta
from math import ceil

from orchestrator.google_library import compute
from orchestrator.lease import read_lease
from orchestrator.seen import AccessConfig, Address, Machine
from vm_agent.protocol import LEASE_ATTRIBUTE


def machine_of(instance: compute.Instance, seen_at: datetime) -> Machine:
    """The VM, as `instances.get` shows it."""
    scheduling = instance.scheduling
    metadata = {item.key: item.value for item in instance.metadata.items}
    nic = instance.network_interfaces[0] if instance.network_interfaces else compute.NetworkInterface()
    return Machine(
        name=instance.name,
        id=str(instance.id),
        status=instance.status,
        metadata_fingerprint=instance.metadata.fingerprint,
        metadata=metadata,
        lease=read_lease(metadata.get(LEASE_ATTRIBUTE)),
        internal_ip=nic.network_i_p,
        access_config=_access_config(nic),
        max_run=timedelta(seconds=scheduling.max_run_duration.seconds) if "max_run_duration" in scheduling else None,
        termination_action=scheduling.instance_termination_action or None,
        automatic_restart=scheduling.automatic_restart,
        last_start=_time(instance.last_start_timestamp),
        last_stop=_time(instance.last_stop_timestamp),
        seen_at=seen_at,
        nic=nic.name or "nic0",
        scheduling=json.loads(compute.Scheduling.to_json(scheduling)),
        labels=dict(instance.labels),
        has_local_ssd=any(disk.type_ == "SCRATCH" for disk in instance.disks),
    )


def address_of(address: compute.Address) -> Address:
    """The reserved address, as `addresses.get` shows it."""
    tier = address.network_tier or "PREMIUM"
    return Address(
        name=address.name,
        ip=address.address,
        users=tuple(address.users),
        network_tier=tier,
        labels=dict(address.labels),
        description=address.description,
        created=_time(address.creation_timestamp),
    )


def armed(scheduling: dict[str, object], limit: timedelta) -> compute.Scheduling:
    """The same scheduling block, with a limit at which Google itself stops the VM for good."""
    block: compute.Scheduling = compute.Scheduling.from_json(json.dumps(scheduling))
    block.max_run_duration = compute.Duration(seconds=ceil(limit.total_seconds()))
    block.instance_termination_action = "STOP"
    block.automatic_restart = False
    if "termination_time" in block:  # an absolute limit excludes a relative one
        del block.termination_time
    return block


def _access_config(nic: compute.NetworkInterface) -> AccessConfig | None:
    if not nic.access_configs:
        return None
    config = nic.access_configs[0]
    return AccessConfig(name=config.name, ip=config.nat_i_p or None)


def _time(text: str) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
