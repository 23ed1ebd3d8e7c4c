"""From RUNNING to a greeting: knock often and briefly, and listen to what the VM says of itself."""

import asyncio

from pydantic import ValidationError

from orchestrator.errors import (
    AgentSilent,
    AgentUnproven,
    BootFailed,
    MayflyError,
    NotFound,
    Stranger,
    WrongMachine,
)
from orchestrator.look import agent_ip, is_ready
from orchestrator.seen import Machine, Seen
from orchestrator.spans import written
from orchestrator.together import first_to_end
from orchestrator.trip import Trip
from vm_agent.protocol import BOOT_REPORT, BootReport, Greeting

_CONSOLE_LINES = 15


async def until_ready(seen: Seen, trip: Trip) -> None:
    """Returns once the agent is ready.

    Raises BootFailed in seconds when the VM says what went wrong, AgentSilent when nobody says anything for
    `policy.boot`, WrongMachine or AgentRefused when the wrong one answers (for a while) or we are not let in.
    """
    heard: list[Greeting | AgentUnproven] = []
    try:
        async with asyncio.timeout(trip.world.policy.boot.total_seconds()):
            await first_to_end(_knock(seen, trip, heard), _listen_for_failure(seen, trip))
    except TimeoutError:
        raise AgentSilent(f"{_complaint(heard, trip)} {await _console_tail(seen.machine, trip)}") from None


def _complaint(heard: list[Greeting | AgentUnproven], trip: Trip) -> str:
    where, boot = f"{trip.run.instance}:{trip.run.agent_port}", trip.world.policy.boot
    match heard:
        case [AgentUnproven() as doubt]:
            return f"Nobody has proved to be the agent on {where} within {written(boot)}. {doubt}"
        case [Greeting() as greeting]:
            last_word = greeting.model_dump_json(exclude_none=True, exclude={"identity"})
            return f"The agent on {where} was not ready within {written(boot)}. The last that it said: {last_word}"
    return (
        f"No agent answered on {where} within {written(boot)}. "
        "Does the firewall let us in, and does startup.sh get through?"
    )


async def _knock(seen: Seen, trip: Trip, heard: list[Greeting | AgentUnproven]) -> None:
    machine, policy = seen.machine, trip.world.policy
    agent = trip.world.agent(machine, agent_ip(trip.run, seen))
    strangers_since: float | None = None
    while True:
        try:
            greeting = await agent.greet(seen.epoch)
        except AgentUnproven as doubt:  # of an earlier boot, or the agent cannot prove it yet: nobody, until time is up
            heard[:], greeting = [doubt], None
            if isinstance(doubt, Stranger) and doubt.epoch == seen.epoch:
                strangers_since = _minded(doubt, strangers_since, trip)
        if greeting is not None:
            if is_ready(greeting, machine):
                return
            if greeting.status == "failed":
                raise BootFailed(f"The agent on {machine.name} failed at {greeting.stage}: {greeting.detail}")
            heard[:] = [greeting]
        await trip.world.clock.sleep(policy.agent_poll)


def _minded(stranger: Stranger, since: float | None, trip: Trip) -> float:
    """Since when somebody else answers although our VM has published its certificate in this boot; WrongMachine."""
    now, patience = trip.world.clock.monotonic(), trip.world.policy.stranger
    if since is not None and now - since >= patience.total_seconds():
        raise WrongMachine(
            f"{stranger} It has been so for {written(patience)}. Check which VM holds the address."
        ) from stranger
    return now if since is None else since


async def _listen_for_failure(seen: Seen, trip: Trip) -> None:
    """Ends only by raising: a report of failure of *this* boot, or a VM that went off."""
    machine = seen.machine
    while True:
        await trip.world.clock.sleep(trip.world.policy.boot_report)
        failure = await _reported_failure(seen, trip) or await _gone_off(machine, trip)
        if failure is not None:
            raise BootFailed(f"{failure} {await _console_tail(machine, trip)}")


async def _reported_failure(seen: Seen, trip: Trip) -> str | None:
    try:
        published = await trip.world.machines.published(seen.machine, BOOT_REPORT)
        report = BootReport.model_validate_json(published or "{}")
    except (MayflyError, ValidationError):
        return None  # a look that failed decides nothing
    if report.status != "failed" or report.epoch != seen.epoch:
        return None
    return f"The start-up of {seen.machine.name} failed at stage {report.stage}: {report.detail}"


async def _gone_off(machine: Machine, trip: Trip) -> str | None:
    try:
        now = await trip.world.machines.look(machine.name)
    except NotFound:
        raise
    except MayflyError:
        return None
    return None if now.running else f"{machine.name} went {now.status} while it booted."


async def _console_tail(machine: Machine, trip: Trip) -> str:
    try:
        tail = await trip.world.machines.console(machine, _CONSOLE_LINES)
    except MayflyError as error:
        return f"(The serial console could not be read: {error})"
    return f"The end of its serial console:\n{tail}" if tail.strip() else "Its serial console is empty."
