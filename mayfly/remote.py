"""A run in the deployed Cloud Run job, from here: started once, followed over broken connections, its receipt brought.

The key makes a lost reply harmless: the execution is looked for by it, and if there should be two all the same, they
are one run, for the second follows the first.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from mayfly.cloud_logs import CloudLog, Line
from mayfly.executions import Execution, Executions
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
    ) -> None:
        self._executions, self._show, self._tell, self._look = executions, show, tell, look
        self._receipt: Line | None = None

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
                await self._read(log)
                if execution.ended is not None:
                    return await self._ended(execution, log)
                lost = False
            except Transient as error:
                if not lost:
                    self._tell(f"{error} The run goes on without us; trying again.")
                lost = True
            await asyncio.sleep(self._look.total_seconds())

    async def _ended(self, execution: Execution, log: CloudLog) -> RemoteEnd:
        """Its last attempt's receipt may come in late."""
        code = await self._executions.exit_code(execution.name)
        give_up = time.monotonic() + RECEIPT_LATE.total_seconds()
        while not self._has_receipt_of(code) and code is not None and time.monotonic() < give_up:
            await asyncio.sleep(self._look.total_seconds())
            await self._read(log)
        return RemoteEnd(execution, self._receipt if self._has_receipt_of(code) else None, code)

    def _has_receipt_of(self, code: int | None) -> bool:
        """An earlier attempt's receipt says another exit code."""
        return self._receipt is not None and code in {None, int(self._receipt.fields["exit_code"])}

    async def _read(self, log: CloudLog) -> None:
        async for line in log.news():
            if line.is_receipt:
                self._receipt = line
            else:
                self._show(line)


def exit_code_of(end: RemoteEnd) -> int:
    """The run's own; where it is not known, whether Cloud Run says that it went well."""
    if end.receipt is not None:
        return int(end.receipt.fields["exit_code"])
    if end.exit_code is not None:
        return end.exit_code
    if end.execution.succeeded:
        return int(Exit.SUCCEEDED)
    return int(Exit.TERMINATED if end.execution.cancelled else Exit.CLEANUP_OWED)


def without_receipt(end: RemoteEnd) -> str:
    """What to say where there is none."""
    why = f": {end.execution.message}" if end.execution.message else "."
    return (
        f"The execution {end.execution.name} ended without a receipt{why} Whether anything is on: mayfly status; what "
        "it said: mayfly logs --remote"
    )
