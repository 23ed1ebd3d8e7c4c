"""`python -m vm_agent`: the agent as a process. Exit code 2: it was set up wrongly and did not start."""

import argparse
import asyncio
import fcntl
import importlib.metadata
import logging
import sys
import uuid
from collections.abc import Sequence
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import TextIO

from vm_agent import certificate as certificates
from vm_agent import identity, policy, serving
from vm_agent.agent import Agent
from vm_agent.app import create_app
from vm_agent.attempts import Attempts
from vm_agent.auth import ApiKeys, CloudRun, Credential, IdToken
from vm_agent.certificate import Certificate, NotPublished
from vm_agent.cgroups import writable_group
from vm_agent.clock import MachineClock
from vm_agent.deadman import Deadman
from vm_agent.fence import Fence, epoch_of
from vm_agent.google_keys import fetch_keys
from vm_agent.gpu import ChildProbe
from vm_agent.guard import ANY, own_names
from vm_agent.hold import Banner
from vm_agent.identity import GooglesWord, Identity, Metadata, NoMetadata
from vm_agent.job_user import let_pass
from vm_agent.ledger import Ledger, LostLedger
from vm_agent.power import PowerButton
from vm_agent.problems import LedgerLost
from vm_agent.process import LocalProcesses
from vm_agent.protocol import audience_of
from vm_agent.pulse import PulseFile
from vm_agent.runs import Runs
from vm_agent.settings import BadSetting, Settings, from_environment
from vm_agent.signed import GoogleKeys
from vm_agent.uploads import Uploads
from vm_agent.wall import METADATA_HOST, NoWall, Wall

EVERYWHERE = "0.0.0.0"  # noqa: S104 - all that a container has is its own

log = logging.getLogger("vm_agent")


def main() -> None:
    """Read the settings, take the port, serve until SIGTERM."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    if sys.argv[1:2] == ["gateway"]:
        from vm_agent.gateway import command  # noqa: PLC0415 - no VM waits at its boot for what it will not use

        command.main(sys.argv[2:])
        return
    arguments = _arguments(sys.argv[1:])
    for chatter in ("uvicorn.error", "httpx"):  # their comings and goings; ours say more
        logging.getLogger(chatter).setLevel(logging.WARNING)
    try:
        settings = from_environment()
        lock = _only_agent(settings.state)
        serving.allow_open_files()
        if settings.job_user:
            let_pass(settings.state)
        asyncio.run(_serve(settings, arguments.host, settings.port if arguments.port is None else arguments.port))
        lock.close()
    except BadSetting as problem:
        log.critical("%s", problem)
        sys.exit(2)


def _arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="vm_agent",
        description="Accepts runs on this VM, or with MAYFLY_SERVICE=1 in this Cloud Run service, and executes them.",
        epilog="`vm_agent gateway --help`: passing requests on to a private Cloud Run service instead.",
    )
    parser.add_argument("--host", help="address to listen on (default: nic0's, from the metadata server)")
    parser.add_argument("--port", type=int, help="port to listen on (default: AGENT_PORT, else 8000; 0: any free one)")
    return parser.parse_args(words)


async def _serve(settings: Settings, host: str | None, port: int) -> None:
    if settings.job_wall:
        await _stand(settings.job_wall)
    metadata = NoMetadata() if settings.service else await _metadata(settings, host)
    address = host or (EVERYWHERE if settings.service else await _address(metadata))
    certificate = await _certificate(settings, metadata)
    try:
        listening = await serving.listen(address, port)
    except OSError as problem:
        raise BadSetting(f"cannot listen on {address}:{port}: {problem.strerror or problem}") from problem
    address, port = listening.getsockname()[:2]
    if certificate is None and settings.tls and not settings.service and not ip_address(address).is_loopback:
        raise BadSetting(f"no metadata server to publish a certificate with: {address} is not for plain HTTP")
    agent = _agent(settings, metadata, certificate, await _credentials(settings, metadata))
    # Cloud Run passes on what was meant for the service, by whichever of its names; it ends TLS, too.
    agent.names = {ANY} if settings.service else settings.hosts | await own_names(metadata)
    log.info("listening on %s://%s:%s", "https" if certificate else "http", address, port)
    server = serving.Server(create_app(agent), agent.runs.leave, certificate.file if certificate else None)
    await server.serve(sockets=[listening])


async def _certificate(settings: Settings, metadata: Metadata | NoMetadata) -> Certificate | None:
    """Published, so that whoever finds us listening can know us. None: plain HTTP."""
    if isinstance(metadata, NoMetadata) or not settings.tls:
        return None
    try:
        folder, boot = settings.root / "run/mayfly", identity.boot_id(settings.root)
        made = certificates.of_this_boot(folder, boot, await _epoch(metadata))
        await certificates.publish(made, metadata)
    except NotPublished as problem:
        raise BadSetting(f"{problem} (or MAYFLY_TLS=off, where nobody but its callers can reach it)") from problem
    except OSError as problem:
        raise BadSetting(f"cannot keep a key in {settings.root / 'run/mayfly'}: {problem}") from problem
    return made


async def _epoch(metadata: Metadata) -> int:
    """Of the lease on this VM, as far as it can be told."""
    try:
        return epoch_of(await metadata.lease())
    except OSError:
        return 0


async def _credentials(settings: Settings, metadata: Metadata | NoMetadata) -> list[Credential]:
    """All ways that open the door."""
    ways: list[Credential] = [ApiKeys(settings.api_keys)] if settings.api_keys else []
    if settings.service and not ways:
        ways.append(CloudRun())
    if settings.callers is not None:
        keys = GoogleKeys(partial(fetch_keys, settings.certs_url), lambda: MachineClock().now().timestamp())
        keys.prepare()
        ways.append(IdToken(keys, await _audience(metadata), settings.callers))
    return ways


async def _audience(metadata: Metadata | NoMetadata) -> str:
    """This VM's own name in full: no token for another one is taken."""
    try:
        place = [await metadata.read(path) for path in ("project/project-id", "instance/zone", "instance/name")]
    except OSError as problem:
        raise BadSetting(f"the metadata server does not tell this VM's name: {problem}") from problem
    if not all(place):
        raise BadSetting("MAYFLY_AUTH=id-token is for a VM of Compute Engine: set MAYFLY_AUTH=api-key elsewhere")
    project, zone, name = (str(part) for part in place)
    return audience_of(project, zone.rpartition("/")[2], name)


def _agent(
    settings: Settings,
    metadata: Metadata | NoMetadata,
    certificate: Certificate | None,
    credentials: Sequence[Credential],
) -> Agent:
    clock, boot_id = MachineClock(), identity.boot_id(settings.root)
    word = None
    if certificate and isinstance(metadata, Metadata):
        word = GooglesWord(metadata, certificate.publication.audience, clock)
    deadman = Deadman(
        clock,
        PulseFile(settings.root / "run/mayfly/pulse"),
        Banner(settings.root / "run/motd.d/mayfly-hold"),
        silence_seconds=settings.silence_seconds,
        run_grace_seconds=settings.stop_grace_seconds + policy.KEEPER_GRACE_SECONDS + policy.DEADMAN_RUN_GRACE_SECONDS,
    )
    ledger = _ledger(settings.state / "ledger.db")
    processes = LocalProcesses(
        app=settings.app,
        environment=settings.job_environment,
        boot_id=boot_id,
        stop_grace_seconds=settings.stop_grace_seconds,
        user=settings.job_user,
        wall=settings.job_wall,
        groups=None if settings.emulated else writable_group(),
        containers=settings.containers,
    )
    runs = Runs(ledger, processes, settings.state / "runs", settings.jobs, clock.now, _new_id, deadman)
    runs.uploads = Uploads(settings.state / "uploads", settings.upload_bytes_max)
    return Agent(
        runs=runs,
        fence=Fence(ledger, metadata, clock.now),
        identity=Identity(metadata, boot_id, word),
        gpu_probe=ChildProbe(),
        power=PowerButton(_poweroff(settings, metadata)),
        deadman=deadman,
        metadata=metadata,
        credentials=credentials,
        attempts=Attempts(clock.uptime),
        version=importlib.metadata.version("mayfly"),
        gpu_required=settings.gpu_required,
        echo=settings.echo,
    )


def _ledger(path: Path) -> Ledger:
    """Without a ledger nothing can be promised; but an agent whose health says so is found sooner than none at all."""
    try:
        return Ledger(path)
    except LedgerLost as problem:
        log.critical("%s", problem)
        return LostLedger(str(problem))


async def _stand(wall: Wall) -> None:
    """Now, and again before each run: who asked for it shall hear at once that it cannot be had."""
    try:
        await wall.stand()
    except NoWall as problem:
        raise BadSetting(f"MAYFLY_JOB_METADATA=deny: {problem}") from problem


async def _metadata(settings: Settings, host: str | None) -> Metadata | NoMetadata:
    if settings.metadata_host or host is None:
        return Metadata(settings.metadata_host or METADATA_HOST)
    return await identity.find_metadata(METADATA_HOST)


async def _address(metadata: Metadata | NoMetadata) -> str:
    """nic0's address: never 0.0.0.0, which would also answer where nobody looks."""
    try:
        address = await metadata.read("instance/network-interfaces/0/ip")
    except OSError as problem:
        raise BadSetting(
            f"no --host given, and the metadata server does not tell nic0's address: {problem}"
        ) from problem
    if not address:
        raise BadSetting("no --host given, and the metadata server knows no address of nic0")
    return address


def _poweroff(settings: Settings, metadata: Metadata | NoMetadata) -> Sequence[str] | None:
    """On a laptop there is nothing to turn off but the laptop."""
    if settings.poweroff or settings.emulated or isinstance(metadata, NoMetadata):
        return settings.poweroff
    return ("systemctl", "poweroff")


def _only_agent(state: Path) -> TextIO:
    """The lock of the state folder: two agents on one ledger would each take the other's run for a dead agent's."""
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (state / "lock").open("a", encoding="utf-8")
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as problem:
        raise BadSetting(f"another agent is at work in {state}") from problem
    except OSError as problem:
        raise BadSetting(f"cannot use the state folder {state}: {problem.strerror}") from problem
    return lock


def _new_id() -> str:
    return uuid.uuid4().hex[:16]


if __name__ == "__main__":
    main()
