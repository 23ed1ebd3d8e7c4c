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
from orchestrator.errors import Exit, Transient
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

    async def started(self, args: Sequence[str], key: str | None, task_timeout: timedelta | None) -> str:
        """The execution that has the run: a live one of that key, or a new one."""
        if key is not None and (known := await self._executions.of_run(key)) is not None and known.ended is None:
            self._tell(f"Run {key} is at work already, in the execution {known.name}: following it.")
            return known.name
        for left in reversed(range(STARTS)):
            try:
                name = await self._executions.start(args, task_timeout)
            except Transient as unknown:
                self._tell(f"Nobody answered whether the job has begun: {unknown}")
                begun = await self._executions.of_run(key) if key is not None else None
                if begun is not None and begun.ended is None:
                    return begun.name
                if not left:
                    raise
            else:
                self._tell(f"Started the execution {name} of the Cloud Run job {self._executions.job}.")
                return name
        raise AssertionError  # the loop returns or raises

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
        began = True
        with suppress(TimeoutError):
            async with asyncio.timeout(self._late.total_seconds()):
                while began and self._receipt_of(execution, attempt) is None:
                    with suppress(Transient):
                        attempt = attempt or await self._executions.last_attempt(execution.name)
                        began = attempt is not None
                        await self._read(log)
                    if began and self._receipt_of(execution, attempt) is None:
                        await asyncio.sleep(self._look.total_seconds())
        told = attempt.exit_code if attempt else None
        code = int(Exit.SUCCEEDED) if execution.succeeded else told
        return RemoteEnd(execution, self._receipt_of(execution, attempt), code)

    def _receipt_of(self, execution: Execution, attempt: Attempt | None) -> Line | None:
        return next((line for line in reversed(self._receipts) if is_its_receipt(line, execution, attempt)), None)

    async def _read(self, log: CloudLog) -> None:
        async for line in log.news():
            if line.is_receipt:
                self._receipts.append(line)
            else:
                self._show(line)


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
