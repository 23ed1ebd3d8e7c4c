"""One guest for a test: boot it with a script, wait for words on its console, see what is alive of it."""

import asyncio
import os
import select
import time
from collections.abc import Sequence
from pathlib import Path

from gcp_emulator.guest import Guest, Isolation, Machine

PATIENCE = 60  # seconds, for what takes a fraction of one; only a failing test waits as long


class AGuest:
    """A Guest with its console kept, whose processes are gone after the `async with`, whatever the test did."""

    def __init__(
        self, disk: Path, *, isolation: Isolation | None = None, readable: Sequence[Path] = (), **environment: str
    ) -> None:
        self.disk, self.environment = disk, environment
        self.console = b""
        self.offs = 0
        self._news = asyncio.Event()
        self.guest = Guest(self._on_serial, self._on_off, isolation=isolation, readable=readable)

    async def __aenter__(self) -> "AGuest":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.guest.pull_plug()

    async def boot(self, script: str, *, metadata_host: str = "127.0.0.1:9") -> None:
        machine = Machine("gpu-vm", "4711", self.disk, "127.0.0.1", metadata_host, self.environment, script)
        await self.guest.boot(machine)

    async def says(self, text: str, times: int = 1) -> None:
        """Wait until the console has shown it so many times."""
        await self._until(lambda: self.console.count(text.encode()) >= times, f"{text!r} on the console")

    async def is_off(self, times: int = 1) -> None:
        await self._until(lambda: self.offs >= times, "power-off")

    async def _until(self, true, what):
        try:
            async with asyncio.timeout(PATIENCE):
                while not true():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"no {what}:\n{self.console.decode(errors='replace')}") from None

    def _on_serial(self, data: bytes) -> None:
        self.console += data
        self._news.set()

    def _on_off(self) -> None:
        assert alive_in(self.disk) == []
        self.offs += 1
        self._news.set()


def alive_in(disk: Path) -> list[int]:
    """Every process that carries this disk in its environment, as all of a guest's do."""
    mark = f"MAYFLY_ROOT={disk.resolve()}\0".encode()
    return [int(proc.name) for proc in Path("/proc").glob("[0-9]*") if _carries(proc, mark)]


def all_begun(disk: Path, number: int) -> list[int]:
    """So many of a guest's processes; one that is just becoming another program has no environment for a moment."""
    ends = time.monotonic() + PATIENCE
    while len(pids := alive_in(disk)) < number and time.monotonic() < ends:
        time.sleep(0.01)
    return pids


def _carries(proc: Path, mark: bytes) -> bool:
    try:
        return mark in (proc / "environ").read_bytes()
    except OSError:
        return False


def all_end(pids: list[int]) -> bool:
    """Wait for the ends of processes that are not ours."""
    for pid in pids:
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        if not select.select([pidfd], [], [], PATIENCE)[0]:
            return False
        os.close(pidfd)
    return True
