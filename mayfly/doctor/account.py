"""Who we are to Google, and what we may do."""

from collections.abc import Iterable

from mayfly.deploy.apis import NEEDED, is_enabled
from mayfly.deploy.roles import ACTING, KEY, ORCHESTRATOR, ORCHESTRATOR_TEMPLATE, RELEASE, STATE
from mayfly.doctor.findings import Finding, Level, NotLooked, Trouble, check, well
from mayfly.doctor.patient import Patient
from orchestrator.errors import BadUsage, Forbidden
from orchestrator.google_admin import Json, Service
from orchestrator.google_errors import Subject
from orchestrator.lease import STATE_URL, AddressPolicy
from orchestrator.policy import seconds
from orchestrator.secrets import secret_name
from orchestrator.settings import Auth, Settings

_SKEW = seconds(30)  # tokens and certificates are valid from a little before they were made

NOBODY = Trouble(
    Level.FAIL,
    "Google does not know who we are: {why}",
    "Log in, or set GOOGLE_APPLICATION_CREDENTIALS to the path of a key file; on Cloud Run give the job an account.",
    "gcloud auth application-default login",
)
NO_PROJECT = Trouble(
    Level.FAIL,
    "There is no project {project}, or we may not see it. {why}",
    "PROJECT_ID is the project's id, not its display name. If it is right, ask its owner for a role in it.",
    "gcloud projects list",
)
NOT_ENABLED = Trouble(
    Level.FAIL,
    "APIs are not enabled: {apis}.",
    "Enable them. Google takes a minute or two until they answer.",
    "gcloud services enable {apis} --project {project}",
)
SKEWED = Trouble(
    Level.WARN,
    "This machine's clock is {seconds} s {direction} Google's: tokens and certificates may count as not valid yet.",
    "Set the clock by the network.",
    "sudo timedatectl set-ntp true",
)
LACKS = Trouble(
    Level.FAIL,
    "We lack {permissions} on {resource}: a run that is started here will fail.",
    "Have somebody grant us a role with these permissions; docs/security.md says what each is for.",
)
LACKS_HERE = Trouble(
    Level.WARN,
    "We lack {permissions} on {resource}: a run that is started here will fail. The Cloud Run job has its own account.",
    "Start runs with `mayfly run --remote`, or have somebody grant us a role with these permissions.",
)


@check("credentials", NOBODY)
async def credentials(patient: Patient) -> list[Finding]:
    """Google knows who we are."""
    try:
        return well(f"Google knows us as {await patient.google.who()}.")
    except BadUsage as nobody:
        return [NOBODY.found(patient.names, why=nobody)]


@check("project", NO_PROJECT)
async def project(patient: Patient) -> list[Finding]:
    """The project exists, and we may see it."""
    try:
        seen = await patient.found(Service.COMPUTE, f"projects/{patient.settings.project_id}")
    except Forbidden as refused:
        return [NO_PROJECT.found(patient.names, why=refused)]
    if seen is None:
        return [NO_PROJECT.found(patient.names, why="Google knows none of that name.")]
    return well(f"{seen['name']} (number {seen['id']}).")


@check("apis", NOT_ENABLED)
async def apis(patient: Patient) -> list[Finding]:
    """Every API that is needed is enabled."""
    enabled = await patient.enabled()
    needed = {_host(Service.COMPUTE)}
    if patient.settings.auth is Auth.API_KEY or patient.config.vm.secrets or patient.config.job.secrets:
        needed.add(_host(Service.SECRETS))
    if is_enabled(Service.RUN, enabled) and await patient.job(patient.config.job.name) is not None:
        needed |= set(NEEDED)
    if missing := sorted(needed - set(enabled)):
        return [NOT_ENABLED.found(patient.names, apis=" ".join(missing))]
    return well(f"{len(needed)} of {len(needed)} are enabled.")


@check("clock", SKEWED)
async def clock(patient: Patient) -> list[Finding]:
    """This machine's clock agrees with Google's."""
    path = f"projects/{patient.settings.project_id}"
    before = patient.clock.now()
    google = await patient.google.time(Service.COMPUTE, path, Subject("ask Google for the time", ""))
    after = patient.clock.now()
    ahead = max(before - google, google - after)
    if ahead <= _SKEW:
        return well(f"It agrees with Google's within {_SKEW.total_seconds():.0f} s.")
    direction = "ahead of" if before > google else "behind"
    return [SKEWED.found(patient.names, seconds=round(ahead.total_seconds()), direction=direction)]


def duties(settings: Settings) -> set[str]:
    """What a run needs to be allowed on the project."""
    role = ORCHESTRATOR if settings.template is None else ORCHESTRATOR_TEMPLATE
    return {*role, *(RELEASE if settings.address_policy is AddressPolicy.RELEASE else ())}


@check("permissions", LACKS, LACKS_HERE)
async def permissions(patient: Patient) -> list[Finding]:
    """We may do all that a run takes."""
    where = f"projects/{patient.settings.project_id}"
    lacking = [(where, await _lacking(patient, Service.PROJECTS, where, duties(patient.settings)))]
    if (account := await _account(patient)) is not None:
        path = f"projects/-/serviceAccounts/{account}"
        lacking.append((account, await _lacking(patient, Service.IAM, path, ACTING)))
    if patient.settings.auth is Auth.API_KEY and patient.settings.agent_key is None:
        secret = secret_name(patient.settings.project_id, patient.settings.agent_key_secret)
        lacking.append((secret, await _lacking(patient, Service.SECRETS, secret, KEY)))
    if (bucket := STATE_URL.fullmatch(patient.settings.state_url or "")) and patient.settings.template is not None:
        lacking.append((f"gs://{bucket['bucket']}", await _lacking_on_bucket(patient, bucket["bucket"])))
    trouble = LACKS if await _nothing_deployed(patient) else LACKS_HERE
    found = [
        trouble.found(patient.names, permissions=", ".join(missing), resource=resource)
        for resource, missing in lacking
        if missing
    ]
    return found or well("We may do all that a run takes.")


async def _lacking(patient: Patient, service: Service, resource: str, wanted: Iterable[str]) -> list[str]:
    body = {"permissions": sorted(wanted)}
    granted = await patient.asked(service, f"{resource}:testIamPermissions", body, resource)
    if granted is None:
        return []  # it is not there: another check says so
    return [name for name in sorted(wanted) if name not in granted.get("permissions", [])]


async def _lacking_on_bucket(patient: Patient, bucket: str) -> list[str]:
    asked = "&".join(f"permissions={name}" for name in STATE)
    granted = await patient.found(Service.STORAGE, f"b/{bucket}/iam/testPermissions?{asked}")
    return [] if granted is None else [name for name in STATE if name not in granted.get("permissions", [])]


async def _account(patient: Patient) -> str | None:
    """The VM's."""
    try:
        accounts: list[Json] = (await patient.vm()).get("serviceAccounts", [])
    except NotLooked:
        return None
    return str(accounts[0]["email"]) if accounts else None


async def _nothing_deployed(patient: Patient) -> bool:
    try:
        await patient.deployed_job()
    except NotLooked:
        return True
    return False


def _host(service: Service) -> str:
    return service.partition("/")[0]
