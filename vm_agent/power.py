"""The machine's power button."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from vm_agent.problems import NotFound

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PowerButton:
    """Powers off through a command, which on a VM of Compute Engine stops the instance (TERMINATED)."""

    command: Sequence[str] | None  # None: this machine is not ours to turn off

    @property
    def ours(self) -> bool:
        """Whether we may press it."""
        return self.command is not None

    async def off(self) -> None:
        """Ask. The system's own SIGTERM follows; nothing more is heard from here."""
        if self.command is None:
            raise NotFound("this is no VM of Compute Engine: the agent does not turn it off")
        log.warning("powering off: %s", " ".join(self.command))
        await asyncio.create_subprocess_exec(*self.command, stdin=asyncio.subprocess.DEVNULL, start_new_session=True)
