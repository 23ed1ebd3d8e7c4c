"""Is the agent still quick to say that it is well, while its job saturates every CPU?

    uv run --all-extras python bench/agent_health.py [--seconds 10]

The real agent as a process of its own, on loopback. Its job burns all CPUs, twice as many processes as there are; one
connection asks `GET /` over and over, with and without credentials. Printed, with the environment, in milliseconds,
first without a job, for scale. What asks is not niced either: it is not the job that it waits for.
"""

import argparse
import asyncio
import math
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import httpx

sys.path.insert(0, str(Path(__file__).parents[1]))  # the agent at work is the tests' own

from tests.contract.agent_at_work import CREDENTIALS, AgentProcess, agent_process, start, write_main

PAUSE_SECONDS = 0.005  # between two questions: the asker must not be what saturates the CPUs
BURNS = """
import os, time
def run(context):
    until = time.monotonic() + context.params["seconds"]
    for _ in range(2 * os.cpu_count() - 1):
        if os.fork() == 0:
            break
    while time.monotonic() < until:
        pass
"""


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10, help="for each of the four rows")
    seconds = parser.parse_args().seconds
    print(f"python {platform.python_version()}, {os.cpu_count()} cores, {platform.platform()}")
    print(f"uvicorn {version('uvicorn')}; load before: {os.getloadavg()[0]:.1f}; {seconds:g} s for each row\n")
    asyncio.run(_measured(seconds))


async def _measured(seconds: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_main(Path(folder), BURNS)
        async with agent_process(Path(folder)) as agent:
            print(f"{'GET /, milliseconds':46}{'asked':>8}{'p50':>8}{'p99':>8}{'worst':>8}{'bounds':>14}")
            await _rows(agent, "idle", seconds)
            began = await start(agent.client, params={"seconds": 2 * seconds + 60}, timeout_seconds=2 * seconds + 60)
            run = began.raise_for_status().json()["id"]
            await asyncio.sleep(1)  # all are at it
            await _rows(agent, "all CPUs busy with the job", seconds, bounds="p99 20")
            state = (await agent.client.post(f"/runs/{run}/cancel")).json()["state"]
            if state != "RUNNING":
                sys.exit(f"the job should have been at work, but it is {state}: no number above counts")


async def _rows(agent: AgentProcess, when: str, seconds: float, bounds: str = "") -> None:
    for who, headers in (("anybody", {}), ("with credentials", CREDENTIALS)):
        async with httpx.AsyncClient(base_url=agent.client.base_url, headers=headers) as client:
            _row(f"{when}, {who}", await _asked(client, seconds), bounds)


async def _asked(client: httpx.AsyncClient, seconds: float) -> list[float]:
    await client.get("/")  # the connection is made
    taken, until = [], time.perf_counter() + seconds
    while time.perf_counter() < until:
        began = time.perf_counter()
        (await client.get("/")).raise_for_status()
        taken.append(1000 * (time.perf_counter() - began))
        await asyncio.sleep(PAUSE_SECONDS)
    return taken


def _row(what: str, taken: Sequence[float], bounds: str) -> None:
    ordered = sorted(taken)
    p99 = ordered[math.ceil(0.99 * len(ordered)) - 1]
    print(f"{what:46}{len(ordered):8}{statistics.median(ordered):8.1f}{p99:8.1f}{ordered[-1]:8.1f}{bounds:>14}")


if __name__ == "__main__":
    main()
