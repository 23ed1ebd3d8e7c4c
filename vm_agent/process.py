"""Runs as processes: started through a keeper each (vm_agent.runner), watched, ended, cleared away after a crash."""

import asyncio
import contextlib
import logging
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from vm_agent import ending, policy
from vm_agent.family import COOKIE, started
from vm_agent.job_user import JobUser, word_of
from vm_agent.ledger import Mark
from vm_agent.protocol import RESULT_BYTES_MAX, CommandJob, FunctionJob, Job, Mode, Progress
from vm_agent.runner import GO, RESERVE, SIGNALS_OUTLIVED, STOP, write_whole
from vm_agent.wall import Wall

_OTHERS_CODE: tuple[type, ...] = (FunctionJob, CommandJob)  # what is started for any other kind of job is our own code

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Order:
    """What to run, and where."""

    run_id: str
    key: str  # the run key: the same for every attempt
    attempt: int  # from 1
    folder: Path  # the run's own: log, params, result, artifacts
    job: Job
    mode: Mode
    params: Mapping[str, Any]
    timeout_seconds: float | None
    deadline: datetime | None


class Child(Protocol):
    """A run's process, which does nothing until told to go."""

    @property
    def mark(self) -> Mark:
        """How to recognise it after a restart."""

    def go(self) -> None:
        """Let the job begin."""

    def cancel(self) -> None:
        """End it: SIGTERM to all of it, SIGKILL after the grace. Fine if it has ended."""

    def abandon(self) -> None:
        """End it in the same way because the agent is leaving."""

    async def ended(self) -> ending.Verdict:
        """Return when nothing of it is alive any more, with what became of it."""


class Processes(Protocol):
    """Where runs are executed."""

    async def start(self, order: Order, changed: Callable[[Progress | None], None]) -> Child:
        """Make the process. `changed` is called when its log has grown or it told its progress."""

    async def clear(self, folder: Path, mark: Mark | None) -> ending.Verdict:
        """End whatever is left of a run that another agent started; return once it is seen gone."""


@dataclass(frozen=True)
class LocalProcesses:
    """Runs as processes of this machine."""

    app: Path  # the job's working folder, first on its sys.path
    environment: Mapping[str, str]
    boot_id: str
    groups: Path | None = None  # where a run may have a control group of its own
    stop_grace_seconds: float = policy.STOP_GRACE_SECONDS
    leftover_grace_seconds: float = policy.LEFTOVER_GRACE_SECONDS
    user: JobUser | None = None  # None: jobs are the agent's own user's
    wall: Wall | None = None  # None: jobs may ask the metadata server

    async def start(self, order: Order, changed: Callable[[Progress | None], None]) -> Child:
        """Start the keeper. It waits for `go`."""
        if self.wall:
            await self.wall.stand()
        self._prepare(order)
        with (order.folder / "log").open("ab") as output:
            keeper = await asyncio.create_subprocess_exec(
                *_python("vm_agent.runner", order.folder),
                stdin=PIPE,
                stdout=output,
                stderr=output,
                env={**self.environment, COOKIE: order.run_id},
                start_new_session=True,
                preexec_fn=_hold_signals,
            )
        mark = Mark(keeper.pid, started(keeper.pid), self.boot_id)
        return _Kept(order, keeper, mark, changed, self)

    async def clear(self, folder: Path, mark: Mark | None) -> ending.Verdict:
        """Try until a keeper says that nothing is left: the run may not be called finished before."""
        known = mark if mark and mark.boot_id == self.boot_id else Mark(0, "")
        while (folder / "order.json").exists():  # else nothing was ever started
            keeper = await asyncio.create_subprocess_exec(
                *_python("vm_agent.runner", folder, str(known.pid), known.started, self._place(folder.name) or ""),
                env=dict(self.environment),
                preexec_fn=_hold_signals,
            )
            if await keeper.wait() == 0:
                break
            log.error("could not clear away what is left of %s; trying again", folder.name)
            await asyncio.sleep(1)
        return ending.verdict(folder)

    def _prepare(self, order: Order) -> None:
        user = self._user(order)
        (order.folder / "artifacts").mkdir(parents=True)
        (order.folder / "log").touch()
        (order.folder / RESERVE).write_bytes(bytes(policy.RESERVE_BYTES))
        if user:
            user.give_a_folder(order.folder)  # the order says where it is
        write_whole(order.folder / "params.json", order.params)
        write_whole(order.folder / "order.json", self._written(order))
        if user:
            user.let_read(order.folder)

    def _user(self, order: Order) -> JobUser | None:
        """Whose processes the run's will be."""
        return self.user if isinstance(order.job, _OTHERS_CODE) else None

    def _written(self, order: Order) -> dict[str, Any]:
        """The order as the keeper reads it."""
        user = self._user(order)
        return {
            "run_id": order.run_id,
            "function": order.job.function if isinstance(order.job, FunctionJob) else None,
            "argv": order.job.command if isinstance(order.job, CommandJob) else _python("vm_agent.call", order.folder),
            "cwd": str(self.app),
            "environment": {**_told(order), **(user.environment if user else {})},
            "user": asdict(user) if user else None,
            "key": order.key,
            "attempt": order.attempt,
            "mode": order.mode,
            "timeout_seconds": order.timeout_seconds,
            "deadline": order.deadline.isoformat() if order.deadline else None,
            "group": self._group(order.run_id),
            "stop_grace_seconds": self.stop_grace_seconds,
            "leftover_grace_seconds": self.leftover_grace_seconds,
            "niceness": policy.JOB_NICENESS,
            "oom_score": policy.JOB_OOM_SCORE,
            "result_bytes_max": RESULT_BYTES_MAX,
        }

    def _group(self, run_id: str) -> str | None:
        if place := self._place(run_id):
            try:
                place.mkdir()
            except OSError as problem:
                log.warning("no control group for %s: %s", run_id, problem)
            else:
                return str(place)
        return None

    def _place(self, run_id: str) -> Path | None:
        return self.groups / f"mayfly-{run_id}" if self.groups else None


@dataclass
class _Kept:
    """A run's process behind its keeper."""

    order: Order
    keeper: Process
    mark: Mark
    changed: Callable[[Progress | None], None]
    home: LocalProcesses
    _give_up_at: float | None = field(default=None, init=False)  # monotonic: then the keeper itself is taken to hang

    def go(self) -> None:
        self._limit(self.order.timeout_seconds)
        self._say(GO)

    def cancel(self) -> None:
        self._limit(0)
        self._say(STOP)

    def abandon(self) -> None:
        self._limit(0)
        if self.keeper.stdin:
            self.keeper.stdin.close()

    async def ended(self) -> ending.Verdict:
        watch = asyncio.create_task(self._watch())
        try:
            await self.keeper.wait()
        finally:
            watch.cancel()
        if not (self.order.folder / "artifacts.json").exists():
            log.error(
                "the keeper of %s ended with %s before its work was done", self.order.run_id, self.keeper.returncode
            )
            return await self.home.clear(self.order.folder, self.mark)
        return ending.verdict(self.order.folder)

    async def _watch(self) -> None:
        """Tell of a growing log and of progress; kill a keeper that outlives every grace."""
        seen: tuple[object, object] = (None, None)
        while True:
            await asyncio.sleep(policy.TICK_SECONDS)
            now = (_print(self.order.folder / "log"), _print(word_of(self.order.folder) / "progress.json"))
            if now != seen:
                self.changed(ending.progress(self.order.folder) if now[1] != seen[1] else None)
                seen = now
            if self._give_up_at and time.monotonic() > self._give_up_at and not self._told():
                log.error("the keeper of %s hangs; killing it", self.order.run_id)
                self.keeper.kill()

    def _limit(self, seconds: float | None) -> None:
        if seconds is not None:
            grace = self.home.stop_grace_seconds + policy.KEEPER_GRACE_SECONDS
            self._give_up_at = time.monotonic() + seconds + grace

    def _told(self) -> bool:
        """The job is over and only the hashing of its artifacts goes on, which may take long."""
        return (self.order.folder / "outcome.json").exists()

    def _say(self, word: bytes) -> None:
        if self.keeper.stdin and self.keeper.returncode is None:
            self.keeper.stdin.write(word)


def _hold_signals() -> None:
    """A keeper outlives these signals; those that come before it has its handlers must wait for them."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS_OUTLIVED)


def _python(module: str, *arguments: str | Path) -> list[str]:
    """Our own modules in a fresh interpreter. -P: the working folder must not shadow the standard library."""
    return [sys.executable, "-P", "-m", module, *map(str, arguments)]


def _told(order: Order) -> dict[str, str]:
    """What a job learns from its environment."""
    return {
        "MAYFLY_RUN_KEY": order.key,
        "MAYFLY_ATTEMPT": str(order.attempt),
        "MAYFLY_MODE": order.mode,
        "MAYFLY_PARAMS": str(order.folder / "params.json"),
        "MAYFLY_ARTIFACTS": str(order.folder / "artifacts"),
        "MAYFLY_PROGRESS": str(word_of(order.folder) / "progress.json"),
        "MAYFLY_RESULT": str(word_of(order.folder) / "result.json"),
        "MAYFLY_DEADLINE": order.deadline.isoformat() if order.deadline else "",
        "PYTHONUNBUFFERED": "1",
    }


def _print(path: Path) -> tuple[int, int, int] | None:
    """A fingerprint that changes whenever the file does."""
    with contextlib.suppress(OSError):
        seen = path.stat()
        return seen.st_ino, seen.st_mtime_ns, seen.st_size
    return None
