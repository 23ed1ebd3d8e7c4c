"""All checks at once. Whatever goes wrong with one of them keeps nobody from the others."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from mayfly.deploy.config import Config
from mayfly.doctor import account, address, boot, deployment, quota, reach, rest, vm
from mayfly.doctor.findings import Check, Finding, Level, NotLooked
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
    boot.script, boot.callers, boot.secrets, rest.at_rest, rest.orphans, quota.gpu_quota,
    address.address, address.user, address.cost, reach.firewall,
    deployment.image, deployment.timeout, deployment.settings, deployment.sweeps, deployment.schedules,
)  # fmt: skip

_NO_MEND = "What Google says is above; mend that, and ask again."


@dataclass(frozen=True)
class Examined:
    """One finding, and the check that it is of."""

    check: str
    finding: Finding


async def examine(config: Config, clock: Clock) -> list[Examined]:
    """What all of them found, in their order. BadUsage: the settings point at Google and at an emulator."""
    async with _patient(config, clock) as patient:
        found = await asyncio.gather(*(_one(check, patient) for check in CHECKS))
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


@asynccontextmanager
async def _patient(config: Config, clock: Clock) -> AsyncIterator[Patient]:
    policy: Policy = policy_of(config.settings)
    endpoint = compute_endpoint(config.settings)
    async with google_of(config.settings, policy) as google:
        compute = await asyncio.to_thread(open_compute, config.settings, policy, clock)
        project = await asyncio.to_thread(open_project, config.project, policy, clock, endpoint)
        try:
            yield Patient(config, policy, clock, google=google, compute=compute, inventory=project.inventory)
        finally:
            compute.close()
            project.close()
