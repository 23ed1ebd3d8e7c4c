"""Callers that hang up, dawdle or stammer, on real sockets: nothing of them stays behind."""

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.contract.agent_at_work import CREDENTIALS, KEY, an_agent, ready, result_of, start, write_main
from vm_agent import policy
from vm_agent.agent import Agent
from vm_agent.app import create_app
from vm_agent.serving import Server, listen

WAITS = "import time\ndef run(): time.sleep(3600)\ndef test(): return 7"


@asynccontextmanager
async def serving(agent: Agent) -> AsyncIterator[httpx.AsyncClient]:
    """The agent behind its own server, in this process."""
    listening = await listen("127.0.0.1", 0)
    server = Server(create_app(agent), agent.runs.leave)
    serve = asyncio.create_task(server.serve([listening]))
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    async with httpx.AsyncClient(base_url=url, headers=CREDENTIALS, timeout=30) as client:
        await ready(client)
        yield client
    server.should_exit = True
    await serve


async def connected(client: httpx.AsyncClient) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(client.base_url.host, client.base_url.port)


def a_head(line: str, **headers: str) -> bytes:
    fields = {"Host": "agent", "X-API-Key": KEY} | headers
    return "\r\n".join([f"{line} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]).encode()


def held() -> tuple[int, int]:
    """Open descriptors and tasks of this process."""
    return len(list(Path("/proc/self/fd").iterdir())), len(asyncio.all_tasks())


async def test_callers_who_hang_up_while_they_wait_leave_nothing_behind(tmp_path: Path) -> None:
    write_main(tmp_path, WAITS)
    async with serving(an_agent(tmp_path)) as client:
        run = (await start(client, key="k")).json()["id"]
        while (await client.get("/")).json()["run"]["state"] != "RUNNING":
            pass
        before = held()
        waits = [
            a_head("GET /run", **{"Idempotency-Key": "k"}),
            a_head("POST /run", **{"Idempotency-Key": "k", "Prefer": "wait=60", "Content-Length": "0"}),
            a_head(f"GET /runs/{run}?wait=60"),
            a_head(f"GET /runs/{run}/logs?wait=60"),
            a_head(f"GET /runs/{run}/logs", Accept="text/event-stream"),
        ]
        connections = [await connected(client) for _ in range(4) for _ in waits]
        for index, (_, writer) in enumerate(connections):
            writer.write(waits[index % len(waits)])
        while held()[1] < before[1] + 2 * len(connections):
            await asyncio.sleep(0.01)
        for _, writer in connections:
            writer.close()
        async with asyncio.timeout(20):
            while held()[0] > before[0] or held()[1] > before[1]:
                await asyncio.sleep(0.01)
        assert (await client.get("/")).json()["run"]["state"] == "RUNNING", "a run does not end with its caller"


async def test_a_connection_without_a_request_is_closed_and_one_that_waits_for_an_answer_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "REQUEST_HEAD_SECONDS", 0.3)
    write_main(tmp_path, WAITS)
    async with serving(an_agent(tmp_path)) as client:
        silent, _ = await connected(client)
        slow, writer = await connected(client)
        run = (await start(client)).json()["id"]
        waiting = asyncio.create_task(client.get(f"/runs/{run}", params={"wait": 1}))
        writer.write(b"GET / HTTP/1.1\r\n")
        async with asyncio.timeout(20):
            assert await silent.read() == b""
            assert await slow.read() == b""
        assert (await waiting).status_code == 200


async def test_an_endless_head_is_refused(tmp_path: Path) -> None:
    async with serving(an_agent(tmp_path)) as client:
        reader, writer = await connected(client)
        writer.write(b"GET / HTTP/1.1\r\nX: " + b"x" * 2_000_000)
        async with asyncio.timeout(20):
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 431 ")
        assert json.loads(body)["code"] == "too-large"
        writer.close()


async def test_who_goes_on_with_an_endless_head_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "REQUEST_HEAD_SECONDS", 0.3)
    async with serving(an_agent(tmp_path)) as client:
        _, writer = await connected(client)
        writer.write(b"GET / HTTP/1.1\r\nX: ")
        async with asyncio.timeout(20):
            with pytest.raises(ConnectionError):
                await without_end(writer)
        writer.close()


async def without_end(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"x" * 10_000)
        await writer.drain()
        await asyncio.sleep(0.01)


async def test_a_caller_who_hangs_up_in_the_middle_of_its_body_starts_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_main(tmp_path, WAITS)
    async with serving(an_agent(tmp_path)) as client:
        before = held()
        _, writer = await connected(client)
        writer.write(a_head("POST /run", **{"Content-Length": "1000"}) + b'{"a": ')
        while held()[1] == before[1]:
            await asyncio.sleep(0)
        writer.close()
        while held()[1] > before[1]:
            await asyncio.sleep(0.01)
        assert (await client.get("/runs")).json() == {"runs": []}
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.mark.parametrize("ways", ["chunked", "counted"])
async def test_a_body_that_is_too_large_is_refused_before_it_has_come(tmp_path: Path, ways: str) -> None:
    async with serving(an_agent(tmp_path)) as client:
        reader, writer = await connected(client)
        how = {"Transfer-Encoding": "chunked"} if ways == "chunked" else {"Content-Length": str(10 << 30)}
        writer.write(a_head("POST /run", **how))
        with_length = b"%x\r\n" % (1 << 21) if ways == "chunked" else b""
        writer.write(with_length + b" " * (1 << 21))
        async with asyncio.timeout(20):
            assert (await reader.readline()).startswith(b"HTTP/1.1 413")
        writer.close()


async def test_a_file_that_shrinks_while_it_is_fetched_is_never_taken_for_whole(tmp_path: Path) -> None:
    write_main(tmp_path, "def run(context): (context.artifacts / 'a').write_bytes(bytes(64 << 20))")
    agent = an_agent(tmp_path)
    async with serving(agent) as client:
        run = await result_of(client)
        file = agent.runs.folder_of(run["id"]) / "artifacts" / "a"
        async with client.stream("GET", f"/runs/{run['id']}/artifacts/a") as reply:
            os.truncate(file, 10)
            with pytest.raises(httpx.RemoteProtocolError):
                [_ async for _ in reply.aiter_raw()]
        file.write_bytes(b"before")
        async with client.stream("GET", f"/runs/{run['id']}/artifacts/a") as reply:
            file.write_bytes(b"before and after")
            assert await reply.aread() == b"before"


async def test_events_that_stop_because_the_agent_leaves_do_not_say_that_the_run_ended(tmp_path: Path) -> None:
    write_main(tmp_path, "import time\ndef run(): print('on', flush=True); time.sleep(3600)")
    agent = an_agent(tmp_path)
    async with serving(agent) as client:
        run = (await start(client)).json()["id"]
        async with client.stream("GET", f"/runs/{run}/logs", headers={"Accept": "text/event-stream"}) as reply:
            heard = ""
            async for text in reply.aiter_text():
                heard += text
                if "on" in heard:
                    agent.runs.leave()
    assert json.loads(heard.partition("data: ")[2].partition("\n")[0]) == "on\n"
    assert "event: end" not in heard
