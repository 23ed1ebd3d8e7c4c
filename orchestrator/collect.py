"""Copy what a run left out of the VM before it stops: artifacts and the full log, each with its SHA-256."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path, PurePosixPath

from orchestrator.errors import MayflyError
from orchestrator.events import Note
from orchestrator.look import agent_ip
from orchestrator.ports import Output
from orchestrator.run import CopiedFile
from orchestrator.seen import Seen
from orchestrator.trip import Trip
from vm_agent.protocol import Artifact, RunView

LOG_NAME = "log.txt"


async def collect(seen: Seen, trip: Trip) -> None:
    """Into `run.out`/<run id>, one folder for each attempt, within `policy.collect`. What fails is told, not raised.

    A copy that fails must not keep the VM on: the run's outcome is known by now.
    """
    assert seen.run is not None and trip.run.out is not None  # noqa: S101, PT018 - the rung asks for both
    folder = trip.run.out / seen.run.id
    output = trip.world.output(agent_ip(trip.run, seen))
    try:
        async with asyncio.timeout(trip.world.policy.collect.total_seconds()):
            await _copy_all(output, seen.run, folder, trip)
    except TimeoutError:
        trip.world.tell(Note("ERROR", f"Copying to {folder} took longer than {trip.world.policy.collect}; given up."))
    except (MayflyError, OSError) as error:
        trip.world.tell(Note("ERROR", f"Not everything was copied to {folder}: {error}"))


async def _copy_all(output: Output, view: RunView, folder: Path, trip: Trip) -> None:
    trip.copied.append(await _save(_log(output, view), LOG_NAME, folder / LOG_NAME))
    for artifact in await output.artifacts(view.id):
        saved = await _save(output.download(view.id, artifact.path), artifact.path, _inside(folder, artifact))
        if artifact.sha256 not in {None, saved.sha256}:
            trip.world.tell(Note("ERROR", f"{artifact.path} arrived damaged: its SHA-256 is not the one the VM gave."))
        trip.copied.append(saved)


def _inside(folder: Path, artifact: Artifact) -> Path:
    parts = PurePosixPath(artifact.path).parts
    if artifact.path.startswith("/") or ".." in parts or not parts:
        raise MayflyError(f"The VM names an artifact outside its folder: {artifact.path!r}. It was not copied.")
    return folder.joinpath("artifacts", *parts)


async def _log(output: Output, view: RunView) -> AsyncIterator[bytes]:
    offset, complete = 0, False
    while not complete:
        data, offset, complete = await output.read_log(view.id, offset)
        yield data


async def _save(pieces: AsyncIterator[bytes], name: str, target: Path) -> CopiedFile:
    """Under its final name only once it is whole."""
    digest, size = hashlib.sha256(), 0
    partial = target.with_name(target.name + ".part")
    target.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(partial.open("wb")) as file:
        async for piece in pieces:
            file.write(piece)
            digest.update(piece)
            size += len(piece)
    partial.replace(target)
    return CopiedFile(name, size, digest.hexdigest(), str(target))
