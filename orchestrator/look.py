"""Look: collect the facts that the next decision needs, and no others."""

import asyncio
from contextlib import suppress
from dataclasses import replace

from orchestrator.errors import AgentSilent, AgentUnproven, BadResource, MayflyError, NotFound, WrongMachine
from orchestrator.ladder import lease_is_ours
from orchestrator.lease import AddressPolicy, Phase
from orchestrator.ports import World
from orchestrator.run import Reach, Run
from orchestrator.seen import Address, Machine, Seen
from orchestrator.trip import Trip
from vm_agent.protocol import Greeting


async def look_up(trip: Trip) -> Seen:
    """Everything that going up asks for. Raises what stands in the way: NotFound, Forbidden, WrongMachine."""
    run, world = trip.run, trip.world
    machine, address = await asyncio.gather(trip.keeper.look(), _address(run, world))
    seen = trip.saw(Seen(machine, address, since=trip.since or machine.seen_at))
    stopping = machine.lease is not None and machine.lease.phase is Phase.STOPPING
    if machine.running and lease_is_ours(seen, run) and not stopping:
        return await _look_inside(seen, trip)
    return seen


async def look_down(trip: Trip) -> Seen | None:
    """What coming down asks for: the machine alone, for nothing may delay its stop. None if it is gone for good."""
    in_flight = trip.in_flight is not None and not trip.in_flight.done()  # before the look: what landed, it shows
    try:
        machine = await trip.keeper.look()
    except NotFound:
        trip.left_on = False
        return None
    to_be_released = trip.run.address_policy is AddressPolicy.RELEASE
    no_stop_to_delay = machine.off or (machine.lease is not None and machine.lease.found.running)
    # A sweep knows it by name alone, and whether it was released, only a look tells.
    if no_stop_to_delay and (trip.address is None or to_be_released):
        with suppress(NotFound):
            trip.address = await _address(trip.run, trip.world)
    seen = Seen(machine, trip.address, run=trip.view, in_flight=in_flight, start_unsettled=trip.start_unsettled)
    return trip.saw(seen)


async def still_running(seen: Seen, trip: Trip) -> bool:
    """Whether the VM is on, when its agent does not answer."""
    try:
        return (await trip.world.machines.look(seen.machine.name)).running
    except MayflyError:
        return True  # a look that failed decides nothing


def agent_ip(run: Run, seen: Seen) -> str:
    """Where the agent listens for us. Raises BadResource if the VM cannot be reached as the settings ask."""
    config = seen.machine.access_config
    if run.reach is Reach.INTERNAL:
        return seen.machine.internal_ip
    if seen.address is not None:
        return seen.address.ip
    if config is not None and config.ip is not None:
        return config.ip
    raise BadResource(
        f"{seen.machine.name} has no external IP. Name a reserved address in STATIC_NAME, or set AGENT_REACH=internal."
    )


def is_ready(greeting: Greeting, machine: Machine) -> bool:
    """It may be asked for the run: it is ready, and is known to be on that VM.

    An IP can answer from another VM: it has happened. Raises WrongMachine.
    """
    if greeting.instance_id not in {None, machine.id}:
        raise WrongMachine(
            f"The agent that answers for {machine.name} runs on instance {greeting.instance_id}, not on {machine.id}. "
            "Nothing was asked of it. Check which VM holds the address."
        )
    return greeting.status == "ok" and greeting.instance_id is not None


async def _look_inside(seen: Seen, trip: Trip) -> Seen:
    run = trip.run
    agent = trip.world.agent(seen.machine, agent_ip(run, seen))
    try:
        greeting = await agent.greet(seen.epoch)
    except AgentUnproven:
        return seen  # nobody yet
    if greeting is None or not is_ready(greeting, seen.machine):
        return replace(seen, greeting=greeting)
    try:
        view = await agent.find(run.key, run.mode)
    except AgentSilent:
        if await still_running(seen, trip):
            raise
        return await look_up(trip)  # the VM went off between two words
    trip.unread = False
    return replace(seen, greeting=greeting, run=view)


async def _address(run: Run, world: World) -> Address | None:
    if not run.address:
        return None
    try:
        return await world.addresses.find(run.address)
    except NotFound:
        if run.address_policy is not AddressPolicy.RELEASE:
            raise
        return Address.absent(run.address)
