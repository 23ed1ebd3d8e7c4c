"""From RUNNING to a greeting: knock often and briefly, and listen to what the VM says of itself."""

import asyncio

from orchestrator.errors import AgentSilent, BootFailed, MayflyError
from orchestrator.look import agent_ip, check_identity
from orchestrator.seen import Machine, Seen
from orchestrator.together import first_to_end
from orchestrator.trip import Trip
from vm_agent.protocol import Greeting

_CONSOLE_LINES = 15


async def until_ready(seen: Seen, trip: Trip) -> None:
    """Returns once the agent is ready.

    Raises BootFailed in seconds when the VM says what went wrong, AgentSilent when nobody says anything for
    `policy.boot`, WrongMachine or AgentRefused when the wrong one answers or we are not let in.
    """
    policy = trip.world.policy
    try:
        async with asyncio.timeout(policy.boot.total_seconds()):
            await first_to_end(_knock(seen, trip), _listen_for_failure(seen, trip))
    except TimeoutError:
        raise AgentSilent(
            f"No agent answered on {trip.run.instance}:{trip.run.agent_port} within {policy.boot}. Does the "
            f"firewall let us in, and does startup.sh get through? {await _console_tail(seen.machine, trip)}"
        ) from None


async def _knock(seen: Seen, trip: Trip) -> None:
    machine, policy = seen.machine, trip.world.policy
    agent = trip.world.agent(agent_ip(trip.run, seen))
    while True:
        greeting = await agent.greet(seen.epoch)
        if greeting is not None and _ready(greeting, machine):
            return
        await trip.world.clock.sleep(policy.agent_poll)


def _ready(greeting: Greeting, machine: Machine) -> bool:
    check_identity(greeting, machine)
    if greeting.status == "failed":
        raise BootFailed(f"The agent on {machine.name} failed at {greeting.stage}: {greeting.detail}")
    return greeting.status == "ok"


async def _listen_for_failure(seen: Seen, trip: Trip) -> None:
    """Ends only by raising: a report of failure of *this* boot, or a VM that went off."""
    world, machine = trip.world, seen.machine
    while True:
        await world.clock.sleep(world.policy.boot_report)
        try:
            report = await world.machines.boot_report(machine)
            now = await world.machines.look(machine.name)
        except MayflyError:
            continue  # a look that failed decides nothing
        if report is not None and report.status == "failed" and report.epoch == seen.epoch:
            raise BootFailed(
                f"The start-up of {machine.name} failed at stage {report.stage}: {report.detail} "
                f"{await _console_tail(machine, trip)}"
            )
        if not now.running:
            raise BootFailed(f"{machine.name} went {now.status} while it booted. {await _console_tail(machine, trip)}")


async def _console_tail(machine: Machine, trip: Trip) -> str:
    try:
        tail = await trip.world.machines.console(machine, _CONSOLE_LINES)
    except MayflyError as error:
        return f"(The serial console could not be read: {error})"
    return f"The end of its serial console:\n{tail}" if tail.strip() else "Its serial console is empty."
