"""What the VM does with itself when it boots: our script, the callers that it will obey, the secrets that it reads."""

import asyncio
from collections.abc import Iterator

from mayfly.deploy.run_jobs import sweeper
from mayfly.deploy.startup import SCRIPT_ATTRIBUTE, startup_script
from mayfly.doctor.findings import Finding, Level, NotLooked, Trouble, check, well
from mayfly.doctor.patient import Patient
from orchestrator.errors import BadUsage
from orchestrator.google_admin import Service
from orchestrator.secrets import version_name
from orchestrator.settings import Auth

_OURS = "mayfly-deadman"  # a word that has been in our script since its first release

NO_SCRIPT = Trouble(
    Level.FAIL,
    "{instance} has no startup script: nothing starts the agent on it.",
    "Give it Mayfly's. It counts from the next boot.",
    "gcloud compute instances add-metadata {instance} --zone {zone} --project {project} "
    "--metadata-from-file startup-script=startup.sh",
)
NOT_OURS = Trouble(
    Level.FAIL,
    "The startup script of {instance} is not Mayfly's: neither agent nor dead-man is started by it.",
    "Put Mayfly's in its place, and what yours does into the image. It counts from the next boot.",
    "gcloud compute instances add-metadata {instance} --zone {zone} --project {project} "
    "--metadata-from-file startup-script=startup.sh",
)
ANOTHER = Trouble(
    Level.WARN,
    "The startup script of {instance} is Mayfly's, of another release than this one.",
    "Bring it up to date. It counts from the next boot.",
    "gcloud compute instances add-metadata {instance} --zone {zone} --project {project} "
    "--metadata-from-file startup-script=startup.sh",
)
NOT_A_CALLER = Trouble(
    Level.FAIL,
    "The agent on {instance} will not obey {account}, {who}: mayfly-callers says {callers}.",
    "Name it there. It counts from the next boot.",
    "gcloud compute instances add-metadata {instance} --zone {zone} --project {project} "
    "--metadata '^;^mayfly-callers={all}'",
)
NOT_THE_SWEEPER = Trouble(
    Level.WARN,
    "The agent on {instance} will not obey {account}, the account of the sweeper {sweeper}: what a dead run left on is "
    "not known to be over before its deadline. mayfly-callers says {callers}.",
    "Name it there. It counts from the next boot.",
    "gcloud compute instances add-metadata {instance} --zone {zone} --project {project} "
    "--metadata '^;^mayfly-callers={all}'",
)
NO_TOKENS = Trouble(
    Level.FAIL,
    "The agent on {instance} takes {vm} (mayfly-auth), and runs show it {ours} (AUTH).",
    "Set both to the same, or mayfly-auth to both. It counts from the next boot.",
    "gcloud compute instances add-metadata {instance} --zone {zone} --project {project} --metadata mayfly-auth={ours}",
)
NO_VERSION = Trouble(
    Level.FAIL,
    "The secret {secret} has no version {version}, and {reader} reads it.",
    "Add one: paste the value, then Ctrl-D.",
    "gcloud secrets versions add {secret} --project {project} --data-file=-",
)
DESTROYED = Trouble(
    Level.FAIL,
    "Version {version} of the secret {secret} is destroyed, and {reader} reads it.",
    "Add one: paste the value, then Ctrl-D.",
    "gcloud secrets versions add {secret} --project {project} --data-file=-",
)
DISABLED = Trouble(
    Level.FAIL,
    "Version {version} of the secret {secret} is disabled, and {reader} reads it.",
    "Enable it, or add another.",
    "gcloud secrets versions enable {number} --secret {secret} --project {project}",
)


@check("startup-script", NO_SCRIPT, NOT_OURS, ANOTHER)
async def script(patient: Patient) -> list[Finding]:
    """The VM boots with this release's startup script."""
    metadata = await patient.metadata()
    if (text := metadata.get(SCRIPT_ATTRIBUTE)) is None:
        if "startup-script-url" in metadata:
            raise NotLooked(f"It comes from {metadata['startup-script-url']}, where nobody has looked.")
        return [NO_SCRIPT.found(patient.names)]
    try:
        ours = startup_script()
    except BadUsage as missing:
        raise NotLooked(str(missing)) from missing
    if text.strip() == ours.text.strip():
        return well(f"It is this release's ({ours.sha256[:12]}).")
    return [(ANOTHER if _OURS in text else NOT_OURS).found(patient.names)]


@check("callers", NO_TOKENS, NOT_A_CALLER, NOT_THE_SWEEPER)
async def callers(patient: Patient) -> list[Finding]:
    """The agent will obey whoever starts runs, and the sweeper."""
    metadata, own = await patient.metadata(), patient.settings.auth.value
    taken = metadata.get("mayfly-auth") or Auth.ID_TOKEN.value
    if taken not in {own, "both"}:
        return [NO_TOKENS.found(patient.names, vm=taken, ours=own)]
    if patient.settings.auth is not Auth.ID_TOKEN:
        return well(f"It takes {taken}.")
    named = [caller.strip() for caller in metadata.get("mayfly-callers", "").split(",") if caller.strip()]
    (starter, who), sweeping = await _starter(patient), await patient.account_of(sweeper(patient.config))
    missing = [one for one in (starter, sweeping) if one is not None and one not in named]
    facts = {"callers": ", ".join(named) or "nobody", "all": ",".join([*named, *missing])}
    found = []
    if starter in missing:
        found.append(NOT_A_CALLER.found(patient.names, account=starter, who=who, **facts))
    if sweeping in missing and sweeping != starter:
        found.append(NOT_THE_SWEEPER.found(patient.names, account=sweeping, **facts))
    return found or well(f"It obeys {facts['callers']}.")


@check("secrets", NO_VERSION, DISABLED, DESTROYED)
async def secrets(patient: Patient) -> list[Finding]:
    """Every secret that is read has an enabled version."""
    read = dict(_read_by_runs(patient)) | await read_by_the_vm(patient)
    if not read:
        raise NotLooked("None is read.")
    found = await asyncio.gather(*(_looked_up(patient, secret, reader) for secret, reader in read.items()))
    troubles = [one for one in found if one is not None]
    return troubles or well(f"{', '.join(sorted(read))}.")


async def _starter(patient: Patient) -> tuple[str, str]:
    account = await patient.account_of(patient.config.job.name)
    if account is None:
        return await patient.google.who(), "who we are here"
    return account, f"the account of the Cloud Run job {patient.config.job.name}"


def _read_by_runs(patient: Patient) -> Iterator[tuple[str, str]]:
    own = patient.settings
    if own.auth is Auth.API_KEY and own.agent_key is None:
        yield own.agent_key_secret, "a run"
    for secret in patient.config.job.secrets.values():
        yield secret, "the Cloud Run job"


async def read_by_the_vm(patient: Patient) -> dict[str, str]:
    """The secrets that its metadata name -> who reads them."""
    try:
        metadata = await patient.metadata()
    except NotLooked:
        return {}
    named = [pair.partition("=")[2] for pair in metadata.get("mayfly-secrets", "").split()]
    if metadata.get("mayfly-auth") in {"api-key", "both"}:
        named += (metadata.get("mayfly-agent-key") or "mayfly-agent-key").split()
    return dict.fromkeys(named, f"{patient.settings.instance}, when it boots")


async def _looked_up(patient: Patient, secret: str, reader: str) -> Finding | None:
    path = version_name(patient.settings.project_id, secret)
    name, _, version = path.partition("/versions/")
    seen = await patient.found(Service.SECRETS, path)
    words = {"secret": name.rpartition("/")[2], "version": version, "reader": reader}
    if seen is None:
        return NO_VERSION.found(patient.names, **words)
    if seen["state"] == "ENABLED":
        return None
    trouble = DISABLED if seen["state"] == "DISABLED" else DESTROYED
    return trouble.found(patient.names, **words, number=seen["name"].rpartition("/")[2])
