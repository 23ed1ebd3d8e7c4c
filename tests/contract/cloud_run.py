"""Cloud Run as its clients see it: the v2 API of an emulator, whose tasks really run."""

import asyncio
import sys
from typing import Any

import httpx

from gcp_emulator.emulator import Emulator

PLACE = "/v2/projects/demo/locations/us-central1"


def python(text: str) -> dict[str, Any]:
    """A container in which this Python program is run."""
    return {"image": "python:3", "command": [sys.executable, "-c", text]}


class CloudRun:
    """Jobs and executions of one region, and what they print."""

    def __init__(self, emulator: Emulator, http: httpx.AsyncClient) -> None:
        self.emulator, self._http = emulator, http

    async def job(self, container: dict[str, Any], name: str = "mayfly", **task: Any) -> None:
        body = {"template": {"template": {"containers": [container], **task}}}
        await self.done(await self.post(f"{PLACE}/jobs?jobId={name}", body))

    async def run(self, name: str = "mayfly", **overrides: Any) -> dict[str, Any]:
        """Start it; the operation."""
        return await self.post(f"{PLACE}/jobs/{name}:run", {"overrides": overrides} if overrides else {})

    async def done(self, operation: dict[str, Any]) -> dict[str, Any]:
        """The execution, or the job, once the operation is over."""
        async with asyncio.timeout(120):
            while not operation.get("done"):
                operation = await self.post(f"/v2/{operation['name']}:wait", {"timeout": "20s"})
        assert ("error" in operation) != ("response" in operation)
        found: dict[str, Any] = operation["metadata"]
        return found

    async def result(self, execution: dict[str, Any]) -> dict[str, Any]:
        """How the last attempt of its first task ended."""
        tasks = (await self.get(f"/v2/{execution['name']}/tasks"))["tasks"]
        result: dict[str, Any] = tasks[0]["lastAttemptResult"]
        return result

    async def log(self, **fields: str) -> list[Any]:
        """What was printed: texts, and the payloads of JSON lines."""
        wanted = " ".join(f'{name}="{value}"' for name, value in fields.items())
        body = {"resourceNames": ["projects/demo"], "filter": wanted, "pageSize": 1000}
        entries = (await self.post("/v2/entries:list", body)).get("entries", [])
        return [entry.get("textPayload", entry.get("jsonPayload")) for entry in entries]

    async def until_it_says(self, text: str) -> None:
        async with asyncio.timeout(120):
            while text not in await self.log():
                await asyncio.sleep(0.02)

    async def get(self, path: str) -> Any:
        return self._read(await self._http.get(path))

    async def post(self, path: str, body: Any) -> Any:
        return self._read(await self._http.post(path, json=body, timeout=60))

    def _read(self, reply: httpx.Response) -> Any:
        assert reply.is_success, reply.text
        return reply.json()
