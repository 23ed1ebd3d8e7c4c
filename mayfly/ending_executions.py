"""Executions of a run that is to end: which they are, told to end, and seen to have ended."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from mayfly.executions import Execution, Executions, job_of
from orchestrator.errors import BadResource, Conflict, NoMachine, NotFound, Transient
from orchestrator.lease import Lease

_NEWEST = 100


class EndingExecutions:
    """Of the deployed job, and of whichever job of that region holds the lease."""

    def __init__(self, executions: Executions, tell: Callable[[str], None]) -> None:
        self._executions, self._tell = executions, tell
        self._live: set[str] = set()  # told, and not seen to have ended
        self._again: set[str] = set()  # to be told: something else was written about them meanwhile
        self.told = False  # at least one was
        self.unseen = ""  # why they could not be listed

    async def live(self) -> list[Execution]:
        """Those that have not ended, newest first; none where nothing is deployed, or where they may not be seen."""
        return [one for one in await self._known(self._executions) if one.ended is None]

    async def end_run(self, lease: Lease) -> None:
        """End the one that holds the lease, if it is one, and before it all that wait for the same run.

        Which run an execution waits for that works its key out by the window, only its arguments tell: the same.
        """
        known = await self._known(self._of(lease.execution) if lease.execution else self._executions)
        holder = next((one for one in known if one.name == lease.execution), None)
        by_window = holder.args if holder is not None and not holder.is_for(lease.key) else None
        twins = [one for one in known if one.is_for(lease.key) or one.args == by_window]
        names = [one.name for one in twins if one.ended is None and one.name != lease.execution]
        await self.end([*names, lease.execution] if lease.execution else names)

    async def end(self, names: Sequence[str]) -> None:
        """Tell them to end, each once. What has ended, or is not there, is passed over and told."""
        for name in names:
            if name in self._live:
                continue
            try:
                await self._of(name).cancel(name)
            except Conflict:
                self._again.add(name)
            except (BadResource, NotFound) as over:
                self._tell(f"The Cloud Run execution {name} cannot be cancelled (any more): {over}")
                continue
            else:
                self._tell(f"The Cloud Run execution {name} was told to end. It comes down.")
            self.told = True
            self._live.add(name)

    async def over(self) -> bool:
        """Whether all that were told have ended. One that was not heard is told again."""
        for name in sorted(self._live):
            try:
                ended = (await self._of(name).look(name)).ended is not None
            except NotFound:
                ended = True
            except Transient:
                continue
            if ended or name in self._again:
                self._live.discard(name)
            if name in self._again:
                self._again.discard(name)
                await self.end([] if ended else [name])
        return not self._live

    def coming_down(self, name: str) -> bool:
        """It was told to end, and has not yet."""
        return name in self._live

    def _of(self, name: str) -> Executions:
        return replace(self._executions, job=job_of(name))

    async def _known(self, executions: Executions) -> list[Execution]:
        try:
            return await executions.newest(_NEWEST)
        except NotFound:
            return []
        except (NoMachine, Transient) as unseen:
            self.unseen = str(unseen)
            self._tell(f"Which executions wait for the run could not be seen: {unseen}")
            return []
