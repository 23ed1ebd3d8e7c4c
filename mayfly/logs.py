"""What a run printed, wherever it is now: on the VM, in --out's folder, in Cloud Logging."""

import asyncio
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from pydantic import ValidationError

from mayfly.cloud_logs import LATE, CloudLog, Line
from mayfly.deploy.config import Config
from mayfly.executions import Execution, Executions, deployed_executions
from mayfly.google import google_of
from mayfly.remote import is_its_receipt
from mayfly.vm_at_hand import vm_at_hand
from orchestrator.agent_client import AgentClient
from orchestrator.collect import LOG_NAME, RUN_NAME
from orchestrator.errors import AgentFault, NotFound
from orchestrator.policy import seconds
from orchestrator.settings import Settings
from vm_agent.protocol import RunView

_LOOK = seconds(2)  # between two reads: Cloud Logging takes sixty a minute


async def local_log(config: Config, key: str | None, *, follow: bool) -> None:
    """Write it to stdout, byte for byte. NotFound: it is nowhere to be had; AgentFault: the agent cannot be asked."""
    shown, settings = _Shown(), config.settings
    async with vm_at_hand(settings) as vm:
        machine = await vm.machine()
        trouble: AgentFault | None = None
        try:
            agent = await vm.agent(machine)
            run = _chosen(await agent.runs(), key) if agent else None
            if agent is not None and run is not None:
                key = run.key
                await shown.from_agent(agent, run, follow=follow)
                return
        except AgentFault as error:
            trouble = error  # the VM may just have gone off
    if (log := _copied(settings.out, key)) is not None:
        _write(log.read_bytes()[shown.offset :])
        return
    if trouble is not None:
        raise trouble
    raise NotFound(_nowhere(settings, key, running=machine.running))


async def remote_log(config: Config, key: str | None, *, follow: bool, late: timedelta = LATE) -> None:
    """Write the lines of the execution that had the run; by default of the newest. NotFound.

    With `follow` to its end, and on until its last attempt's receipt is there, or for the time `late`.
    """
    async with google_of(config.settings) as google:
        executions = deployed_executions(google, config)
        execution = await _execution(executions, key)
        log = CloudLog(google, config.project, config.job.name, execution.name)
        receipts: list[Line] = []
        while follow and execution.ended is None:
            receipts += await _written(log)
            await asyncio.sleep(_LOOK.total_seconds())
            execution = await executions.look(execution.name)
        receipts += await _written(log)
        attempt = await executions.last_attempt(execution.name) if follow else None
        give_up = time.monotonic() + late.total_seconds()
        while attempt is not None and not any(is_its_receipt(one, execution, attempt) for one in receipts):
            if time.monotonic() >= give_up:
                return
            await asyncio.sleep(_LOOK.total_seconds())
            receipts += await _written(log)


async def _written(log: CloudLog) -> list[Line]:
    """Write what has come in; the receipts are given instead, for the line before each says the same."""
    receipts = []
    async for line in log.news():
        if line.is_receipt:
            receipts.append(line)
        else:
            _write(_sentence(line).encode())
    return receipts


def _chosen(runs: list[RunView], key: str | None) -> RunView | None:
    """The newest; with a key, the newest of that key."""
    return next((run for run in runs if key in {None, run.key}), None)


class _Shown:
    """So many bytes of a log were written already."""

    def __init__(self) -> None:
        self.offset = 0

    async def from_agent(self, agent: AgentClient, run: RunView, *, follow: bool) -> None:
        """What there is, or with `follow` all there will be."""
        complete = False
        while not complete and (follow or self.offset < run.log_bytes):
            data, after, complete = await agent.read_log(run.id, self.offset)
            _write(data)
            self.offset = after


def _copied(out: Path | None, key: str | None) -> Path | None:
    """The log in OUT of the run of that key, or of the last run there."""
    found: list[tuple[RunView, Path]] = []
    for record in out.glob(f"*/{RUN_NAME}") if out else ():
        try:
            view = RunView.model_validate_json(record.read_bytes())
        except (OSError, ValidationError):
            continue  # not ours, or of another release
        found.append((view, record.with_name(LOG_NAME)))
    newest = sorted(found, key=lambda one: one[0].accepted_at, reverse=True)
    return next((log for view, log in newest if key in {None, view.key} and log.exists()), None)


def _nowhere(settings: Settings, key: str | None, *, running: bool) -> str:
    run = f"run {key}" if key else "any run"
    vm = f"The agent on {settings.instance} knows nothing of" if running else f"{settings.instance} is off, and with it"
    out = f"nothing of it is in {settings.out}" if settings.out else "OUT is not set (or --out), where a copy would be"
    return f"{vm} the log of {run}; {out}. A run that Cloud Run started: mayfly logs --remote"


async def _execution(executions: Executions, key: str | None) -> Execution:
    newest = await executions.newest()
    found = next((one for one in newest if key is None or one.is_for(key)), None)
    if found is None:
        which = f"with run {key} among its last {len(newest)}" if newest else "yet"
        raise NotFound(f"The Cloud Run job {executions.job} has no execution {which}.")
    return found


def _sentence(line: Line) -> str:
    level = "" if line.severity in {"DEFAULT", "INFO"} else f"{line.severity}: "
    return f"{line.at:%Y-%m-%d %H:%M:%S} {level}{line.message}\n"


def _write(data: bytes) -> None:
    write: Callable[[bytes], int] = sys.stdout.buffer.write
    write(data)
    sys.stdout.flush()
