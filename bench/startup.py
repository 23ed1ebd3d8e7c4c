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
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version

from gcp_emulator.emulator import Emulator
from gcp_emulator.exports import demo_exports, exports

OURS = (sys.executable, "-m", "mayfly", "run", "--json")
# A process begins with its parent's memory, and ours holds an emulator; so a small one is in between (some 15 ms).
LAUNCHER = """
import os, resource, sys
os.waitpid(os.spawnvp(os.P_NOWAIT, sys.argv[2], sys.argv[2:]), 0)
os.write(int(sys.argv[1]), b"%d" % resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
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
    for what, command in SCALE.items():
        _row(f"{what}, to its end", asyncio.run(_to_the_end(command, rounds)))


@dataclass(frozen=True)
class Round:
    """One process: how long it took to what is measured, and the most memory that it had."""

    seconds: float
    peak_mib: float


async def _to_the_end(command: Sequence[str], rounds: int) -> list[Round]:
    taken = []
    for _ in range(rounds + 1):
        began = datetime.now(UTC)
        peak = await _peak_of(command, os.environ)
        taken.append(Round((datetime.now(UTC) - began).total_seconds(), peak))
    return taken[1:]


async def _to_the_first_request(rounds: int) -> list[Round]:
    taken = []
    async with Emulator() as emulator:
        environment = {"PATH": os.environ["PATH"], **exports(emulator.port), **demo_exports()}
        for _ in range(rounds + 1):
            known = len(emulator.history())
            began = datetime.now(UTC)
            peak = await _peak_of(OURS, environment)
            first = next(entry for entry in emulator.history()[known:] if "/compute/" in entry.get("path", ""))
            taken.append(Round((datetime.fromisoformat(first["at"]) - began).total_seconds(), peak))
    return taken[1:]


async def _peak_of(command: Sequence[str], environment: Mapping[str, str]) -> float:
    """Run it to its end; MiB."""
    quiet = asyncio.subprocess.DEVNULL
    read, write = os.pipe()
    words = (sys.executable, "-I", "-S", "-c", LAUNCHER, str(write), *command)
    process = await asyncio.create_subprocess_exec(
        *words, env=environment, stdout=quiet, stderr=quiet, pass_fds=[write]
    )
    await process.wait()
    os.close(write)
    with os.fdopen(read) as told:
        return int(told.read()) / 1024


def _row(what: str, rounds: Sequence[Round], bounds: str = "") -> None:
    seconds = [each.seconds for each in rounds]
    peak = max(each.peak_mib for each in rounds)
    print(f"{what:44}{min(seconds):8.2f}{statistics.median(seconds):8.2f}{peak:10.0f}  {bounds}")


if __name__ == "__main__":
    main()
