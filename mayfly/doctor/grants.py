"""What the accounts of what is deployed may do, as policies tell: nobody can ask that of Google for somebody else."""

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mayfly.deploy.identities import email_of
from mayfly.deploy.roles import ACTING, KEY, SWEEPER, VM
from mayfly.deploy.run_jobs import sweeper
from mayfly.doctor.account import duties
from mayfly.doctor.boot import read_by_the_vm
from mayfly.doctor.findings import Finding, Level, NotLooked, Trouble, check, well
from mayfly.doctor.patient import Patient
from orchestrator.google_admin import Json, Service
from orchestrator.secrets import secret_name
from orchestrator.settings import Auth

JOB_LACKS = Trouble(
    Level.FAIL,
    "{account}, the account of the Cloud Run job {name}, lacks {permissions} on {resource}.",
    "Grant it what docs/security.md lists, no more: a deploy does.",
    "mayfly deploy",
)
JOB_NOT_SEEN = Trouble(
    Level.WARN,
    "Nothing shows that {account}, the account of the Cloud Run job {name}, has {permissions} on {resource}. What "
    "comes by a folder, an organization, a group or a condition is not looked at.",
    "If it does not come from there, grant it what docs/security.md lists, no more.",
)
VM_LACKS = Trouble(
    Level.FAIL,
    "{account}, the account of {instance}, may not read the secret {secret}, which it needs when it boots.",
    "Grant it that, on this secret alone.",
    "gcloud secrets add-iam-policy-binding {secret} --project {project} --member serviceAccount:{account} "
    "--role roles/secretmanager.secretAccessor",
)
VM_NOT_SEEN = Trouble(
    Level.WARN,
    "Nothing shows that {account}, the account of {instance}, may read the secret {secret}, which it needs when it "
    "boots. What comes by a folder, an organization, a group or a condition is not looked at.",
    "If it does not come from there, grant it that, on this secret alone.",
    "gcloud secrets add-iam-policy-binding {secret} --project {project} --member serviceAccount:{account} "
    "--role roles/secretmanager.secretAccessor",
)
_ACCESS = "secretmanager.versions.access"
assert _ACCESS in VM  # noqa: S101 - the list that the documentation has
_OURS = ("mayfly-orchestrator", "mayfly-sweeper", "mayfly-vm")  # what a deploy makes, and grants all that they have


@dataclass(frozen=True)
class Need:
    """What an account has to be allowed on one thing, by the project's policy or by the thing's own."""

    service: Service
    resource: str
    permissions: Iterable[str]


@dataclass(frozen=True)
class Lack:
    """What no policy that was seen gives; and whether it is known to come from nowhere else."""

    permissions: list[str]
    known: bool


@check("job-permissions", JOB_LACKS, JOB_NOT_SEEN)
async def job_permissions(patient: Patient) -> list[Finding]:
    """The accounts of the Cloud Run jobs may do all that runs and sweeps take."""
    await patient.deployed_job()
    found, well_off = [], []
    for name, project_wide in ((patient.config.job.name, duties(patient.settings)), (sweeper(patient.config), SWEEPER)):
        if (email := await patient.account_of(name)) is None:
            continue
        well_off.append(email)
        for need in await _needs(patient, project_wide):
            lack = await _lack(patient, email, need)
            if lack.permissions:
                facts = {"account": email, "name": name, "resource": _in_words(need)}
                trouble = JOB_LACKS if lack.known else JOB_NOT_SEEN
                found.append(trouble.found(patient.names, **facts, permissions=", ".join(lack.permissions)))
    return found or well(f"{' and '.join(well_off)} may do all that is theirs to do.")


@check("vm-permissions", VM_LACKS, VM_NOT_SEEN)
async def vm_permissions(patient: Patient) -> list[Finding]:
    """The VM's account may read the secrets that it needs when it boots."""
    accounts: list[Json] = (await patient.vm()).get("serviceAccounts", [])
    read = await read_by_the_vm(patient)
    if not accounts or not read:
        raise NotLooked("It reads none." if accounts else "It has no account.")
    email = accounts[0]["email"]
    needs = [need for secret in read if (need := await _secret(patient, secret, [_ACCESS])) is not None]
    lacks = await asyncio.gather(*(_lack(patient, email, need) for need in needs))
    found = [
        (VM_LACKS if lack.known else VM_NOT_SEEN).found(
            patient.names, account=email, secret=need.resource.rpartition("/")[2]
        )
        for need, lack in zip(needs, lacks, strict=True)
        if lack.permissions
    ]
    return found or well(f"{email} may read {', '.join(sorted(read))}.")


async def _needs(patient: Patient, project_wide: Iterable[str]) -> list[Need]:
    """Of a job that touches VMs and asks agents."""
    needs = [Need(Service.PROJECTS, f"projects/{patient.settings.project_id}", project_wide)]
    if accounts := (await patient.vm()).get("serviceAccounts"):
        needs.append(Need(Service.IAM, f"projects/-/serviceAccounts/{accounts[0]['email']}", ACTING))
    names = dict.fromkeys(secret_name(patient.settings.project_id, secret) for secret in _read_by_jobs(patient))
    read = [await _secret(patient, name, KEY) for name in names]
    return [*needs, *(need for need in read if need is not None)]


def _read_by_jobs(patient: Patient) -> Iterator[str]:
    yield from patient.config.job.secrets.values()
    if patient.settings.auth is Auth.API_KEY:
        yield patient.settings.agent_key_secret


async def _secret(patient: Patient, secret: str, permissions: Iterable[str]) -> Need | None:
    """None: it is not there, and another check says so."""
    name = secret_name(patient.settings.project_id, secret)
    seen = await patient.found(Service.SECRETS, name)
    return None if seen is None else Need(Service.SECRETS, name, permissions)


def _in_words(need: Need) -> str:
    return need.resource.rpartition("/")[2] if need.service is Service.IAM else need.resource


async def _lack(patient: Patient, email: str, need: Need) -> Lack:
    project = f"projects/{patient.settings.project_id}"
    policies = [await patient.granted_on(Service.PROJECTS, project)]
    if need.resource != project:
        policies.append(await patient.granted_on(need.service, need.resource))
    held, maybe = [await _included(patient, roles) for roles in roles_of(email, policies)]
    missing = [name for name in sorted(need.permissions) if name not in held]
    ours = email in {email_of(patient.settings.project_id, name) for name in _OURS}
    return Lack(missing, known=ours and not maybe.intersection(missing))


def roles_of(email: str, policies: Iterable[Json]) -> tuple[set[str], set[str]]:
    """The roles that this account has, and those that it has on a condition."""
    always: set[str] = set()
    sometimes: set[str] = set()
    for policy in policies:
        for binding in policy.get("bindings", []):
            if f"serviceAccount:{email}" in binding.get("members", []):
                (sometimes if binding.get("condition") else always).add(binding["role"])
    return always, sometimes


async def _included(patient: Patient, roles: Iterable[str]) -> set[str]:
    permissions: set[str] = set()
    for role in sorted(roles):
        definition = await patient.found(Service.IAM, role)
        if definition is None:
            raise NotLooked(f"What the role {role} holds is not to be seen.")
        if not definition.get("deleted"):
            permissions |= set(definition.get("includedPermissions", []))
    return permissions
