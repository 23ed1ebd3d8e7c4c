"""What VMs can be made of: machine types and GPUs."""

import re
from hashlib import sha256
from typing import TYPE_CHECKING

from gcp_emulator import listing
from gcp_emulator.errors import not_found
from gcp_emulator.links import link, zone_key
from gcp_emulator.places import BEGINNING
from gcp_emulator.routes import ZONE, Answer, Call, Json, Route

if TYPE_CHECKING:
    from gcp_emulator.world import World

GPUS = {"nvidia-tesla-t4": "NVIDIA T4", "nvidia-l4": "NVIDIA L4", "nvidia-tesla-v100": "NVIDIA V100"}
CARDS = 4
SHARED_CORES = {"e2-micro": (2, 1024), "e2-small": (2, 2048), "e2-medium": (2, 4096)}
SERIES = re.compile(r"(?P<series>[a-z]\d[a-z]?)-(?P<kind>standard|highmem|highcpu|highgpu)-(?P<cpus>\d+)g?\Z")
MB_PER_CPU = {"standard": 4096, "highmem": 8192, "highcpu": 1024, "highgpu": 7168}


def _gpu(project: str, zone: str, name: str) -> Json:
    key = f"{zone_key(project, zone)}/acceleratorTypes/{name}"
    return {
        "kind": "compute#acceleratorType",
        "id": _id(key),
        "creationTimestamp": BEGINNING,
        "name": name,
        "description": GPUS[name],
        "zone": link(zone_key(project, zone)),
        "maximumCardsPerInstance": CARDS,
        "selfLink": link(key),
    }


def _machine_type(project: str, zone: str, name: str) -> Json:
    key = f"{zone_key(project, zone)}/machineTypes/{name}"
    size = SHARED_CORES.get(name)
    if size is None:
        match = SERIES.match(name)
        if match is None:
            raise not_found(key)
        size = int(match["cpus"]), int(match["cpus"]) * MB_PER_CPU[match["kind"]]
    cpus, memory = size
    return {
        "kind": "compute#machineType",
        "id": _id(key),
        "creationTimestamp": BEGINNING,
        "name": name,
        "description": f"{cpus} vCPUs, {memory / 1024:g} GB RAM",
        "guestCpus": cpus,
        "memoryMb": memory,
        "maximumPersistentDisks": 128,
        "maximumPersistentDisksSizeGb": "263168",
        "zone": link(zone_key(project, zone)),
        "isSharedCpu": name in SHARED_CORES,
        "architecture": "X86_64",
        "selfLink": link(key),
    }


def _id(key: str) -> str:
    return str(4000 + int(sha256(key.encode()).hexdigest()[:6], 16))


# --- requests ----------------------------------------------------------------------------------------------------


def get_gpu(world: "World", call: Call) -> Answer:
    """Show one type of GPU in a zone."""
    project, zone, name = call.params["project"], call.params["zone"], call.params["type"]
    world.check_zone(project, zone)
    if name not in GPUS:
        raise not_found(f"{zone_key(project, zone)}/acceleratorTypes/{name}")
    return _gpu(project, zone, name)


def list_gpus(world: "World", call: Call) -> Answer:
    """Show the types of GPU in a zone."""
    project, zone = call.params["project"], call.params["zone"]
    world.check_zone(project, zone)
    found = [_gpu(project, zone, name) for name in GPUS]
    key = f"{zone_key(project, zone)}/acceleratorTypes"
    return listing.page(call, found, kind="compute#acceleratorTypeList", key=key)


def get_machine_type(world: "World", call: Call) -> Answer:
    """Show one machine type in a zone."""
    world.check_zone(call.params["project"], call.params["zone"])
    return _machine_type(call.params["project"], call.params["zone"], call.params["type"])


ROUTES = (
    Route("GET", f"{ZONE}/acceleratorTypes", "acceleratorTypes.list", list_gpus),
    Route("GET", f"{ZONE}/acceleratorTypes/{{type}}", "acceleratorTypes.get", get_gpu),
    Route("GET", f"{ZONE}/machineTypes/{{type}}", "machineTypes.get", get_machine_type),
)
