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
    for quota, where in (
        (that_counts(region.get("quotas", []), model, spot=spot), f"in {patient.settings.region}"),
        (_named(project.get("quotas", []), _EVERYWHERE), "of the project"),
    ):
        if quota is None:
            continue  # Google does not count it (any more)
        metric, limit, usage = quota["metric"], quota["limit"], quota.get("usage", 0)
        known.append(f"{metric} {limit:g} {where}")
        if limit - usage < wanted:
            facts = {"metric": metric, "where": where, "limit": f"{limit:g}", "usage": f"{usage:g}"}
            found.append(TOO_SMALL.found(patient.names, **facts, count=count))
    if not known:
        raise NotLooked(f"Google shows no quota for {model}.")
    return found or well(f"{', '.join(known)}; the VM needs {count}.")


def that_counts(quotas: list[Json], model: str, *, spot: bool) -> Json | None:
    """The quota that such a VM takes from: a Spot VM takes from the ordinary one where its own was never granted."""
    own = _named(quotas, metric_of(model, spot=True)) if spot else None
    return own if own and own["limit"] else _named(quotas, metric_of(model, spot=False))


def _named(quotas: list[Json], metric: str) -> Json | None:
    return next((one for one in quotas if one["metric"] == metric), None)


def metric_of(model: str, *, spot: bool) -> str:
    """nvidia-tesla-t4 -> NVIDIA_T4_GPUS; Spot VMs have quotas of their own."""
    short = model.removeprefix("nvidia-").removeprefix("tesla-").upper().replace("-", "_")
    return f"{'PREEMPTIBLE_' if spot else ''}NVIDIA_{short}_GPUS"
