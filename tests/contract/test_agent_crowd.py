"""Callers by the hundred that dawdle, stammer and never listen: who means it is served all the same."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from tests.contract.agent_at_work import KEY, agent_process, an_agent, finished, result_of, start, write_main
from tests.contract.test_agent_callers import a_head, connected, held, serving
from vm_agent import policy

Connections = list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]


@asynccontextmanager
async def slow_lorises(client: httpx.AsyncClient, number: int) -> AsyncIterator[Connections]:
    """So many connections, each with half a head that goes on by a byte whenever the loop has time."""
    lorises = [await connected(client) for _ in range(number)]

    async def dribble() -> None:
        for _, writer in lorises:
            writer.write(b"GET / HTTP/1.1\r\nHost: agent\r\nX: ")
        while True:
            for _, writer in lorises:
                if not writer.is_closing():
                    writer.write(b"x")
            await asyncio.sleep(0.1)

    dribbling = asyncio.create_task(dribble())
    yield lorises
    dribbling.cancel()
    for _, writer in lorises:
        writer.close()


async def test_five_hundred_slow_lorises_do_not_stop_the_health_answer_nor_a_run(tmp_path: Path) -> None:
    write_main(tmp_path, "def run(): return 'done'")
    async with agent_process(tmp_path) as agent, slow_lorises(agent.client, 500):
        async with httpx.AsyncClient(base_url=agent.client.base_url, timeout=5) as anybody:
            for _ in range(20):
                assert (await anybody.get("/")).json() == {"status": "ok"}
        assert (await result_of(agent.client))["result"] == "done"


async def test_more_connections_than_there_may_be_cost_the_oldest_silent_one_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "CONNECTIONS_MAX", 40)
    write_main(tmp_path, "import time\ndef run(): time.sleep(3600)")
    async with serving(an_agent(tmp_path)) as client:
        run = (await start(client)).json()["id"]
        waiting = asyncio.create_task(client.get(f"/runs/{run}", params={"wait": 2}))
        await asyncio.sleep(0.1)
        before = held()[0]
        async with slow_lorises(client, 200) as lorises:
            async with asyncio.timeout(20):
                assert await lorises[0][0].read() == b""
            assert (await client.get("/")).status_code == 200
            mine = len(lorises)  # the other ends are in this process, too
            assert held()[0] - before - mine <= 40
        assert (await waiting).status_code == 200, "who is being served keeps its place"


async def test_while_as_many_are_served_as_can_be_health_is_told_and_others_shall_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "REQUESTS_MAX", 3)
    write_main(tmp_path, "import time\ndef run(): time.sleep(3600)")
    async with serving(an_agent(tmp_path)) as client:
        run = (await start(client)).json()["id"]
        waits = [asyncio.create_task(client.get(f"/runs/{run}", params={"wait": 60})) for _ in range(3)]
        async with asyncio.timeout(20):
            while (refused := await client.get("/runs")).status_code == 200:
                await asyncio.sleep(0.01)
        assert (refused.status_code, refused.json()["code"]) == (503, "crowded")
        assert refused.headers["Retry-After"] == "1"
        assert (await client.get("/")).json()["run"]["id"] == run
        for one in waits:
            one.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
        async with asyncio.timeout(20):
            while (await client.get("/runs")).status_code != 200:
                await asyncio.sleep(0.01)
        await client.post(f"/runs/{run}/cancel")
        await finished(client, run)


async def test_a_body_that_dribbles_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "BODY_SECONDS", 0.3)
    monkeypatch.setattr(policy, "REQUEST_HEAD_SECONDS", 0.5)
    write_main(tmp_path, "def run(): pass")
    async with serving(an_agent(tmp_path)) as client:
        reader, writer = await connected(client)
        writer.write(a_head("POST /run", **{"Content-Length": "1000"}) + b"{")
        async with asyncio.timeout(20):
            assert (await reader.readline()).startswith(b"HTTP/1.1 408")
        await until_cut_off(reader, writer)
        assert (await client.get("/runs")).json() == {"runs": []}


async def test_a_stranger_who_goes_on_with_its_body_after_the_answer_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "REQUEST_HEAD_SECONDS", 0.3)
    async with serving(an_agent(tmp_path)) as client:
        reader, writer = await connected(client)
        writer.write(a_head("POST /run", **{"X-API-Key": "wrong", "Content-Length": "99999999"}))
        async with asyncio.timeout(20):
            assert (await reader.readline()).startswith(b"HTTP/1.1 401")
        await until_cut_off(reader, writer)


async def until_cut_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Dribble on until the other side has had enough."""
    async with asyncio.timeout(20):
        try:
            while not reader.at_eof():
                writer.write(b" ")
                await writer.drain()
                await asyncio.wait({asyncio.create_task(reader.read(1 << 16))}, timeout=0.02)
        except ConnectionError:
            pass
    writer.close()


async def test_a_caller_who_asks_for_much_and_takes_nothing_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "READER_SECONDS", 0.3)
    write_main(tmp_path, "def run(context): open(context.artifacts / 'big', 'wb').truncate(300 << 20)")
    async with serving(an_agent(tmp_path)) as client:
        run = (await result_of(client))["id"]
        before = held()
        _, writer = await connected(client)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(a_head(f"GET /runs/{run}/artifacts/big"))
        while held()[1] <= before[1]:
            await asyncio.sleep(0.01)
        async with asyncio.timeout(20):
            while held()[1] > before[1]:
                await asyncio.sleep(0.01)
        async with client.stream("GET", f"/runs/{run}/artifacts/big") as reply:
            size = sum([len(piece) async for piece in reply.aiter_raw()])
        assert size == 300 << 20, "who takes it, however long it takes, gets all of it"
        writer.close()


async def test_a_stranger_who_asks_on_and_on_and_never_listens_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "READER_SECONDS", 0.3)
    async with serving(an_agent(tmp_path)) as client:
        _, writer = await connected(client)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        asking = a_head("GET /", **{"X-API-Key": "wrong"}) * 100

        async def ask_on() -> None:
            while True:
                writer.write(asking)
                await writer.drain()

        with pytest.raises(ConnectionError):
            await asyncio.wait_for(ask_on(), 30)
        assert (await client.get("/")).status_code == 200


async def test_the_agent_may_open_as_many_files_as_it_takes_connections(tmp_path: Path) -> None:
    async with agent_process(tmp_path) as agent:
        allowed, most = psutil.Process(agent.process.pid).rlimit(psutil.RLIMIT_NOFILE)
    assert allowed >= min(policy.OPEN_FILES, most)
    assert policy.OPEN_FILES > 2 * policy.CONNECTIONS_MAX
    assert KEY not in os.environ.values()
