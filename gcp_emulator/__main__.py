"""`python -m gcp_emulator`: the emulator by itself, without the rest of Mayfly's command line."""

import argparse
import asyncio
from pathlib import Path

from gcp_emulator.emulator import AGENT_PORT
from gcp_emulator.latency import PROFILES, BadLatencyError
from gcp_emulator.serve import DEFAULT_PORT, NoCheckoutError, Options, serve


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="gcp_emulator", description="The Google Cloud that Mayfly uses, emulated.")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT)
    parser.add_argument("--latency", choices=list(PROFILES), default="brisk")
    parser.add_argument("--latency-file", type=Path)
    parser.add_argument("--demo", action="store_true", help="project demo with a stopped VM, an address and a secret")
    parser.add_argument("--empty", action="store_true", help="project demo as it is when it is new: nothing, no API on")
    parser.add_argument("--forward", type=int, action="append", help=f"a port of the static IP ({AGENT_PORT})")
    parser.add_argument("--folder", type=Path, help="where the VMs' disks are")
    parser.add_argument("--seed", type=int, default=0, help="of the random latencies and ids")
    ways = ["process", "docker"]
    parser.add_argument("--containers", choices=ways, default="process", help="what the tasks of Cloud Run are")
    arguments = vars(parser.parse_args())
    arguments["forward"] = tuple(arguments["forward"] or [AGENT_PORT])
    try:
        asyncio.run(serve(Options(**arguments)))
    except (NoCheckoutError, BadLatencyError, OSError) as error:  # a port that is taken, a file that is not there
        parser.error(str(error))


if __name__ == "__main__":
    main()
