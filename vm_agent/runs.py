"""The life of runs: accepted at most once, carried to their end, followed, cancelled, and settled after a crash."""

import asyncio
import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from vm_agent import policy
from vm_agent.bell import Bell
from vm_agent.deadman import Deadman
from vm_agent.ending import Verdict
from vm_agent.ledger import Ledger
from vm_agent.problems import NotReady, Refused
from vm_agent.process import Child, Order, Processes
from vm_agent.protocol import Failure, Job, Mode, Progress, RunView, StartRequest, State
from vm_agent.runner import CONTAINER_NOTE
from vm_agent.uploads import Uploads

log = logging.getLogger(__name__)


@dataclass
class Runs:
    """Every run of this VM. One lives at a time."""

    ledger: Ledger
    processes: Processes
    folder: Path  # one folder in it for each run: an attempt never overwrites the log of the one before
    defaults: Mapping[Mode, Job]
    now: Callable[[], datetime]
    new_id: Callable[[], str]
    deadman: Deadman
    bell: Bell = field(default_factory=Bell)  # rings whenever a run, its log or its progress changes
    broken: str | None = None  # why nothing can be promised any more
    closing: bool = False
    uploads: Uploads = field(init=False)
    _live: RunView | None = None
    _child: Child | None = None
    _cancelled: bool = False
    _carrying: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        self.uploads = Uploads(self.folder.parent / "uploads", policy.UPLOAD_BYTES_MAX)

    def start(self, mode: Mode, request: StartRequest, key: str) -> RunView:
        """Accept a run, on disk, before anything else happens; or give the run that this key already means."""
        if self.closing:
            raise NotReady("the agent is shutting down")
        job, now = request.job or self.defaults[mode], self.now()
        if not self.begun(mode, request, key):  # else its files have served
            self.uploads.must_have(request.params)
        deadline = now + timedelta(seconds=request.timeout_seconds) if request.timeout_seconds else None
        view, new = self.ledger.accept(
            RunView(
                id=self.new_id(),
                key=key,
                mode=mode,
                attempt=request.attempt,
                job=job,
                state=State.ACCEPTED,
                version=1,
                accepted_at=now,
                deadline=deadline,
            ),
            _fingerprint(job, request),
        )
        if new:
            log.info("run %s accepted: key=%s mode=%s attempt=%s", view.id, key, mode, view.attempt)
            self._live, self._cancelled = view, False
            self.deadman.began(request.timeout_seconds)
            order = Order(
                run_id=view.id,
                key=key,
                attempt=view.attempt,
                folder=self.folder_of(view.id),
                job=job,
                mode=mode,
                params=request.params,
                timeout_seconds=request.timeout_seconds,
                deadline=deadline,
            )
            self._carrying = asyncio.create_task(self._carry(order))
        return self.view(view.id)

    def view(self, run_id: str) -> RunView:
        """This run as it is now, or UnknownRun."""
        return self._measured(self._live if self._live and self._live.id == run_id else self.ledger.find(run_id))

    def newest(self, key: str | None = None) -> list[RunView]:
        """The last runs, newest first."""
        return [self.view(run.id) for run in self.ledger.newest(policy.RUNS_LISTED, key)]

    def begun(self, mode: Mode, request: StartRequest, key: str) -> bool:
        """Whether it is answered with a run that was accepted before: only what was interrupted is begun again."""
        return any(
            run.mode is mode and (run.attempt >= request.attempt or run.state is not State.INTERRUPTED)
            for run in self.newest(key)
        )

    def live(self) -> RunView | None:
        """The run that is not finished, if there is one."""
        live = self._live or self.ledger.live()
        return self._measured(live) if live else None

    def folder_of(self, run_id: str) -> Path:
        """Where this run's files are. The id must be one of ours: look the run up first."""
        return self.folder / run_id

    async def until(self, done: Callable[[RunView], bool], run_id: str, seconds: float | None) -> RunView:
        """This run as soon as `done` says so, or as it is when the time is over or the agent leaves."""
        try:
            async with asyncio.timeout(seconds):
                while not (done(view := self.view(run_id)) or view.state.finished or self.closing):
                    await self.bell.rung()
        except TimeoutError:
            pass
        return self.view(run_id)

    async def finished(self, run_id: str) -> RunView:
        """This run once it is finished, however long that takes."""
        while not (view := self.view(run_id)).state.finished:
            if self.broken:
                raise NotReady(self.broken)
            await self.bell.rung()
        return view

    def cancel(self, run_id: str) -> RunView:
        """Begin to end this run. Fine if it has finished."""
        view = self.view(run_id)
        if not view.state.finished and not self._cancelled:
            log.info("run %s is being cancelled", run_id)
            self._cancelled = True
            if self._child:
                self._child.cancel()
        return view

    async def recover(self) -> None:
        """End what is left of the run that was live when the agent died, see it gone, then say how it ended."""
        if live := self.ledger.live():
            log.warning("run %s was %s when the agent died; ending what is left of it", live.id, live.state)
            verdict = await self.processes.clear(self.folder_of(live.id), self.ledger.mark(live.id))
            if live.state is State.ACCEPTED:
                verdict = Verdict(State.INTERRUPTED, failure=Failure(detail="cut off before its job was started"))
            self._settle(live, verdict)
        for note in sorted(self.folder.glob(f"*/{CONTAINER_NOTE}")):  # what has ended and could not be removed then
            await self.processes.clear(note.parent, None)
        self._prune()

    def leave(self) -> None:
        """Take no more runs, let all waiting calls go, and begin to end the live run: the agent is going away."""
        self.closing = True
        if self._child:
            self._child.abandon()
        self.bell.ring()

    async def left(self) -> None:
        """Return once the live run has been settled, or when the time is over: the next agent does the rest."""
        if self._carrying:
            await asyncio.wait({self._carrying}, timeout=policy.SHUTDOWN_SECONDS)
        self.ledger.close()

    async def _carry(self, order: Order) -> None:
        """From ACCEPTED to the end. Nothing here may be cancelled half way."""
        try:
            await self._execute(order)
        except Exception as problem:  # the ledger cannot be written, most likely: say so, accept nothing more
            log.exception("run %s can no longer be followed", order.run_id)
            self.broken = f"run {order.run_id} can no longer be followed: {problem}"
            if self._child:
                self._child.abandon()
        finally:
            self._child = None
            self.deadman.ended()
            self.bell.ring()

    async def _execute(self, order: Order) -> None:
        assert self._live  # noqa: S101 - set by start()
        try:
            order = replace(order, params=self.uploads.hand_over(order.params, order.folder, order.job))
            self._child = child = await self.processes.start(order, self._changed)
        except (OSError, Refused) as problem:
            failure = Failure(detail=f"the run's process could not be started: {problem}")
            return self._settle(self._live, Verdict(State.FAILED, failure=failure))
        self._live = self.ledger.advance(self._live, State.RUNNING, mark=child.mark, started_at=self.now())
        self.deadman.began(order.timeout_seconds, child.mark.pid)
        self.bell.ring()
        if self.closing:
            child.abandon()
        elif self._cancelled:
            child.cancel()
        else:
            child.go()
        self._settle(self._live, await child.ended())
        return None

    def _settle(self, view: RunView, verdict: Verdict) -> None:
        latest = self._live or view  # with the progress told meanwhile
        self.ledger.advance(
            latest,
            verdict.state,
            finished_at=self.now(),
            result=verdict.result,
            failure=verdict.failure,
            image=verdict.image,
            progress=verdict.progress or latest.progress,
        )
        self._live = None
        self.uploads.done(self.folder_of(view.id), keep=verdict.state is State.INTERRUPTED)
        log.info("run %s %s%s", view.id, verdict.state, f": {verdict.failure.detail}" if verdict.failure else "")
        self.bell.ring()

    def _changed(self, progress: Progress | None) -> None:
        """The live run's log has grown, or it told its progress (kept in memory: syncing each would be slow)."""
        if self._live and progress and progress != self._live.progress:
            self._live = self._live.model_copy(update={"progress": progress, "version": self._live.version + 1})
        self.bell.ring()

    def _measured(self, view: RunView) -> RunView:
        try:
            size = (self.folder_of(view.id) / "log").stat().st_size
        except FileNotFoundError:
            size = 0
        return view.model_copy(update={"log_bytes": size})

    def _prune(self) -> None:
        """Keep the folders of the last runs only; the ledger still remembers what became of the others. And no file
        that a caller brought and forgot."""
        kept = {run.id for run in self.ledger.newest(policy.FOLDERS_KEPT)}
        for folder in self.folder.iterdir() if self.folder.exists() else ():
            if folder.name not in kept:
                shutil.rmtree(folder, ignore_errors=True)
        self.uploads.prune()


def _fingerprint(job: Job, request: StartRequest) -> str:
    """What a key stands for. Not the timeout: a caller that asks again has less time left."""
    meaning = json.dumps([job.model_dump(mode="json"), request.params], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(meaning.encode("utf-8")).hexdigest()
