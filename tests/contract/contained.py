"""An agent whose runs are containers of a test's own Docker Engine."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.contract.agent_at_work import an_agent, at_work
from tests.engines import TestEngine
from vm_agent.containers.terms import Terms
from vm_agent.protocol import LOG_NEXT_HEADER


@asynccontextmanager
async def an_agent_with(
    engine: TestEngine, folder: Path, seen: Mapping[str, str] | None = None, /, **terms: Any
) -> AsyncIterator[httpx.AsyncClient]:
    (folder / "app").mkdir(parents=True, exist_ok=True)
    grace = terms.pop("stop_grace_seconds", 0.5)
    kept = Terms(**{"engine": engine.url, "pull": "never", "memory_bytes": 64 << 20, **terms})
    environment = {**engine.environment, **(seen or {})}
    agent = an_agent(folder, containers=kept, environment=environment, stop_grace_seconds=grace)
    async with at_work(agent) as client:
        yield client


async def log_of(client: httpx.AsyncClient, run: dict[str, Any]) -> str:
    return (await client.get(f"/runs/{run['id']}/logs")).text


async def until_it_says(client: httpx.AsyncClient, run_id: str, word: str) -> None:
    async with asyncio.timeout(60):
        offset = 0
        while word not in (await client.get(f"/runs/{run_id}/logs")).text:
            answer = await client.get(f"/runs/{run_id}/logs", params={"offset": offset, "wait": 5})
            offset = int(answer.headers[LOG_NEXT_HEADER])


def without_dockers_client(folder: Path) -> Path:
    """What to put on PYTHONPATH to take it away."""
    missing = folder / "packages" / "docker"
    missing.mkdir(parents=True)
    (missing / "__init__.py").write_text("raise ModuleNotFoundError(\"No module named 'docker'\", name='docker')")
    return missing.parent
