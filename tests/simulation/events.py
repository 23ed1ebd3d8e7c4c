"""What happens at any moment by itself."""

from collections.abc import Callable
from datetime import timedelta

from gcp_emulator.seed import DEMO_INSTANCE, DEMO_PROJECT, DEMO_ZONE
from gcp_emulator.wire import Request
from tests.simulation.platform import Execution
from tests.simulation.schedule import Happening, Schedule
from tests.simulation.sweeper import Sweeper
from tests.simulation.universe import Universe

CROWD = 20  # orchestrators at once
LINE = timedelta(hours=1)  # for which each of them is ready to wait for its turn
PARTITION_SECONDS = 60.0  # shorter than `policy.lost_agent`: a run that goes on is found again


def make_happen(schedule: Schedule, universe: Universe, executions: list[Execution], sweeper: Sweeper) -> None:
    """Put every event of the schedule on the clock."""

    def trigger(name: str, key: str | None, waits: timedelta = timedelta()) -> None:
        executions.append(Execution(universe, f"{name}-{len(executions)}", key, waits))
        executions[-1].begin()

    def crowd(name: str, key: str | None) -> None:
        for _ in range(CROWD - 1):  # together with the first
            trigger(name, key, LINE)

    same_key = f"{executions[0].name}-0"

    def sweep_twice() -> None:
        sweeper.begin()
        sweeper.begin()

    acts: dict[Happening, Callable[[], None]] = {
        Happening.STOPPED: lambda: _stop_by_a_person(universe),
        Happening.PREEMPTED: lambda: universe.fault({"after": 0, "vm": DEMO_INSTANCE, "preempt": {}}),
        Happening.HOST_ERROR: lambda: universe.fault({"after": 0, "vm": DEMO_INSTANCE, "host_error": {}}),
        Happening.PARTITIONED: lambda: universe.fault(
            {"after": 0, "vm": DEMO_INSTANCE, "partition": {"seconds": PARTITION_SECONDS}}
        ),
        Happening.AGENT_KILLED: lambda: universe.guest().kill_agent(),
        Happening.CALLED_OFF: lambda: _call_off(executions),
        Happening.JOB_DELETED: lambda: _delete(executions),
        Happening.OTHER_TRIGGER: lambda: trigger("second", None),
        Happening.SAME_TRIGGER: lambda: trigger("twin", same_key),
        Happening.CROWD: lambda: crowd("other", None),
        Happening.CROWD_OF_ONE_KEY: lambda: crowd("twin", same_key),
        Happening.SWEEP: sweeper.begin,
        Happening.TWO_SWEEPS: sweep_twice,
        Happening.AGENT_GONE: lambda: universe.guest().lose_agent(),
    }
    for event in schedule.events:
        universe.loop.outside(event.at, _told, universe, event.happening, acts[event.happening])


def _told(universe: Universe, happening: Happening, act: Callable[[], None]) -> None:
    universe.tell(f"event: {happening}")
    act()


def _call_off(executions: list[Execution]) -> None:
    for execution in executions:
        execution.cancel()


def _delete(executions: list[Execution]) -> None:
    for execution in executions:
        execution.delete()


def _stop_by_a_person(universe: Universe) -> None:
    path = f"/compute/v1/projects/{DEMO_PROJECT}/zones/{DEMO_ZONE}/instances/{DEMO_INSTANCE}/stop"
    universe.ask(Request("POST", path), lambda _: None)
