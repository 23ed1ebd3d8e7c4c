"""How much of everything a project may have: what is looked at before money is spent. Nothing here is enforced by it;
a VM that is one too many is a fault to inject.
"""

from typing import TYPE_CHECKING

from gcp_emulator.routes import Json

if TYPE_CHECKING:
    from gcp_emulator.world import World

IN_A_REGION = {
    "CPUS": 24.0,
    "INSTANCES": 24.0,
    "IN_USE_ADDRESSES": 8.0,
    "STATIC_ADDRESSES": 8.0,
    **{f"{spot}NVIDIA_{gpu}_GPUS": 1.0 for spot in ("", "PREEMPTIBLE_") for gpu in ("T4", "L4", "V100", "A100")},
}
OVER_ALL = {"GPUS_ALL_REGIONS": 1.0, "STATIC_ADDRESSES": 8.0}


def regional(world: "World", project: str, region: str) -> list[Json]:
    """List the limits of a region and what is used of them; the seed's own come first."""
    used = _used(world, project, region)
    limits = IN_A_REGION | {name: one for name, one in world.projects[project].quotas.items() if name in IN_A_REGION}
    return [{"metric": name, "limit": limit, "usage": used.get(name, 0.0)} for name, limit in limits.items()]


def everywhere(world: "World", project: str) -> list[Json]:
    """List the project's limits that hold over all regions."""
    gpus = sum(1.0 for vm in world.instances.values() if vm.project == project and vm.gpu and vm.status != "TERMINATED")
    given = world.projects[project].quotas
    limits = OVER_ALL | {name: one for name, one in given.items() if name in OVER_ALL}
    used = {"GPUS_ALL_REGIONS": gpus}
    return [{"metric": name, "limit": limit, "usage": used.get(name, 0.0)} for name, limit in limits.items()]


def _used(world: "World", project: str, region: str) -> dict[str, float]:
    used: dict[str, float] = {}
    for vm in world.instances.values():
        if vm.project == project and world.region_of(vm.zone) == region:
            used["INSTANCES"] = used.get("INSTANCES", 0.0) + 1
            if vm.gpu and vm.status != "TERMINATED":
                spot = "PREEMPTIBLE_" if vm.scheduling.get("provisioningModel") == "SPOT" else ""
                metric = f"{spot}NVIDIA_{vm.gpu.rpartition('-')[2].upper()}_GPUS"
                used[metric] = used.get(metric, 0.0) + 1
    mine = [one for one in world.addresses.values() if (one.project, one.region) == (project, region)]
    return {**used, "STATIC_ADDRESSES": float(len(mine)), "IN_USE_ADDRESSES": float(sum(1 for one in mine if one.user))}
