"""The gateway and the agent under thousands of malformed requests: no 5xx, no traceback, memory and sockets bounded."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil

from tests.contract import agent_at_work
from tests.contract.agent_at_work import agent_process, write_main
from tests.contract.fuzzing import Aim, Told, bombard
from tests.contract.gateway_at_work import PHONE, Gateway, Service

SEED = int(os.environ.get("MAYFLY_FUZZ_SEED", "4"))
REQUESTS = int(os.environ.get("MAYFLY_FUZZ_REQUESTS", "10000"))  # at each of the two
WARM = 500
GROWTH_BYTES_MAX = 30 << 20

GATEWAY_PATHS = (b"/", b"/gateway-health", b"/echo", b"/run?wait=1")
AGENT_PATHS = (
    b"/", b"/runs", b"/runs/x", b"/runs/x/logs?offset=-1&wait=1e9", b"/runs/x/artifacts/../../ledger.db", b"/poweroff",
    b"/runs/%00/cancel", b"/openapi.json", b"/docs",
)  # fmt: skip


async def test_malformed_requests_leave_the_gateway_well(gateway: Gateway, service: Service) -> None:
    aim = Aim(gateway.port, f"X-API-Key: {PHONE}".encode(), GATEWAY_PATHS)
    async with bounded(psutil.Process(gateway.process.pid), aim) as told:
        assert (await gateway.client.get("/gateway-health")).status_code == 200
        assert (await gateway.client.post("/", content=b"x" * 100_000)).content == b"well"
    assert told.statuses["200"], "some must get through, or nothing behind the door is tried"
    log = "".join(gateway.lines)
    assert "Traceback" not in log, log[log.index("Traceback") :][:4000]
    assert PHONE not in "".join(gateway.lines)


async def test_malformed_requests_leave_the_agent_well(tmp_path: Path) -> None:
    write_main(tmp_path, "def run(): return 'done'")
    async with agent_process(tmp_path) as agent:
        credentials = f"X-API-Key: {agent_at_work.KEY}".encode()
        aim = Aim(agent.client.base_url.port or 0, credentials, AGENT_PATHS)
        async with bounded(psutil.Process(agent.process.pid), aim) as told:
            assert (await agent.client.get("/")).json()["status"] == "ok"
            assert (await agent.client.get("/run")).json() == {"status": "ok", "result": "done"}
            assert len((await agent.client.get("/runs")).json()["runs"]) == 1, "nothing malformed started anything"
        assert told.statuses["200"]


@asynccontextmanager
async def bounded(process: psutil.Process, aim: Aim) -> AsyncIterator[Told]:
    """Bombard; what follows in the block is said to a survivor. In the end nothing of it is left in the process."""
    await bombard(aim, seed=SEED + 1, count=WARM)
    memory, files = process.memory_info().rss, process.num_fds()
    told = await bombard(aim, seed=SEED, count=REQUESTS)
    print(f"seed {SEED}: {dict(told.statuses)}; {(process.memory_info().rss - memory) >> 10} KiB more")  # noqa: T201
    assert told.failed == [], "to see one: python -m tests.contract.fuzzing SEED NUMBER"
    yield told
    assert process.memory_info().rss - memory < GROWTH_BYTES_MAX
    async with asyncio.timeout(60):
        while process.num_fds() > files + 5:  # what a pool may keep
            await asyncio.sleep(0.05)
