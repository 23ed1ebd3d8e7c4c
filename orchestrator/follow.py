"""Follow a run to its end: its state, its progress and its output, through lost connections."""

import asyncio
from datetime import timedelta

from orchestrator.errors import AgentFault, RunLost, RunOverdue
from orchestrator.events import JobOutput, JobProgress, Note
from orchestrator.look import agent_ip, still_running
from orchestrator.ports import Agent, Output
from orchestrator.seen import Seen
from orchestrator.spans import written
from orchestrator.trip import Trip
from vm_agent.protocol import RunView


async def follow(seen: Seen, trip: Trip) -> RunView | None:
    """The finished run; None if the VM is no longer running, so that a look is due.

    Raises RunLost when the agent of a running VM stays silent for `policy.lost_agent`, RunOverdue when the run is
    past its deadline and still not ended.
    """
    assert seen.run is not None  # noqa: S101 - we follow only what was invoked
    ip = agent_ip(trip.run, seen)
    showing = asyncio.create_task(_show_output(trip.world.output(seen.machine, ip), seen.run, trip))
    try:
        view = await _until_finished_or_overdue(seen, ip, trip)
        if view is not None:
            trip.view = view
            await _last_output(showing, trip)
    finally:
        showing.cancel()
        await asyncio.gather(showing, return_exceptions=True)
    return view


async def _until_finished_or_overdue(seen: Seen, ip: str, trip: Trip) -> RunView | None:
    run, agent = trip.run, trip.world.agent(seen.machine, ip)
    assert seen.run is not None  # noqa: S101 - as above
    try:
        async with asyncio.timeout((run.timeout + trip.world.policy.grace).total_seconds()):
            return await _until_finished(seen, seen.run, agent, trip)
    except TimeoutError:
        pass
    try:
        view = await agent.find(run.key, run.mode)
    except AgentFault as silence:
        raise RunLost(
            f"The run is past its deadline, and its agent is silent ({silence}), so how the job ended is not known."
        ) from silence
    if view is None or not view.state.finished:
        raise RunOverdue(
            f"The run is past its deadline of {written(run.timeout)} and its agent did not end it. The VM is stopped."
        )
    return view


async def _until_finished(seen: Seen, view: RunView, agent: Agent, trip: Trip) -> RunView | None:
    clock, policy = trip.world.clock, trip.world.policy
    heard = clock.monotonic()
    while not view.state.finished:
        trip.view = view
        try:
            news = await agent.follow(view)
        except AgentFault as silence:
            if not await still_running(seen, trip):
                return None
            if timedelta(seconds=clock.monotonic() - heard) > policy.lost_agent:
                raise RunLost(
                    f"The agent on {seen.machine.name} fell silent while the job was running ({silence}), so how the "
                    "job ended is not known."
                ) from silence
            await clock.sleep(policy.off_poll)
            continue
        heard = clock.monotonic()
        if news.progress != view.progress:
            trip.tell(JobProgress(news.progress.fraction, news.progress.message))
        view = news
    return view


async def _show_output(output: Output, view: RunView, trip: Trip) -> None:
    complete = False
    while not complete:
        try:
            data, trip.log_offset, complete = await output.read_log(view.id, trip.log_offset)
        except Exception:  # noqa: BLE001 - whatever it is, the job goes on, and so does its output
            await trip.world.clock.sleep(trip.world.policy.off_poll)
            continue
        if data:
            trip.tell(JobOutput(data))


async def _last_output(showing: asyncio.Task[None], trip: Trip) -> None:
    """The log ends with the run: time for its last bytes while they keep coming, not for ever: the VM costs money."""
    clock, policy = trip.world.clock, trip.world.policy
    began, shown = clock.monotonic(), -1
    while not showing.done() and shown != trip.log_offset:
        if clock.monotonic() - began > policy.last_output.total_seconds():
            break
        shown = trip.log_offset
        await asyncio.wait({showing}, timeout=policy.agent_answer.total_seconds())
    if not showing.done():
        trip.tell(Note("WARNING", "The job's output goes on, but the VM is not kept on to show it: --out copies it."))
