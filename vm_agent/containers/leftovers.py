"""What a run left of its container is ended and seen gone, whoever died before: the run's keeper asks for it.

Docker may fail to remove one that has ended ("device or resource busy"). Nobody waits long for that: it does nothing
any more, and the next boot of the agent and the next run in a container try again.
"""

import contextlib
import json
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from vm_agent.containers import policy
from vm_agent.containers.errors import NoEngine, NotRun
from vm_agent.runner import CONTAINER_NOTE as NOTE
from vm_agent.runner import write_whole

if TYPE_CHECKING:
    from vm_agent.containers.engine import Engine

RUN_LABEL = "mayfly.run"
HOME_LABEL = "mayfly.home"  # the folder of all runs of one agent
COOKIE = "MAYFLY_CONTAINER_OF"  # in the environment of its processes: they are not the engine's word alone

_AT_REST = {"created", "exited", "dead", "removing"}  # the engine's words for a container of which nothing runs


@dataclass(frozen=True)
class Note:
    """In the folder of a run, on disk before its container is made: one may be there."""

    engine: str
    run_id: str
    patience_seconds: float = policy.REMOVAL_SECONDS  # for the engine to remove what has ended


@dataclass(frozen=True)
class Left:
    """What is left of containers, and what the engine says of it."""

    why: str
    at_rest: bool  # nothing of it runs


def promise(folder: Path, note: Note) -> None:
    """Note that a container may be there from now on."""
    write_whole(folder / NOTE, asdict(note))


def end(folder: Path, grace_seconds: float) -> None:
    """Return once nothing of the container of the run in this folder runs, however long the engine takes.

    One that has ended and still cannot be removed is left where it is, and so is the note.
    """
    note = Note(**json.loads((folder / NOTE).read_bytes()))
    began, said, pause = time.monotonic(), -policy.COMPLAIN_SECONDS, policy.LOOK_SECONDS
    while left := _left(note, grace_seconds):
        now = time.monotonic()
        if left.at_rest and now >= began + note.patience_seconds:
            _say(f"{left.why}; it has ended, and is left for the next run in a container to remove")
            return promise(folder, replace(note, patience_seconds=0))
        if now >= said + policy.COMPLAIN_SECONDS:
            _say(f"{left.why}; trying again")
            said = now
        time.sleep(pause)
        pause = min(2 * pause, policy.LOOK_SECONDS_MAX)
    return (folder / NOTE).unlink(missing_ok=True)


def end_at_once(folder: Path, engine: "Engine", run_id: str) -> None:
    """The same for one that has ended, if the engine can do it now; else the note stays, for `end`."""
    with contextlib.suppress(NotRun):
        if not remove(engine, f"{RUN_LABEL}={run_id}"):
            (folder / NOTE).unlink(missing_ok=True)


def end_earlier(engine: "Engine", home: Path) -> None:
    """End what earlier runs of this agent left. NotRun: something of it still runs."""
    if left := remove(engine, f"{HOME_LABEL}={home}"):
        if not left.at_rest:
            raise NotRun(f"a container of an earlier run still runs: {left.why}")
        _say(f"of an earlier run: {left.why}; it has ended")


def remove(engine: "Engine", label: str, grace_seconds: float = 0) -> Left | None:
    """Have all containers with this label removed; what is left of them. NotRun: the engine cannot be asked."""
    why = "Docker is still removing the container"
    found = engine.labelled(label)
    for container in found:
        try:
            engine.remove(container, grace_seconds)
        except NoEngine:
            raise
        except NotRun as problem:
            why = str(problem)
    left = engine.labelled(label) if found else {}
    return Left(why, at_rest=_AT_REST.issuperset(left.values())) if left else None


def _left(note: Note, grace_seconds: float) -> Left | None:
    """If there is no engine any more, its containers may live on without it: then their processes are looked for."""
    try:
        from vm_agent.containers.engine import Engine  # noqa: PLC0415 - its client may have been uninstalled meanwhile

        return remove(Engine(note.engine), f"{RUN_LABEL}={note.run_id}", grace_seconds)
    except (NoEngine, ModuleNotFoundError):
        from vm_agent.family import Family  # noqa: PLC0415 - psutil costs 40 ms, and this is rare

        Family(note.run_id, cookie=COOKIE).end(grace_seconds)
        return None
    except NotRun as problem:
        return Left(str(problem), at_rest=False)


def _say(what: str) -> None:
    print(f"mayfly: {what}", file=sys.stderr, flush=True)  # noqa: T201 - into the run's log
