"""Ports `Agent` and `Output` against a real agent in a process of its own, and against wires that misbehave."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.agent_client import AgentClient
from orchestrator.agent_credentials import ApiKey
from orchestrator.errors import AgentFault, AgentRefused, AgentSilent, BadUsage, Busy
from orchestrator.policy import Policy
from tests.clocks import JumpingClock
from tests.contract.agent_at_work import KEY, agent_process, write_main
from tests.contract.wires import Answer, Asked, Say, http, serving
from tests.unit.orchestrator.sightings import a_view
from vm_agent.protocol import FunctionJob, Mode, RunView, StartRequest, State

MAIN = """
    import time

    def run(context):
        print("hello")
        (context.artifacts / "notes").mkdir()
        (context.artifacts / "notes" / "a b.txt").write_bytes(bytes(range(256)) * 4096)
        return {"answer": 42}

    def wait(context):
        print("waiting", flush=True)
        time.sleep(600)
"""
WAIT = StartRequest(job=FunctionJob(function="main:wait"))


@asynccontextmanager
async def client_of(url: str, key: str = KEY, **changes: Any) -> AsyncIterator[AgentClient]:
    client = AgentClient(url, ApiKey(key), Policy(**changes), JumpingClock())
    try:
        yield client
    finally:
        await client.aclose()


@pytest.fixture
async def agent_url(tmp_path: Path) -> AsyncIterator[str]:
    write_main(tmp_path, MAIN)
    async with agent_process(tmp_path) as agent:
        yield str(agent.client.base_url)


@pytest.fixture
async def agent(agent_url: str) -> AsyncIterator[AgentClient]:
    async with client_of(agent_url) as client:
        while (greeting := await client.greet(1)) is None or greeting.status != "ok":
            await asyncio.sleep(0.02)
        yield client


async def finished(agent: AgentClient, view: RunView) -> RunView:
    while not view.state.finished:
        view = await agent.follow(view)
    return view


async def test_a_run_is_started_followed_and_its_output_fetched(agent: AgentClient) -> None:
    assert await agent.find("monday", Mode.RUN) is None
    started = await agent.start("monday", 1, Mode.RUN, StartRequest())
    assert (await agent.start("monday", 1, Mode.RUN, StartRequest())).id == started.id
    ended = await finished(agent, started)
    assert (ended.state, ended.result) == (State.SUCCEEDED, {"answer": 42})
    assert await agent.follow(ended) == ended
    assert await agent.find("monday", Mode.RUN) == ended
    assert await agent.find("monday", Mode.TEST) is None
    assert await agent.read_log(ended.id, 0) == (b"hello\n", 6, True)
    assert await agent.read_log(ended.id, 4) == (b"o\n", 6, True)
    [artifact] = await agent.artifacts(ended.id)
    pieces = [piece async for piece in agent.download(ended.id, artifact.path)]
    assert b"".join(pieces) == bytes(range(256)) * 4096


async def test_a_second_run_is_busy_and_a_key_is_for_one_order(agent: AgentClient) -> None:
    await agent.start("monday", 1, Mode.RUN, WAIT)
    with pytest.raises(Busy, match="will not start the run"):
        await agent.start("tuesday", 1, Mode.RUN, WAIT)
    with pytest.raises(AgentRefused, match="Use another --key"):
        await agent.start("monday", 1, Mode.RUN, StartRequest(params={"other": 1}))


async def test_a_no_after_a_try_that_was_not_answered_is_not_a_clear_no() -> None:
    """The try that was lost may have been a yes, and its run live."""
    tries: list[Asked] = []

    async def lose_the_first(asked: Asked) -> Answer:
        tries.append(asked)
        return None if len(tries) == 1 else http(409, {"title": "Busy", "status": 409, "code": "stale-epoch"})

    async with serving(lose_the_first) as url, client_of(url) as client:
        with pytest.raises(AgentSilent, match="did not answer"):
            await client.start("monday", 7, Mode.RUN, WAIT)
        with pytest.raises(Busy):
            await client.start("monday", 7, Mode.RUN, WAIT)


async def test_an_epoch_that_is_over_is_busy(agent: AgentClient) -> None:
    await agent.greet(9)
    with pytest.raises(Busy):
        await agent.greet(8)


async def test_a_wrong_key_names_the_settings_and_never_shows_itself(agent_url: str) -> None:
    async with client_of(agent_url, "wrong-but-secret") as client:
        for asked in (client.greet(1), client.find("k", Mode.RUN), client.artifacts("r1")):
            with pytest.raises(AgentRefused, match="AGENT_KEY") as caught:
                await asked
            assert "wrong-but-secret" not in f"{caught.value!r} {client!r}"


@pytest.mark.parametrize("key", ["", " s3same", "s3same\n", "s3same\u2713", "s3\nsame"])
def test_a_key_that_no_header_can_carry_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(BadUsage, match="plain ASCII text") as caught:
        ApiKey(key)
    assert "same" not in str(caught.value)


async def test_a_run_that_is_not_there_is_not_asked_for_again(agent: AgentClient) -> None:
    with pytest.raises(AgentRefused, match="no such run"):
        await agent.read_log("nothing", 0)


async def test_nobody_at_home_is_no_greeting_and_silence_for_everything_else(unused_tcp_port: int) -> None:
    async with client_of(f"http://127.0.0.1:{unused_tcp_port}") as client:
        assert await client.greet(1) is None
        with pytest.raises(AgentSilent, match="does not answer"):
            await client.find("k", Mode.RUN)


@pytest.mark.parametrize(
    ("status", "body"),
    [(502, b"<html>"), (500, b""), (503, b'{"detail": "overloaded"}'), (200, b"<html>Welcome</html>"), (None, b"")],
)
async def test_what_is_not_our_agents_word_is_no_greeting(status: int | None, body: bytes) -> None:
    async with serving(_always(http(status, body) if status else None)) as url, client_of(url) as client:
        assert await client.greet(1) is None


async def test_a_server_that_never_answers_is_no_greeting() -> None:
    async def hang(_: Asked) -> Answer:
        await asyncio.Event().wait()
        return None

    async with serving(hang) as url, client_of(url, agent_answer=timedelta(seconds=0.05)) as client:
        assert await client.greet(1) is None


async def test_an_agent_that_is_starting_or_failed_says_so() -> None:
    said = {"status": "failed", "stage": "gpu", "detail": "no driver"}
    async with serving(_always(http(503, said))) as url, client_of(url) as client:
        greeting = await client.greet(1)
    assert greeting is not None
    assert (greeting.status, greeting.stage, greeting.detail) == ("failed", "gpu", "no driver")


async def test_every_request_but_the_greeting_survives_a_broken_connection() -> None:
    view = a_view(State.RUNNING)
    heard: list[Asked] = []

    async def break_each_first(asked: Asked) -> Answer:
        heard.append(asked)
        if sum(one.path == asked.path for one in heard) == 1:
            return None
        if asked.path.endswith("/logs"):
            return http(200, b"abc", Mayfly_Log_Next="3", Mayfly_Log_Complete="false")
        return http(200, view.model_dump_json().encode())

    async with serving(break_each_first) as url, client_of(url) as client:
        assert await client.start("monday", 7, Mode.RUN, StartRequest()) == view
        assert await client.follow(view) == view
        assert await client.read_log(view.id, 0) == (b"abc", 3, False)
    starts = [asked for asked in heard if asked.method == "POST"]
    assert [asked.headers["idempotency-key"] for asked in starts] == ["monday", "monday"]
    assert [asked.headers["mayfly-epoch"] for asked in starts] == ["7", "7"]
    [poll, _] = [asked for asked in heard if asked.path == f"/runs/{view.id}"]
    assert poll.query == {"wait": "25.0", "seen": "1"}


async def test_an_agent_that_is_not_ready_is_asked_again() -> None:
    answers = [
        http(503, {"title": "The agent is not ready", "status": 503, "code": "not-ready"}),
        http(200, {"runs": []}),
    ]

    async def say(_: Asked) -> Answer:
        return answers.pop(0)

    async with serving(say) as url, client_of(url) as client:
        assert await client.find("k", Mode.RUN) is None


async def test_a_start_that_was_sent_is_settled_before_its_cancellation_shows() -> None:
    sent, may_answer = asyncio.Event(), asyncio.Event()

    async def hold(_: Asked) -> Answer:
        sent.set()
        await may_answer.wait()
        return http(202, a_view().model_dump_json().encode())

    async with serving(hold) as url, client_of(url) as client:
        starting = asyncio.create_task(client.start("monday", 1, Mode.RUN, StartRequest()))
        await sent.wait()
        starting.cancel()
        await asyncio.sleep(0)
        assert not starting.done()
        may_answer.set()
        await asyncio.wait([starting])
        assert starting.cancelled()


async def test_an_answer_without_end_is_not_read_to_its_end() -> None:
    async def flood(_: Asked) -> Answer:
        return http(200, bytes(17 << 20))

    async with serving(flood) as url, client_of(url) as client:
        with pytest.raises(AgentFault, match="more than 16777216 bytes"):
            await client.artifacts("r1")


async def test_an_answer_that_makes_no_sense_says_so() -> None:
    async with serving(_always(http(200, b"<html>"))) as url, client_of(url) as client:
        with pytest.raises(AgentFault, match="list the files, and its answer makes no sense"):
            await client.artifacts("r1")


async def test_a_download_goes_on_where_the_connection_broke() -> None:
    file = bytes(range(200))

    async def send_half(asked: Asked) -> Answer:
        first = int(re.findall(r"\d+", asked.headers.get("range", "bytes=0-"))[0])
        answer = http(206 if first else 200, file[first:])
        return answer[: -(len(file) - first) // 2] if first < 180 else answer

    async with serving(send_half) as url, client_of(url) as client:
        assert b"".join([piece async for piece in client.download("r1", "a")]) == file


async def test_a_download_that_always_breaks_off_is_given_up() -> None:
    answer = http(200, b"whole")[:-5]
    async with serving(_always(answer)) as url, client_of(url) as client:
        with pytest.raises(AgentSilent, match="keeps breaking off"):
            _ = [piece async for piece in client.download("r1", "a")]


async def test_a_download_of_nothing_is_empty() -> None:
    async with serving(_always(http(200, b""))) as url, client_of(url) as client:
        assert [piece async for piece in client.download("r1", "a")] == []


def _always(answer: Answer) -> Say:
    async def say(_: Asked) -> Answer:
        return answer

    return say
