"""A run in the deployed Cloud Run job, from here: started once, followed over broken connections, its receipt brought.

The key makes a lost reply harmless: the execution is looked for by it, and if there should be two all the same, they
are one run, for the second follows the first.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from mayfly.cloud_logs import CloudLog, Line
from mayfly.executions import Attempt, Execution, Executions
from orchestrator.errors import CleanupOwed, Exit, MayflyError, Transient
from orchestrator.patience import Later
from orchestrator.policy import seconds

LOOK = seconds(2)  # between two looks: Cloud Logging takes sixty a minute
RECEIPT_LATE = seconds(60)  # after the execution's end, until Cloud Logging has its last line
STARTS = 3  # tries, where nobody answers whether it has begun


@dataclass(frozen=True)
class RemoteEnd:
    """How it ended. Without a receipt Cloud Run's own word on the exit code has to do."""

    execution: Execution
    receipt: Line | None
    exit_code: int | None


class Remote:
    """One run. `show` gets every line as it comes, `tell` what goes on otherwise."""

    def __init__(
        self,
        executions: Executions,
        show: Callable[[Line], None],
        tell: Callable[[str], None],
        *,
        look: timedelta = LOOK,
        late: timedelta = RECEIPT_LATE,
    ) -> None:
        self._executions, self._show, self._tell = executions, show, tell
        self._look, self._late = look, late
        self._receipts: list[Line] = []
        self._blind = False  # we may not read its log

    async def started(self, args: Sequence[str], key: str | None, task_timeout: timedelta | None) -> str:
        """The execution that has the run: a live one of that key and these words, or a new one.

        CleanupOwed: it may have begun, and cannot be looked for. Any other error: nothing has.
        """
        if key is not None and (known := await self._executions.live(key, args)) is not None:
            self._tell(f"Run {key} is at work already, in the execution {known.name}: following it.")
            return known.name
        if key is not None:
            self._tell(f"The run's key is {key}")
        for left in reversed(range(STARTS)):
            try:
                name = await self._executions.start(args, task_timeout)
            except Transient as unknown:
                begun = await self._begun_unanswered(args, key, unknown, last=not left)
                if begun is not None:
                    return begun
            else:
                self._tell(f"Started the execution {name} of the Cloud Run job {self._executions.job}.")
                return name
        raise AssertionError  # the loop returns or raises

    async def _begun_unanswered(
        self, args: Sequence[str], key: str | None, unknown: Transient, *, last: bool
    ) -> str | None:
        self._tell(f"Nobody answered whether the job has begun: {unknown}")
        pause = self._look + (unknown.pause if isinstance(unknown, Later) else seconds(0))
        await asyncio.sleep(pause.total_seconds())
        try:
            begun = await self._executions.live(key, args) if key is not None else None
        except MayflyError as error:
            raise CleanupOwed(
                f"{unknown} It may have begun all the same, which cannot be looked up: {error}"
            ) from error
        if begun is None and last:
            raise CleanupOwed(f"{unknown} It may have begun all the same. Look: mayfly logs --remote") from unknown
        return begun.name if begun else None

    async def followed(self, name: str) -> RemoteEnd:
        """To its end, whatever becomes of the connection meanwhile."""
        log = CloudLog(self._executions.google, self._executions.project, self._executions.job, name)
        lost = False
        while True:
            try:
                execution = await self._executions.look(name)
                if execution.ended is not None:
                    return await self._ended(execution, log)
                await self._read(log)
                lost = False
            except Transient as error:
                if not lost:
                    self._tell(f"{error} The run goes on without us; trying again.")
                lost = True
            await asyncio.sleep(self._look.total_seconds())

    async def _ended(self, execution: Execution, log: CloudLog) -> RemoteEnd:
        """Its last attempt's receipt may come in late. It is waited for so long, whatever becomes of the connection."""
        attempt: Attempt | None = None
        with suppress(TimeoutError):
            async with asyncio.timeout(self._late.total_seconds()):
                attempt = await self._last_attempt(execution.name)
                while True:
                    with suppress(Transient):
                        await self._read(log)
                    if attempt is None or self._blind or self._receipt_of(execution, attempt) is not None:
                        break
                    await asyncio.sleep(self._look.total_seconds())
        told = attempt.exit_code if attempt else None
        code = int(Exit.SUCCEEDED) if execution.succeeded else told
        return RemoteEnd(execution, self._receipt_of(execution, attempt), code)

    async def _last_attempt(self, name: str) -> Attempt | None:
        while True:
            try:
                return await self._executions.last_attempt(name)
            except Transient:
                await asyncio.sleep(self._look.total_seconds())
            except MayflyError as refused:
                self._tell(f"{refused} Its receipt cannot be told from an earlier attempt's.")
                return None

    def _receipt_of(self, execution: Execution, attempt: Attempt | None) -> Line | None:
        return next((line for line in reversed(self._receipts) if is_its_receipt(line, execution, attempt)), None)

    async def _read(self, log: CloudLog) -> None:
        """What is new in its log; whoever may not read that is told so once, and goes by its state alone."""
        if self._blind:
            return
        try:
            async for line in log.news():
                if line.is_receipt:
                    self._receipts.append(line)
                else:
                    self._show(line)
        except Transient:
            raise
        except MayflyError as refused:
            self._blind = True
            self._tell(f"{refused} Going on without its lines and its receipt, to its exit code.")


def is_its_receipt(line: Line, execution: Execution, attempt: Attempt | None) -> bool:
    """It is the last attempt's, and at one with Cloud Run about how that ended."""
    if attempt is None or line.attempt not in {None, attempt.number}:
        return False
    code = int(line.fields["exit_code"])
    if execution.succeeded:
        return code == Exit.SUCCEEDED
    if attempt.exit_code is not None:
        return code == attempt.exit_code
    return code != Exit.SUCCEEDED or execution.cancelled  # cancelled as it ended: a zero is left out there, too


def exit_code_of(end: RemoteEnd) -> int:
    """The run's own; where it is not known, whether Cloud Run says that it went well."""
    if end.receipt is not None:
        return int(end.receipt.fields["exit_code"])
    if end.exit_code is not None:
        return end.exit_code
    return int(Exit.TERMINATED if end.execution.cancelled else Exit.CLEANUP_OWED)


def without_receipt(end: RemoteEnd) -> str:
    """What to say where there is none."""
    why = f": {end.execution.message}" if end.execution.message else "."
    return (
        f"The execution {end.execution.name} ended without a receipt{why} Whether anything is on: mayfly status; what "
        "it said: mayfly logs --remote"
    )
