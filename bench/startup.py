"""What it costs to begin: from the start of the process to its first request to Compute Engine, and the memory for it.

    uv run --all-extras python bench/startup.py [--rounds 10]

Each round starts `mayfly run` as a process of its own, on an emulator without the VM that it asks for: the run ends at
its first look. Beside it, for scale, a Python that imports google-cloud-compute as its documentation says.
Printed with the environment; the emulator's history tells when the request came.
"""

import argparse
import asyncio
import os
import platform
import resource
import statistics
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version

from gcp_emulator.emulator import Emulator
from gcp_emulator.exports import demo_exports, exports

OURS = (sys.executable, "-m", "mayfly", "run", "--json")
SCALE = {
    "import google.cloud.compute_v1": (sys.executable, "-c", "import google.cloud.compute_v1"),
}


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    rounds = parser.parse_args().rounds
    print(f"python {platform.python_version()}, {os.cpu_count()} cores, {platform.platform()}")
    print(f"google-cloud-compute {version('google-cloud-compute')}; {rounds} rounds, bytecode compiled before\n")
    print(f"{'':44}{'best s':>8}{'median':>8}{'peak MiB':>10}{'bounds':>14}")
    _row("mayfly run, to its first Compute request", asyncio.run(_to_the_first_request(rounds)), "0.7 s, 120 MiB")
    for what, command in SCALE.items():  # after ours, for the peak is that of the largest child until then
        _row(f"{what}, to its end", asyncio.run(_to_the_end(command, rounds)))


async def _to_the_end(command: Sequence[str], rounds: int) -> list[float]:
    taken = []
    for _ in range(rounds + 1):
        began = datetime.now(UTC)
        await (await asyncio.create_subprocess_exec(*command)).wait()
        taken.append((datetime.now(UTC) - began).total_seconds())
    return taken[1:]


async def _to_the_first_request(rounds: int) -> list[float]:
    taken = []
    async with Emulator() as emulator:
        environment = {"PATH": os.environ["PATH"], "AGENT_KEY": "k", **exports(emulator.port), **demo_exports()}
        for _ in range(rounds + 1):
            known = len(emulator.history())
            began = datetime.now(UTC)
            quiet = asyncio.subprocess.DEVNULL
            process = await asyncio.create_subprocess_exec(*OURS, env=environment, stdout=quiet, stderr=quiet)
            await process.wait()
            first = emulator.history()[known]
            taken.append((datetime.fromisoformat(first["at"]) - began).total_seconds())
    return taken[1:]


def _row(what: str, seconds: Sequence[float], bounds: str = "") -> None:
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"{what:44}{min(seconds):8.2f}{statistics.median(seconds):8.2f}{peak:10.0f}  {bounds}")


if __name__ == "__main__":
    main()
