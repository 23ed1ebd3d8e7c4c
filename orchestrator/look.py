"""Look: collect the facts that the next decision needs, and no others."""

import asyncio
from dataclasses import replace

from orchestrator.errors import BadResource, NotFound, WrongMachine
from orchestrator.ladder import lease_is_ours
from orchestrator.ports import World
from orchestrator.run import Reach, Run
from orchestrator.seen import Address, Machine, Seen
from orchestrator.trip import Trip
from vm_agent.protocol import Greeting


async def look_up(run: Run, world: World) -> Seen:
    """Everything that going up asks for. Raises what stands in the way: NotFound, Forbidden, WrongMachine."""
    machine, address = await asyncio.gather(world.machines.look(run.instance), _address(run, world))
    seen = Seen(machine, address)
    if machine.running and lease_is_ours(seen, run):
        return await _look_inside(seen, run, world)
    return seen


async def look_down(trip: Trip) -> Seen | None:
    """What coming down asks for: the machine alone, for nothing may delay its stop. None if it is gone for good."""
    try:
        trip.machine = await trip.world.machines.look(trip.run.instance)
    except NotFound:
        return None
    in_flight = trip.in_flight is not None and not trip.in_flight.done()
    return Seen(trip.machine, trip.address, run=trip.view, in_flight=in_flight)


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


def check_identity(greeting: Greeting, machine: Machine) -> None:
    """An IP can answer from another VM: it has happened. Raises WrongMachine."""
    if greeting.instance_id not in {None, machine.id}:
        raise WrongMachine(
            f"The agent that answers for {machine.name} runs on instance {greeting.instance_id}, not on {machine.id}. "
            "Nothing was asked of it. Check which VM holds the address."
        )


async def _look_inside(seen: Seen, run: Run, world: World) -> Seen:
    agent = world.agent(agent_ip(run, seen))
    greeting = await agent.greet(seen.epoch)
    if greeting is None or greeting.status != "ok":
        return replace(seen, greeting=greeting)
    check_identity(greeting, seen.machine)
    return replace(seen, greeting=greeting, run=await agent.find(run.key, run.mode, run.attempt))


async def _address(run: Run, world: World) -> Address | None:
    return await world.addresses.find(run.address) if run.address else None
