"""What Mayfly itself adds to a run: seconds that are neither the cloud's nor the VM's.

    uv run --all-extras python bench/overhead.py [--rounds 20]

Each round is a whole run of a job that does nothing, with Google's client on the emulator and the real agent; the
emulator's history tells when each operation began and ended. Printed, with the environment, in milliseconds:

- trigger -> job accepted, less the operations on that path and less the boot (RUNNING until the agent answers at all)
- job finished -> stop accepted
- called off (as by SIGTERM) -> stop accepted, in the middle of a job
"""

import argparse
import asyncio
import math
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import httpx

sys.path.insert(0, str(Path(__file__).parents[1]))  # the laboratory is the journeys' own

from orchestrator.events import PhaseStarted
from orchestrator.policy import Policy
from orchestrator.run import Receipt
from tests.journeys.lab import API_KEY, Lab, a_lab

T = TypeVar("T")
ON_THE_WAY = ("instances.setMetadata", "instances.setScheduling", "instances.addAccessConfig", "instances.start")


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    print(f"python {platform.python_version()}, {os.cpu_count()} cores, {platform.platform()}")
    print(f"google-cloud-compute {version('google-cloud-compute')}; emulator on loopback, latency instant")
    print(f"{rounds} rounds\n")
    asyncio.run(_in_a_lab(_one_run))  # imports Google's library: bench/startup.py measures that
    runs = [asyncio.run(_in_a_lab(_one_run)) for _ in range(rounds)]
    turned_round = [asyncio.run(_in_a_lab(_called_off)) for _ in range(rounds)]
    print(f"{'milliseconds':34}{'p50':>8}{'p99':>8}{'bounds':>14}")
    _row("trigger -> job accepted, added", [added for added, _ in runs], "150, 500")
    _row("job finished -> stop accepted", [stopping for _, stopping in runs], "50, 250")
    _row("called off -> stop accepted", turned_round, "1000")


async def _in_a_lab(measure: Callable[[Lab], Awaitable[T]]) -> T:
    with tempfile.TemporaryDirectory() as folder:
        async with a_lab(Path(folder)) as lab:
            return await measure(lab)


async def _one_run(lab: Lab) -> tuple[float, float]:
    """(seconds added on the way up, seconds from the job's last statement to the stop)."""
    answering = asyncio.create_task(_first_answer(lab))
    began = datetime.now(UTC)
    receipt = await lab.run("main:what_time_is_it", policy=Policy(), agent_key=API_KEY)
    accepted = _end(receipt, "invoke")
    running = _spans(lab, "instances.start")[0][1]
    operations = sum(
        ((end - begin).total_seconds() for verb in ON_THE_WAY for begin, end in _spans(lab, verb) if end <= running),
        0.0,
    )
    boot = (await answering - running).total_seconds()
    stop = datetime.fromisoformat(lab.requests("instances.stop")[0]["at"])
    finished = datetime.fromtimestamp(receipt.result, UTC)
    return (accepted - began).total_seconds() - operations - boot, (stop - finished).total_seconds()


async def _called_off(lab: Lab) -> float:
    called_off = asyncio.Event()
    running = asyncio.create_task(lab.run("main:for_ever", policy=Policy(), called_off=called_off))
    await lab.until(lambda: any(isinstance(event, PhaseStarted) and event.name == "job" for event in lab.told))
    told = datetime.now(UTC)
    called_off.set()
    await running
    stop = datetime.fromisoformat(lab.requests("instances.stop")[0]["at"])
    return (stop - told).total_seconds()


async def _first_answer(lab: Lab) -> datetime:
    """When the agent first says that it is well, asked at its own address and far more often than we would."""
    url = f"https://{next(iter(lab.emulator.cloud.machines().values()))}:8000/"
    async with httpx.AsyncClient(verify=False) as client:  # noqa: S501 - nothing is said to it, only when it answers
        while True:
            try:
                if (await client.get(url)).status_code == httpx.codes.OK:
                    return datetime.now(UTC)
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.01)


def _spans(lab: Lab, verb: str) -> list[tuple[datetime, datetime]]:
    """When each operation of this verb began and ended."""
    times: dict[str, list[datetime]] = {}
    for entry in lab.emulator.history():
        if entry["kind"] == "operation" and entry["verb"] == verb:
            times.setdefault(entry["name"], []).append(datetime.fromisoformat(entry["at"]))
    return [(span[0], span[-1]) for span in times.values()]


def _end(receipt: Receipt, name: str) -> datetime:
    phase = next(phase for phase in receipt.phases if phase.name == name)
    return phase.started + timedelta(seconds=phase.seconds)


def _row(what: str, seconds: Sequence[float], bounds: str) -> None:
    ordered = sorted(1000 * value for value in seconds)
    worst = ordered[math.ceil(0.99 * len(ordered)) - 1]
    print(f"{what:34}{statistics.median(ordered):8.0f}{worst:8.0f}{bounds:>14}")


if __name__ == "__main__":
    main()
