"""What the accounts of what is deployed may do, as policies tell: nobody can ask that of Google for somebody else."""

import asyncio
from collections.abc import Iterable

from mayfly.deploy.roles import ACTING, VM
from mayfly.doctor.account import duties
from mayfly.doctor.boot import read_by_the_vm
from mayfly.doctor.findings import Finding, Level, NotLooked, Trouble, check, well
from mayfly.doctor.patient import Patient
from orchestrator.google_admin import Json, Service
from orchestrator.secrets import version_name

JOB_LACKS = Trouble(
    Level.FAIL,
    "{account}, the account of the Cloud Run job {job}, lacks {permissions} on {resource}.",
    "Grant it what docs/security.md lists, no more: a deploy does.",
    "mayfly deploy",
)
VM_LACKS = Trouble(
    Level.FAIL,
    "{account}, the account of {instance}, may not read the secret {secret}, which it needs when it boots.",
    "Grant it that, on this secret alone.",
    "gcloud secrets add-iam-policy-binding {secret} --project {project} --member serviceAccount:{account} "
    "--role roles/secretmanager.secretAccessor",
)
_ACCESS = "secretmanager.versions.access"
assert _ACCESS in VM  # noqa: S101 - the list that the documentation has


@check("job-permissions", JOB_LACKS)
async def job_permissions(patient: Patient) -> list[Finding]:
    """The account of the Cloud Run job may do all that a run takes."""
    job = await patient.deployed_job()
    account = str(job["template"]["template"].get("serviceAccount", ""))
    where = f"projects/{patient.settings.project_id}"
    lacking = [(where, await _lacking(patient, account, duties(patient.settings), []))]
    if accounts := (await patient.vm()).get("serviceAccounts"):
        acts_as = f"projects/-/serviceAccounts/{accounts[0]['email']}"
        own = (Service.IAM, f"{acts_as}:getIamPolicy")
        lacking.append((accounts[0]["email"], await _lacking(patient, account, ACTING, [own])))
    found = [
        JOB_LACKS.found(patient.names, account=account, permissions=", ".join(missing), resource=resource)
        for resource, missing in lacking
        if missing
    ]
    return found or well(f"{account} may do all that a run takes.")


@check("vm-permissions", VM_LACKS)
async def vm_permissions(patient: Patient) -> list[Finding]:
    """The VM's account may read the secrets that it needs when it boots."""
    accounts: list[Json] = (await patient.vm()).get("serviceAccounts", [])
    read = await read_by_the_vm(patient)
    if not accounts or not read:
        raise NotLooked("It reads none." if accounts else "It has no account.")
    email = accounts[0]["email"]
    names = [version_name(patient.settings.project_id, secret).partition("/versions/")[0] for secret in read]
    lacking = await asyncio.gather(*(_lacks_secret(patient, email, name) for name in names))
    found = [
        VM_LACKS.found(patient.names, account=email, secret=name.rpartition("/")[2])
        for name, missing in zip(names, lacking, strict=True)
        if missing
    ]
    return found or well(f"{email} may read {', '.join(sorted(read))}.")


async def _lacks_secret(patient: Patient, email: str, secret: str) -> bool:
    if await patient.found(Service.SECRETS, secret) is None:
        return False  # another check says so
    policy = await patient.found(Service.SECRETS, f"{secret}:getIamPolicy")
    return bool(await _missing(patient, email, [_ACCESS], [policy or {}]))


async def _lacking(
    patient: Patient, email: str, wanted: Iterable[str], asked: Iterable[tuple[Service, str]]
) -> list[str]:
    policies = [await patient.asked(service, path, {}, path.partition(":")[0]) or {} for service, path in asked]
    return await _missing(patient, email, wanted, policies)


async def _missing(patient: Patient, email: str, wanted: Iterable[str], policies: list[Json]) -> list[str]:
    """Of these permissions those that no role gives, on the project or by one of the policies below it."""
    where = f"projects/{patient.settings.project_id}"
    whole = await patient.asked(Service.PROJECTS, f"{where}:getIamPolicy", {}, f"the policy of {where}")
    roles = {
        binding["role"]
        for policy in (whole or {}, *policies)
        for binding in policy.get("bindings", [])
        if f"serviceAccount:{email}" in binding.get("members", [])
    }
    held: set[str] = set()
    for role in sorted(roles):
        definition = await patient.found(Service.IAM, role)
        if definition is None:
            raise NotLooked(f"What the role {role} holds is not to be seen.")
        if not definition.get("deleted"):
            held |= set(definition.get("includedPermissions", []))
    return [name for name in sorted(wanted) if name not in held]
