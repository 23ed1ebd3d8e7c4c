"""How things stand: the VM, its address, the lease, the run, what ended lately, and what starts next. Looks only."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TypeVar

from mayfly.deploy.config import Config
from mayfly.google import google_of
from mayfly.ticks import Tick, ticks
from mayfly.vm_at_hand import VmAtHand, vm_at_hand
from orchestrator.errors import MayflyError
from orchestrator.seen import Address, Machine
from vm_agent.protocol import Greeting

T = TypeVar("T")


@dataclass(frozen=True)
class Standing:
    """One look. Where something could not be seen, `unseen` says why."""

    machine: Machine
    address: Address | None
    greeting: Greeting | None
    ticks: list[Tick] | None
    unseen: tuple[str, ...]


async def standing_of(config: Config) -> Standing:
    """All of it at once. NotFound if there is no such VM; BadUsage."""
    unseen: list[str] = []

    async def if_seen(look: Awaitable[T]) -> T | None:
        try:
            return await look
        except MayflyError as error:
            unseen.append(str(error))
            return None

    async with vm_at_hand(config.settings) as vm:
        machine, address, next_ticks = await asyncio.gather(
            vm.machine(), if_seen(vm.address()), if_seen(_ticks(config))
        )
        greeting = await _greeting(vm, machine, unseen)
    return Standing(machine, address, greeting, next_ticks, tuple(unseen))


async def _greeting(vm: VmAtHand, machine: Machine, unseen: list[str]) -> Greeting | None:
    greeting, why_not = await vm.greeting(machine)
    if why_not:
        unseen.append(why_not)
    return greeting


async def _ticks(config: Config) -> list[Tick]:
    async with google_of(config.settings) as google:
        return await ticks(google, config.project, config.job_region)
