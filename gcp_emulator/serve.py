"""`mayfly emulator`: an emulator that runs until it is told to end."""

import asyncio
import secrets
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from gcp_emulator.containers import Containers, Docker, Processes
from gcp_emulator.emulator import AGENT_PORT, Emulator
from gcp_emulator.latency import PROFILES, Latency, latency_from_toml
from gcp_emulator.seed import Seed, demo_seed, empty_seed

DEFAULT_PORT = 8475
CHECKOUT = Path(__file__).resolve().parent.parent
# What the demo's VM is told to be: this checkout at its commit, with everything that the transcription needs.
DEMO_EXTRAS = "agent transcribe demo"


class NoCheckoutError(RuntimeError):
    """The demo's VM runs the code of a git checkout, and this is none."""


@dataclass(frozen=True)
class Options:
    """What `mayfly emulator` can be told."""

    port: int = DEFAULT_PORT
    latency: str = "brisk"
    latency_file: Path | None = None
    demo: bool = False
    empty: bool = False  # a project as Google hands it over
    forward: tuple[int, ...] = (AGENT_PORT,)
    folder: Path | None = None  # the VMs' disks; default: .mayfly/emulator-PORT here, so that second boots are warm
    seed: int = 0
    containers: str = "process"  # what a task of Cloud Run is: a process of `mayfly`, or a container of its job's image


class UnknownContainersError(ValueError):
    """There is no such way to run the tasks of Cloud Run."""


async def serve(options: Options) -> None:
    """Run an emulator until SIGTERM or SIGINT; then its VMs lose their power first."""
    told_to_end = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told_to_end.set)
    emulator = Emulator(
        seed=_seed(options),
        port=options.port,
        latency=_latency(options),
        folder=_folder(options),
        forward=options.forward,
        readable=[CHECKOUT] if options.demo or options.empty else [],
        random_seed=options.seed,
        containers=_containers(options),
    )
    async with emulator:
        sys.stderr.write(f"The emulator is at {emulator.url}/ (Ctrl-C ends it and every VM in it).\n")
        sys.stderr.write(f'For clients: eval "$(mayfly emulator env --port {emulator.port})"\n')
        await told_to_end.wait()


def _seed(options: Options) -> Seed:
    if options.demo:
        return demo_world()
    return empty_seed() if options.empty else Seed()


def _containers(options: Options) -> Containers:
    ways: dict[str, type[Processes] | type[Docker]] = {"process": Processes, "docker": Docker}
    if options.containers not in ways:
        raise UnknownContainersError(f"--containers {options.containers}: there are {' and '.join(ways)}")
    return ways[options.containers]()


def demo_world(checkout: Path = CHECKOUT) -> Seed:
    """A project with a stopped VM that will boot this checkout's startup.sh, an address and the agent's key."""
    script = checkout / "startup.sh"
    if not script.exists():
        raise NoCheckoutError(f"{script} is not there: --demo needs a clone of the project, not an installed package")
    metadata = {"mayfly-source": checkout.as_uri(), "mayfly-ref": commit(checkout), "mayfly-extras": DEMO_EXTRAS}
    return demo_seed(script.read_text(), api_key=secrets.token_urlsafe(24), metadata=metadata)


def commit(checkout: Path) -> str:
    """The commit that is checked out. What is not committed does not reach the VM, as on Compute Engine."""
    command = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    if found.returncode:
        raise NoCheckoutError(f"{checkout} is not a git checkout: {found.stderr.strip()}")
    return found.stdout.strip()


def _folder(options: Options) -> Path | None:
    """Where the disks are: a port chosen by the system is another one next time, so nobody would find them again."""
    if options.folder is None and options.port == 0:
        return None
    return (options.folder or Path(".mayfly") / f"emulator-{options.port}").resolve()


def _latency(options: Options) -> Latency:
    if options.latency_file:
        return latency_from_toml(options.latency_file.read_text())
    return PROFILES[options.latency]
