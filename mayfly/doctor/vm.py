"""The VM, or the template that it is made from: what a run and its four stops rest on."""

from mayfly.doctor.findings import Finding, Level, NotLooked, Trouble, check, well
from mayfly.doctor.patient import Patient
from orchestrator.google_admin import Json
from orchestrator.google_credentials import SCOPE
from orchestrator.seen import OUR_LABEL
from orchestrator.settings import AgentTls

MISSING = Trouble(
    Level.FAIL,
    "There is no VM {instance} in {zone}.",
    "Make it (mayfly.toml's [vm] describes it), or set INSTANCE and ZONE to one that is there.",
    "mayfly deploy",
)
NO_TEMPLATE = Trouble(
    Level.FAIL,
    "There is no instance template {template}.",
    "Make it (mayfly.toml's [vm] describes it), or set TEMPLATE to one that is there.",
    "mayfly deploy",
)
NOT_LABELLED = Trouble(
    Level.FAIL,
    "{instance} does not carry the label mayfly=managed: no sweep finishes what a dead run left on.",
    "Put it into Mayfly's hands.",
    "gcloud compute instances add-labels {instance} --zone {zone} --project {project} --labels mayfly=managed",
)
NO_LIMIT = Trouble(
    Level.WARN,
    "{instance} has no time limit that stops it for good ({seen}). A run arms one before it starts the VM; until then "
    "nothing stops a VM that is started by hand.",
    "Arm it while the VM is off.",
    "gcloud compute instances set-scheduling {instance} --zone {zone} --project {project} --max-run-duration={limit} "
    "--instance-termination-action=STOP",
)
RESTARTS = Trouble(
    Level.WARN,
    "Google would start {instance} again after a fault of its own, and its time limit would begin anew. A run switches "
    "that off before it starts the VM.",
    "Switch it off while the VM is off.",
    "gcloud compute instances set-scheduling {instance} --zone {zone} --project {project} --no-restart-on-failure",
)
MIGRATES = Trouble(
    Level.FAIL,
    "{instance} has a GPU and onHostMaintenance={seen}: such a VM cannot move to another host, and will not start.",
    "Have it end instead, while the VM is off.",
    "gcloud compute instances set-scheduling {instance} --zone {zone} --project {project} "
    "--maintenance-policy=TERMINATE",
)
NO_GUEST_ATTRIBUTES = Trouble(
    Level.FAIL,
    "Guest attributes are off on {instance}: its agent cannot publish its certificate, so no run finds it.",
    "Switch them on. It counts from the next boot.",
    "gcloud compute instances add-metadata {instance} --zone {zone} --project {project} "
    "--metadata enable-guest-attributes=TRUE",
)
NO_ACCOUNT = Trouble(
    Level.FAIL,
    "{instance} has no service account: it cannot prove who it is, nor read a secret.",
    "Give it one, while the VM is off.",
    "gcloud compute instances set-service-account {instance} --zone {zone} --project {project} "
    "--service-account mayfly-vm@{project}.iam.gserviceaccount.com --scopes cloud-platform",
)
NARROW = Trouble(
    Level.WARN,
    "{instance} has scopes that keep its account from Secret Manager and from images, whatever its roles say: {seen}.",
    "Let roles alone decide: give it the scope cloud-platform, while the VM is off.",
    "gcloud compute instances set-service-account {instance} --zone {zone} --project {project} "
    "--service-account {account} --scopes cloud-platform",
)


@check("vm", MISSING, NO_TEMPLATE)
async def vm(patient: Patient) -> list[Finding]:
    """The VM, or the template that runs make it from, is there."""
    if patient.settings.template is not None:
        if await patient.template() is None:
            return [NO_TEMPLATE.found(patient.names)]
        return well(f"Runs make {patient.settings.instance} from {patient.settings.template}.")
    seen = await patient.instance()
    if seen is None:
        return [MISSING.found(patient.names)]
    return well(f"{seen['name']} in {patient.settings.zone}: {_last(seen['machineType'])}, {seen['status']}.")


@check("vm-label", NOT_LABELLED)
async def label(patient: Patient) -> list[Finding]:
    """The VM is in Mayfly's hands: a sweep may stop it."""
    name, value = OUR_LABEL
    if (await _own_instance(patient)).get("labels", {}).get(name) != value:
        return [NOT_LABELLED.found(patient.names)]
    return well(f"It carries {name}={value}.")


@check("vm-limit", NO_LIMIT)
async def limit(patient: Patient) -> list[Finding]:
    """Google itself stops the VM for good, also if nobody else does."""
    scheduling = (await _own_instance(patient)).get("scheduling", {})
    span, action = scheduling.get("maxRunDuration", {}).get("seconds"), scheduling.get("instanceTerminationAction")
    if span is None or action != "STOP":
        seen = f"maxRunDuration {f'{span} s' if span else 'not set'}, instanceTerminationAction {action or 'not set'}"
        return [NO_LIMIT.found(patient.names, seen=seen)]
    return well(f"{int(span) / 60:.0f} minutes after a start, by Google; also after one by hand.")


@check("vm-restart", RESTARTS)
async def restart(patient: Patient) -> list[Finding]:
    """Google does not start the VM again by itself."""
    if (await _own_instance(patient)).get("scheduling", {}).get("automaticRestart", True):
        return [RESTARTS.found(patient.names)]
    return well("automaticRestart is off.")


@check("vm-maintenance", MIGRATES)
async def maintenance(patient: Patient) -> list[Finding]:
    """A VM with a GPU ends when its host is serviced: it could not move."""
    body = await patient.vm()
    if not body.get("guestAccelerators"):
        raise NotLooked("It has no GPU.")
    seen = body.get("scheduling", {}).get("onHostMaintenance", "MIGRATE")
    return (
        well("onHostMaintenance is TERMINATE.") if seen == "TERMINATE" else [MIGRATES.found(patient.names, seen=seen)]
    )


@check("guest-attributes", NO_GUEST_ATTRIBUTES)
async def guest_attributes(patient: Patient) -> list[Finding]:
    """The agent can publish its certificate."""
    if patient.settings.agent_tls is AgentTls.OFF:
        raise NotLooked("With AGENT_TLS=off nobody looks for a certificate.")
    if (await patient.metadata()).get("enable-guest-attributes", "").upper() != "TRUE":
        return [NO_GUEST_ATTRIBUTES.found(patient.names)]
    return well("Guest attributes are on.")


@check("vm-account", NO_ACCOUNT, NARROW)
async def account(patient: Patient) -> list[Finding]:
    """The VM has a service account, and scopes that leave its roles to decide."""
    accounts: list[Json] = (await patient.vm()).get("serviceAccounts", [])
    if not accounts:
        return [NO_ACCOUNT.found(patient.names)]
    email, scopes = accounts[0]["email"], accounts[0].get("scopes", [])
    if SCOPE not in scopes:
        return [NARROW.found(patient.names, account=email, seen=", ".join(map(_last, scopes)) or "none")]
    return well(f"{email}, with the scope cloud-platform.")


async def _own_instance(patient: Patient) -> Json:
    """One that is kept between runs: what is made for a run is born with all of it."""
    if patient.settings.template is not None:
        raise NotLooked("A run gives it to the VM that it makes.")
    return await patient.vm()


def _last(url: str) -> str:
    return url.rpartition("/")[2]
