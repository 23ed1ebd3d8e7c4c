"""All checks at once. Whatever goes wrong with one of them keeps nobody from the others."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from mayfly.deploy.config import Config
from mayfly.doctor import account, address, boot, deployment, grants, quota, reach, rest, vm
from mayfly.doctor.findings import Check, Finding, Level, NotLooked, Trouble
from mayfly.doctor.patient import Patient
from mayfly.google import google_of
from orchestrator.errors import BadUsage, MayflyError
from orchestrator.google_project import open_project
from orchestrator.policy import Policy
from orchestrator.ports import Clock
from orchestrator.wiring import compute_endpoint, open_compute, policy_of

CHECKS: tuple[Check, ...] = (
    account.credentials, account.project, account.apis, account.permissions, account.clock,
    vm.vm, vm.label, vm.limit, vm.restart, vm.maintenance, vm.guest_attributes, vm.account,
    boot.script, boot.callers, boot.secrets, grants.vm_permissions, rest.at_rest, rest.orphans, quota.gpu_quota,
    address.address, address.user, address.cost, reach.firewall,
    grants.job_permissions, deployment.image, deployment.timeout, deployment.settings, deployment.sweeps,
    deployment.schedules,
)  # fmt: skip

SETTINGS, SETTINGS_OUGHT = "settings", "All settings can be read, and go together."
WRONG_SETTINGS = Trouble(
    Level.FAIL,
    "{why}",
    "Mend them in mayfly.toml, in .env, or in the environment; `mayfly init` writes a mayfly.toml.",
)
_NO_MEND = "What Google says is above; mend that, and ask again."
_OUR_FAULT = "Google's answer is one that this check cannot read: look for yourself, and tell Mayfly's developers."


@dataclass(frozen=True)
class Examined:
    """One finding, and the check that it is of."""

    check: str
    finding: Finding


_SETTINGS_ARE_RIGHT = Examined(SETTINGS, Finding(Level.OK, SETTINGS_OUGHT))


async def examine(read: Callable[[], Config], clock: Clock) -> list[Examined]:
    """What all of them found, in their order. With wrong settings, or as nobody, there is nothing else to look at."""
    try:
        config = read()
    except BadUsage as wrong:
        return [Examined(SETTINGS, WRONG_SETTINGS.found({}, why=wrong))]
    try:
        async with _patient(config, clock) as patient:
            found = await asyncio.gather(*(_one(check, patient) for check in CHECKS))
    except BadUsage as nobody:
        return [_SETTINGS_ARE_RIGHT, Examined(account.credentials.name, account.NOBODY.found({}, why=nobody))]
    return [_SETTINGS_ARE_RIGHT, *_in_order(found)]


def _in_order(found: Iterable[list[Finding]]) -> list[Examined]:
    return [
        Examined(check.name, finding) for check, findings in zip(CHECKS, found, strict=True) for finding in findings
    ]


async def _one(check: Check, patient: Patient) -> list[Finding]:
    try:
        return await check.look(patient)
    except (NotLooked, BadUsage) as why:  # nobody, to Google: `credentials` says so
        return [Finding(Level.SKIPPED, str(why))]
    except MayflyError as why:
        return [Finding(Level.WARN, f"It could not be looked at: {why}", _NO_MEND)]
    except Exception as fault:  # noqa: BLE001 - an answer that nobody thought of; the other checks are for that moment
        return [Finding(Level.FAIL, f"It could not be told ({type(fault).__name__}: {fault}).", _OUR_FAULT)]


@asynccontextmanager
async def _patient(config: Config, clock: Clock) -> AsyncIterator[Patient]:
    policy: Policy = policy_of(config.settings)
    endpoint = compute_endpoint(config.settings)
    async with google_of(config.settings, policy) as google:
        compute = await asyncio.to_thread(open_compute, config.settings, policy, clock)
        host = config.settings.gce_metadata_host
        project = await asyncio.to_thread(open_project, config.project, policy, clock, endpoint, metadata_host=host)
        try:
            yield Patient(config, policy, clock, google=google, compute=compute, inventory=project.inventory)
        finally:
            compute.close()
            project.close()
