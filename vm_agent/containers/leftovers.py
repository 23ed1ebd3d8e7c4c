"""What a run left of its container is ended and seen gone, whoever died before: the run's keeper asks for it."""

import json
import sys
import time
from pathlib import Path

from vm_agent.containers import policy
from vm_agent.containers.engine import Engine
from vm_agent.containers.errors import NoEngine, NotRun
from vm_agent.runner import CONTAINER_NOTE as NOTE
from vm_agent.runner import write_whole

RUN_LABEL = "mayfly.run"
COOKIE = "MAYFLY_CONTAINER_OF"  # in the environment of its processes: they are not the engine's word alone


def end(folder: Path, grace_seconds: float) -> None:
    """Return once nothing is left of the container of the run in this folder, however long the engine takes.

    If there is no engine any more, its containers may live on without it: then their processes are looked for.
    """
    engine_url, run_id = _noted(folder)
    said = -policy.COMPLAIN_SECONDS
    while True:
        try:
            if not remove(Engine(engine_url), f"{RUN_LABEL}={run_id}", grace_seconds):
                break
        except NoEngine:
            from vm_agent.family import Family  # noqa: PLC0415 - psutil costs 40 ms, and this is rare

            Family(run_id, cookie=COOKIE).end(grace_seconds)
            break
        except NotRun as problem:
            if time.monotonic() >= said + policy.COMPLAIN_SECONDS:
                print(f"mayfly: {problem}; trying again", file=sys.stderr)  # noqa: T201 - into the run's log
                said = time.monotonic()
        time.sleep(policy.LOOK_SECONDS)
    (folder / NOTE).unlink(missing_ok=True)


def remove(engine: Engine, label: str, grace_seconds: float = 0) -> bool:
    """Begin to remove all containers with this label; whether there were any."""
    found = engine.labelled(label)
    for container in found:
        engine.remove(container, grace_seconds)
    return bool(found)


def promise(folder: Path, engine_url: str, run_id: str) -> None:
    """Note that a container may be there from now on."""
    write_whole(folder / NOTE, {"engine": engine_url, "run_id": run_id})


def _noted(folder: Path) -> tuple[str, str]:
    note = json.loads((folder / NOTE).read_bytes())
    return str(note["engine"]), str(note["run_id"])
