"""The reserved address: that a run can have it, and what it costs by the hour."""

from mayfly.doctor.findings import Finding, Level, NotLooked, Trouble, check, well
from mayfly.doctor.patient import Patient
from orchestrator.google_admin import Json, Service
from orchestrator.lease import AddressPolicy
from orchestrator.seen import RESERVED_FOR_A_RUN

# Google's list prices of an external IPv4 address, in USD an hour (VPC pricing, since February 2024).
UNUSED, IN_USE, IN_USE_BY_SPOT = 0.010, 0.005, 0.0025

NOT_RESERVED = Trouble(
    Level.FAIL,
    "There is no address {address} in {region}, where the VM is{elsewhere}.",
    "Reserve one there, or name another one in STATIC_NAME: an address serves the VMs of its own region only.",
    "gcloud compute addresses create {address} --region {region} --project {project}",
)
NOT_EXTERNAL = Trouble(
    Level.FAIL,
    "The address {address} is {kind}: a VM cannot have it as its external IP.",
    "Reserve an external one under another name, and name it in STATIC_NAME.",
    "gcloud compute addresses create {address}-external --region {region} --project {project}",
)
TAKEN = Trouble(
    Level.FAIL,
    "The address {address} ({ip}) is in use by {user}: it is never taken from there.",
    "Take it off there, or name another one in STATIC_NAME.",
    "{detach}",
)
NOT_RELEASED = Trouble(
    Level.FAIL,
    "The address {address} is yours, and with ADDRESS_POLICY=release a run would have to delete it: it refuses.",
    "Set ADDRESS_POLICY to keep or detach, or name one in STATIC_NAME that is not reserved.",
)


@check("address", NOT_RESERVED, NOT_EXTERNAL, NOT_RELEASED)
async def address(patient: Patient) -> list[Finding]:
    """The reserved address is there, in the VM's region, and of a kind that a VM can have."""
    seen = await patient.address()
    release = patient.settings.address_policy is AddressPolicy.RELEASE
    if seen is None:
        return (
            well("A run reserves it, and gives it back.")
            if release
            else [NOT_RESERVED.found(patient.names, elsewhere=await _elsewhere(patient))]
        )
    if seen.get("addressType", "EXTERNAL") != "EXTERNAL" or seen.get("ipVersion", "IPV4") == "IPV6":
        kind = "internal" if seen.get("addressType") == "INTERNAL" else "IPv6"
        return [NOT_EXTERNAL.found(patient.names, kind=kind)]
    if release and seen.get("description") != RESERVED_FOR_A_RUN:
        return [NOT_RELEASED.found(patient.names)]
    return well(f"{seen['name']} is {seen['address']} in {patient.settings.region}, tier {_tier(seen)}.")


@check("address-user", TAKEN)
async def user(patient: Patient) -> list[Finding]:
    """Nothing but the run's own VM uses the address."""
    seen = await _there(patient)
    own = f"/zones/{patient.settings.zone}/instances/{patient.settings.instance}"
    others = [link for link in seen.get("users", []) if not link.endswith(own)]
    if not others:
        return well("Nothing else uses it.")
    detach = await _detach(patient, others[0])
    name = others[0].rpartition("/")[2]
    return [TAKEN.found(patient.names, ip=seen["address"], user=name, detach=detach)]


@check("address-cost")
async def cost(patient: Patient) -> list[Finding]:
    """What the address costs by the hour, under each policy: nothing is wrong here, it is only told."""
    await _there(patient)
    in_use = await _rate_in_use(patient)
    rates = {AddressPolicy.DETACH: UNUSED, AddressPolicy.KEEP: in_use, AddressPolicy.RELEASE: 0.0}
    policy = patient.settings.address_policy
    said = ", ".join(f"{name} {rate:.4g}" for name, rate in rates.items())
    return well(
        f"USD an hour between runs, by ADDRESS_POLICY: {said}; yours is {policy}. While the VM is on: {in_use:.4g}."
    )


async def _there(patient: Patient) -> Json:
    seen = await patient.address()
    if seen is None:
        raise NotLooked(f"There is no address {patient.settings.static_name} in {patient.settings.region}.")
    return seen


async def _elsewhere(patient: Patient) -> str:
    """Where there is one of that name."""
    path = f"projects/{patient.settings.project_id}/aggregated/addresses"
    seen = await patient.found(Service.COMPUTE, path) or {}
    places = [
        "everywhere: it is a global one" if place == "global" else place.rpartition("/")[2]
        for place, listed in seen.get("items", {}).items()
        if any(one["name"] == patient.settings.static_name for one in listed.get("addresses", []))
    ]
    return f" (there is one in {', '.join(places)})" if places else ""


async def _detach(patient: Patient, link: str) -> str:
    """The command that takes it off a VM, by the name that its access config has there."""
    path = link.partition("/compute/v1/")[2]
    if "/instances/" not in path:
        return ""
    seen = await patient.found(Service.COMPUTE, path)
    configs = [config for nic in (seen or {}).get("networkInterfaces", []) for config in nic.get("accessConfigs", [])]
    zone, name = path.split("/")[-3], path.rpartition("/")[2]
    config = configs[0]["name"] if configs else "external-nat"
    return (
        f"gcloud compute instances delete-access-config {name} --zone {zone} --project {patient.settings.project_id} "
        f"--access-config-name '{config}'"
    )


async def _rate_in_use(patient: Patient) -> float:
    try:
        scheduling = (await patient.vm()).get("scheduling", {})
    except NotLooked:
        return IN_USE
    spot = scheduling.get("provisioningModel") == "SPOT" or scheduling.get("preemptible")
    return IN_USE_BY_SPOT if spot else IN_USE


def _tier(seen: Json) -> str:
    return str(seen.get("networkTier", "PREMIUM"))
