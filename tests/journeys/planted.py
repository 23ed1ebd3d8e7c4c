"""Secrets that a test plants, and the places where none of them may turn up."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex

import httpx

from tests.journeys.lab import Lab

AGENT_KEY, WRONG_KEY, EXCHANGE = (f"planted-{name}-{token_hex(8)}" for name in ("agent-key", "wrong-key", "exchange"))
PLANTED = (AGENT_KEY, WRONG_KEY, EXCHANGE)


class Arguments:
    """Every command line on this machine, looked at as fast as it goes."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()
        self._over = threading.Event()

    @contextmanager
    def watched(self) -> Iterator[None]:
        watching = threading.Thread(target=self._watch)
        watching.start()
        yield
        self._over.set()
        watching.join()

    def _watch(self) -> None:
        while not self._over.wait(0.002):
            for process in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    self.seen.add(process.read_bytes())
                except OSError:
                    continue


def found_in(text: bytes | str, *more: str) -> list[str]:
    """Which of the secrets are in there."""
    text = text.encode() if isinstance(text, str) else text
    return [secret for secret in (*PLANTED, *more) if secret.encode() in text]


def files_with(folder: Path, *more: str) -> dict[str, int]:
    """The files below that have one of the secrets, and their modes."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return {
        str(path.relative_to(folder)): path.stat().st_mode & 0o777
        for path in files
        if found_in(path.read_bytes(), *more)
    }


async def shown_by_the_cloud(lab: Lab) -> str:
    """All that Google would show to who may look: VM, metadata, lease, serial console, audit log."""
    vm = "compute/v1/projects/demo/zones/us-central1-a/instances/gpu-vm"
    paths = (
        vm,
        f"{vm}/serialPort?port=1",
        f"{vm}/getGuestAttributes?queryPath=mayfly/",
        "_emulator/history?since=0",
        "_emulator/state",
    )
    async with httpx.AsyncClient(base_url=f"{lab.emulator.url}/", timeout=60) as client:
        answers = await asyncio.gather(*(client.get(path) for path in paths))
    assert [answer.status_code for answer in answers] == [200] * len(paths), [answer.text[:200] for answer in answers]
    return "\n".join(answer.text for answer in answers)
