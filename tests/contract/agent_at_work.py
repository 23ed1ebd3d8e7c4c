"""An agent for tests: the real app with real processes, spoken to in this process or as a process of its own."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent
from typing import Any
from uuid import uuid4

import httpx
import psutil

from vm_agent.agent import Agent
from vm_agent.app import create_app
from vm_agent.auth import ApiKey
from vm_agent.clock import Clock, MachineClock
from vm_agent.deadman import Deadman
from vm_agent.fence import Fence
from vm_agent.gpu import NoGpu
from vm_agent.hold import Banner
from vm_agent.identity import Identity, NoMetadata
from vm_agent.ledger import Ledger
from vm_agent.power import PowerButton
from vm_agent.process import LocalProcesses
from vm_agent.protocol import START_MEDIA_TYPE, FunctionJob, Mode
from vm_agent.pulse import PulseFile
from vm_agent.runs import Runs

KEY = "open sesame"
CREDENTIALS = {"X-API-Key": KEY}


class LeaseBoard(NoMetadata):
    """A machine whose lease the test writes."""

    value: str | None = None
    readable = True

    async def lease(self) -> str | None:
        if not self.readable:
            raise OSError("no answer")
        return self.value


@dataclass
class Gpus:
    """A driver that answers what the test says."""

    found: list[dict[str, Any]] = field(default_factory=list)

    async def look(self) -> list[dict[str, Any]]:
        if not self.found:
            raise NoGpu("the driver is not loaded")
        return self.found


def write_main(folder: Path, source: str) -> Path:
    """The user's main.py, in the app folder under `folder`."""
    app = folder / "app"
    app.mkdir(exist_ok=True)
    (app / "main.py").write_text(dedent(source), encoding="utf-8")
    return app


def a_deadman(folder: Path, clock: Clock) -> Deadman:
    """The dead-man of the agent whose disk is `folder`."""
    return Deadman(clock, PulseFile(folder / "pulse"), Banner(folder / "banner"))


def an_agent(folder: Path, **changes: Any) -> Agent:
    """The agent whose disk is `folder`."""
    ledger = Ledger(folder / "state" / "ledger.db")
    metadata, clock = changes.pop("metadata", NoMetadata()), MachineClock()
    deadman = changes.pop("deadman", None) or a_deadman(folder, clock)
    processes = LocalProcesses(
        app=folder / "app",
        environment=dict(os.environ),
        boot_id="boot-1",
        stop_grace_seconds=0.5,
        leftover_grace_seconds=0.2,
    )
    defaults = {mode: FunctionJob(function=f"main:{mode}") for mode in Mode}
    parts: dict[str, Any] = {
        "runs": Runs(
            ledger, processes, folder / "state" / "runs", defaults, clock.now, lambda: uuid4().hex[:16], deadman
        ),
        "fence": Fence(ledger, metadata, clock.now),
        "identity": Identity(metadata, "boot-1"),
        "gpu_probe": Gpus(),
        "power": PowerButton(None),
        "deadman": deadman,
        "metadata": metadata,
        "credentials": [ApiKey(KEY)],
        "version": "0",
        "names": {"agent"},
    }
    return Agent(**{**parts, **changes})


@asynccontextmanager
async def at_work(agent: Agent, *, wait: bool = True) -> AsyncIterator[httpx.AsyncClient]:
    """A client with credentials of this agent, in this process."""
    transport = httpx.ASGITransport(create_app(agent))
    async with httpx.AsyncClient(
        transport=transport, base_url="http://agent", headers=CREDENTIALS, timeout=30
    ) as client:
        agent.begin()
        try:
            if wait:
                await ready(client)
            yield client
        finally:
            await agent.end()


async def start(client: httpx.AsyncClient, mode: str = "run", key: str | None = None, **request: Any) -> httpx.Response:
    """POST a whole StartRequest."""
    headers = {"Content-Type": START_MEDIA_TYPE} | ({"Idempotency-Key": key} if key else {})
    return await client.post(f"/{mode}", json=request, headers=headers)


async def finished(client: httpx.AsyncClient, run_id: str) -> dict[str, Any]:
    """This run at its end."""
    while True:
        view = (await client.get(f"/runs/{run_id}", params={"wait": 20})).raise_for_status().json()
        if view["finished_at"]:
            return dict(view)


async def result_of(client: httpx.AsyncClient, mode: str = "run", **request: Any) -> dict[str, Any]:
    """Start a run that must be accepted, and give it at its end."""
    response = await start(client, mode, **request)
    assert response.status_code == 202, response.text
    return await finished(client, response.json()["id"])


async def ready(client: httpx.AsyncClient, status: int = 200) -> httpx.Response:
    """The first health answer that says so."""
    async with asyncio.timeout(30):  # a test that would hang says where instead
        while (response := await client.get("/")).status_code != status:
            await asyncio.sleep(0.02)
    return response


async def until_file(path: Path) -> str:
    """What the job wrote there, once it did."""
    async with asyncio.timeout(30):
        while not (path.exists() and (text := path.read_text())):
            await asyncio.sleep(0.01)
    return text


@dataclass
class AgentProcess:
    """An agent as a process of its own."""

    process: asyncio.subprocess.Process
    client: httpx.AsyncClient

    async def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()


@asynccontextmanager
async def agent_process(
    folder: Path, *, program: Sequence[str] = ("-m", "vm_agent"), until: int = 200, **environment: str
) -> AsyncIterator[AgentProcess]:
    """`python -m vm_agent` on a free port, once its health has that status."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *program, "--host", "127.0.0.1", "--port", "0"),
        env={**os.environ, **agent_environment(folder), **environment},
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr
    try:
        url = await _url(process.stderr)
        drain = asyncio.create_task(process.stderr.read())
        async with httpx.AsyncClient(base_url=url, headers=CREDENTIALS, timeout=30) as client:
            await ready(client, until)
            yield AgentProcess(process, client)
        drain.cancel()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def agent_environment(folder: Path) -> dict[str, str]:
    return {
        "MAYFLY_API_KEY": KEY,
        "MAYFLY_STATE": str(folder / "state"),
        "MAYFLY_APP": str(folder / "app"),
        "MAYFLY_STOP_GRACE_SECONDS": "0.5",
    }


def alive(pid: int) -> bool:
    """Whether this process still runs."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


async def _url(lines: asyncio.StreamReader) -> str:
    said: Sequence[bytes] = []
    async for line in lines:
        if b"listening on " in line:
            return line.decode().rpartition("listening on ")[2].strip()
        said = [*said, line]
    raise AssertionError(b"".join(said).decode())
