"""Copy what a run left out of the VM before it stops: artifacts and the full log, each with its SHA-256."""

import asyncio
import hashlib
import re
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from orchestrator.errors import BadUsage, MayflyError
from orchestrator.events import Note
from orchestrator.look import agent_ip
from orchestrator.ports import Output
from orchestrator.run import CopiedFile
from orchestrator.seen import Seen
from orchestrator.together import first_to_end
from orchestrator.trip import Trip
from vm_agent.protocol import Artifact, RunView

LOG_NAME = "log.txt"
RUN_NAME = "run.json"  # which run these are of: `mayfly logs KEY` finds them by it
_PARTIAL = ".incoming"  # beside the log and the folder `artifacts`, so that no artifact can have its name


def refuse_unwritable(folder: Path) -> None:
    """Raises BadUsage: better now than when the job has run and its results have nowhere to go."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise BadUsage(f"Nothing can be written to {folder} (--out, OUT): {error}") from error


async def collect(seen: Seen, trip: Trip) -> None:
    """Into `run.out`/<run id>, one folder for each attempt, within `policy.collect` and until a signal comes.

    What fails is told, not raised: a copy that fails must not keep the VM on, for the run's outcome is known by now.
    """
    assert seen.run is not None  # noqa: S101 - the rung asks for it
    try:
        async with asyncio.timeout(trip.world.policy.collect.total_seconds()):
            await first_to_end(_copy_all(seen, seen.run, trip), _called_off(trip))
    except TimeoutError:
        _complain(trip, f"what was not copied within {trip.world.policy.collect}")
    except Exception as error:  # noqa: BLE001 - see above
        _complain(trip, str(error) or repr(error))


async def _called_off(trip: Trip) -> None:
    await trip.called_off.wait()
    _complain(trip, "what was not copied when the run was called off")


def _complain(trip: Trip, what: str) -> None:
    trip.not_copied.append(f"Not everything was copied to {trip.run.out}: {what}.")
    trip.tell(Note("ERROR", trip.not_copied[-1]))


async def _copy_all(seen: Seen, view: RunView, trip: Trip) -> None:
    """The log first; then one file after the other: what is wrong with one is no reason to leave out the next."""
    folder, output = _folder(view, trip), trip.world.output(seen.machine, agent_ip(trip.run, seen))
    with _arriving(folder / RUN_NAME, folder / _PARTIAL) as file:
        file.write(view.model_dump_json().encode())
    trip.copied.append(await _save(_log(output, view), LOG_NAME, folder / LOG_NAME, folder / _PARTIAL))
    for artifact in await output.artifacts(view.id):
        try:
            target = _inside(folder, artifact)
            saved = await _save(output.download(view.id, artifact.path), artifact.path, target, folder / _PARTIAL)
        except (MayflyError, OSError, ValueError) as error:
            _complain(trip, f"{artifact.path!r} ({error})")
            continue
        if artifact.sha256 not in {None, saved.sha256}:
            _complain(trip, f"{artifact.path!r} (it arrived damaged: its SHA-256 is not the one that the VM gave)")
        trip.copied.append(saved)


def _folder(view: RunView, trip: Trip) -> Path:
    assert trip.run.out is not None  # noqa: S101 - the rung asks for it
    if not re.fullmatch(r"[\w-]+", view.id):
        raise MayflyError(f"the VM gives its run the name {view.id!r}, which is no folder's")
    return trip.run.out / view.id


def _inside(folder: Path, artifact: Artifact) -> Path:
    parts = PurePosixPath(artifact.path).parts
    if artifact.path.startswith("/") or ".." in parts or not parts:
        raise MayflyError("it is outside the run's folder")
    return folder.joinpath("artifacts", *parts)


async def _log(output: Output, view: RunView) -> AsyncIterator[bytes]:
    offset, complete = 0, False
    while not complete:
        data, offset, complete = await output.read_log(view.id, offset)
        yield data


async def _save(pieces: AsyncIterator[bytes], name: str, target: Path, partial: Path) -> CopiedFile:
    digest, size = hashlib.sha256(), 0
    with _arriving(target, partial) as file:
        async for piece in pieces:
            file.write(piece)
            digest.update(piece)
            size += len(piece)
    return CopiedFile(name, size, digest.hexdigest(), str(target))


@contextmanager
def _arriving(target: Path, partial: Path) -> Iterator[BinaryIO]:
    """A file that gets its name only once it is whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with partial.open("wb") as file:
            yield file
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
