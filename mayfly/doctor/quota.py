"""Whether the project may have the GPUs that the VM asks for."""

from mayfly.doctor.findings import Finding, Level, NotLooked, Trouble, check, well
from mayfly.doctor.patient import Patient
from orchestrator.google_admin import Json

TOO_SMALL = Trouble(
    Level.FAIL,
    "The quota {metric} {where} is {limit}, of which {usage} are in use; {instance} needs {count}: it will not start.",
    "Ask Google for more. It takes from minutes to days.",
    "xdg-open 'https://console.cloud.google.com/iam-admin/quotas?project={project}&metric={metric}'",
)
_EVERYWHERE = "GPUS_ALL_REGIONS"


@check("gpu-quota", TOO_SMALL)
async def gpu_quota(patient: Patient) -> list[Finding]:
    """The project may have the GPUs that the VM asks for, in its region and altogether."""
    vm = await patient.vm()
    accelerators: list[Json] = vm.get("guestAccelerators", [])
    if not accelerators:
        raise NotLooked("It has no GPU.")
    model, count = accelerators[0]["acceleratorType"].rpartition("/")[2], int(accelerators[0]["acceleratorCount"])
    on = vm.get("status") not in {None, "TERMINATED", "STOPPED"}  # then its own are among those in use
    wanted = 0 if on else count
    spot = vm.get("scheduling", {}).get("provisioningModel") == "SPOT"
    region, project = await patient.region(), await patient.project()
    found, known = [], []
    for metric, place, where in (
        (metric_of(model, spot=spot), region, f"in {patient.settings.region}"),
        (_EVERYWHERE, project, "of the project"),
    ):
        quota = next((one for one in place.get("quotas", []) if one["metric"] == metric), None)
        if quota is None:
            continue  # Google does not count it (any more)
        known.append(f"{metric} {quota['limit']:g} {where}")
        if quota["limit"] - quota.get("usage", 0) < wanted:
            facts = {"metric": metric, "where": where, "limit": f"{quota['limit']:g}", "usage": f"{quota['usage']:g}"}
            found.append(TOO_SMALL.found(patient.names, **facts, count=count))
    if not known:
        raise NotLooked(f"Google shows no quota for {model}.")
    return found or well(f"{', '.join(known)}; the VM needs {count}.")


def metric_of(model: str, *, spot: bool) -> str:
    """nvidia-tesla-t4 -> NVIDIA_T4_GPUS; Spot VMs have quotas of their own."""
    short = model.removeprefix("nvidia-").removeprefix("tesla-").upper().replace("-", "_")
    return f"{'PREEMPTIBLE_' if spot else ''}NVIDIA_{short}_GPUS"
