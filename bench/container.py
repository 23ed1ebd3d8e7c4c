"""What a container of its own costs a run: seconds over the same run as a plain command.

    sudo .venv/bin/python bench/container.py [--rounds 20]

A real Docker Engine is started for it, in namespaces of its own (as root; needs what tests/engines.py names). By turns,
one after the other in one process: a plain command, the same in a container without a network, with one behind the
wall, and the engine alone, which makes, runs and removes the same container for its own client. Printed, with the
environment, in milliseconds from the request to the answer that it has finished; and the CPU time of the processes that
keep and follow the run. On a busy machine the least of all rounds says most.
"""

import argparse
import asyncio
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # the engine and the agent are the tests' own

from tests.contract.agent_at_work import result_of
from tests.contract.contained import an_agent_with
from tests.engines import TestEngine, an_engine
from vm_agent.containers import confinement
from vm_agent.containers.engine import Engine
from vm_agent.containers.terms import Terms

PLAIN = {"command": ["true"]}
ALONE = "the engine alone: make, run, remove"
CONTAINED = {"image": "box:1", "arguments": ["/bin/true"]}


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # on a VM Docker's client is compiled once, not in each run
    with tempfile.TemporaryDirectory() as folder, an_engine(Path(folder)) as engine:
        about = engine.api.version()
        print(f"python {platform.python_version()}, {os.cpu_count()} cores, {platform.platform()}")
        print(f"load before: {os.getloadavg()[0]:.1f}; Docker Engine {about['Version']}, storage driver vfs")
        print(f"{rounds} rounds of each, by turns\n")
        measured = asyncio.run(_measure(engine, Path(folder), rounds))
        print(f"load after: {os.getloadavg()[0]:.1f}\n")
    least, plain = (how(took for took, _ in measured["plain command"]) for how in (min, statistics.median))
    print(
        f"{'milliseconds':44}{'least':>8}{'over plain':>12}{'p50':>8}{'over plain':>12}{'p90':>8}{'our CPU, p50':>15}"
    )
    for what, each in measured.items():
        took, cpu = [one for one, _ in each], statistics.median(one for _, one in each)
        middle, high = statistics.median(took), statistics.quantiles(took, n=10)[-1]
        row = f"{what:44}{min(took) * 1000:8.0f}{(min(took) - least) * 1000:12.0f}{middle * 1000:8.0f}"
        row += f"{(middle - plain) * 1000:12.0f}{high * 1000:8.0f}"
        print(row if what == ALONE else f"{row}{cpu * 1000:15.0f}")


async def _measure(engine: TestEngine, folder: Path, rounds: int) -> dict[str, list[tuple[float, float]]]:
    async with AsyncExitStack() as stack:
        shut = await stack.enter_async_context(an_agent_with(engine, folder / "shut", network=False))
        walled = await stack.enter_async_context(an_agent_with(engine, folder / "walled"))
        turns: dict[str, Callable[[], Awaitable[Any]]] = {
            "plain command": lambda: result_of(shut, job=PLAIN),
            "container, no network": lambda: result_of(shut, job=CONTAINED),
            "container, network behind the wall": lambda: result_of(walled, job=CONTAINED),
            ALONE: lambda: asyncio.to_thread(_alone, engine, folder),
        }
        measured: dict[str, list[tuple[float, float]]] = {what: [] for what in turns}  # seconds: by the clock, of CPU
        for turn in range(rounds + 1):
            for what, act in turns.items():
                began, spent = time.monotonic(), _spent()
                answer = await act()
                assert answer is None or answer["state"] == "SUCCEEDED", answer
                if turn:  # the first one warms up
                    measured[what].append((time.monotonic() - began, _spent() - spent))
        return measured


def _spent() -> float:
    """Seconds of CPU of all child processes that have ended, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _alone(engine: TestEngine, folder: Path) -> None:
    client = Engine(engine.url)
    limits = {**confinement.limits(folder, "none", Terms(memory_bytes=64 << 20)), "mounts": []}
    container, _ = client.create("alone", {"image": "box:1", "command": ["/bin/true"]}, limits)
    client.start(container)
    assert client.end(container).exit_code == 0
    client.remove(container, 0)


if __name__ == "__main__":
    main()
