"""What the agent takes for a word, and that its dead-man works when little else does."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import NoReturn

import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send

from gcp_emulator.emulator import Emulator
from tests.clocks import BootClock
from tests.contract.agent_at_work import KEY, a_deadman, agent_process, an_agent, at_work, finished, start, write_main
from tests.contract.test_agent_disk import fill
from tests.contract.test_agent_fence import a_lease
from tests.contract.world import PROJECT, VM, WORLD, ZONE
from tests.unit.agent.test_machine import metadata_server
from vm_agent import policy
from vm_agent.agent import Agent
from vm_agent.door import Door
from vm_agent.identity import Metadata
from vm_agent.power import PowerButton
from vm_agent.pulse import PulseFile

VM_KEY = f"projects/{PROJECT}/zones/{ZONE}/instances/{VM}"
JOBS = """
import pathlib, time
def run(context):
    while not pathlib.Path(context.params["until"]).exists():
        time.sleep(0.01)
def test(): print("rehearsed")
"""


class StillClock(BootClock):
    """Time stands still unless the test moves it."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.Event().wait()


def off_in(agent: Agent, clock: BootClock) -> float:
    return agent.deadman.ending.at - clock.uptime()


@pytest.mark.parametrize(
    ("method", "path", "headers", "heard"),
    [
        ("GET", "/", {}, True),
        ("GET", "/runs", {"Mayfly-Epoch": "20"}, True),
        ("GET", "/nowhere", {}, True),
        ("POST", "/run", {"Mayfly-Epoch": "19"}, False),
        ("GET", "/runs", {"X-API-Key": "guessed"}, False),
    ],
)
async def test_a_word_is_a_call_with_credentials_whose_epoch_is_not_over(
    tmp_path: Path, method: str, path: str, headers: dict[str, str], heard: bool
) -> None:
    clock = BootClock()
    agent = an_agent(tmp_path, deadman=a_deadman(tmp_path, clock))
    async with at_work(agent) as client:
        agent.fence.hear(20)
        clock.seconds += 100
        await client.request(method, path, headers=headers)
    assert off_in(agent, clock) == (180 if heard else 80)


async def test_a_call_without_credentials_is_no_word(tmp_path: Path) -> None:
    clock = BootClock()
    agent = an_agent(tmp_path, deadman=a_deadman(tmp_path, clock))
    async with at_work(agent) as client:
        clock.seconds += 100
        del client.headers["X-API-Key"]
        assert (await client.get("/")).status_code == 200
    assert off_in(agent, clock) == 80


async def test_a_call_is_a_word_before_it_is_answered(tmp_path: Path) -> None:
    clock = BootClock()
    agent = an_agent(tmp_path, deadman=a_deadman(tmp_path, clock))
    clock.seconds += 100
    seen = []

    async def app(*_: object) -> None:
        seen.append(off_in(agent, clock))

    door = Door(
        app, credentials=agent.credentials, attempts=agent.attempts, fence=agent.fence, heard=agent.deadman.word
    )
    headers = [(b"x-api-key", KEY.encode())]
    await door({"type": "http", "method": "GET", "path": "/", "headers": headers}, nobody, nobody)
    assert seen == [180]


async def nobody(*_: object) -> NoReturn:
    raise AssertionError("the app says nothing, and hears nothing")


async def test_an_answer_that_is_taken_is_a_word_however_long_it_took(tmp_path: Path) -> None:
    write_main(tmp_path, JOBS)
    clock, go = BootClock(), tmp_path / "go"
    agent = an_agent(tmp_path, deadman=a_deadman(tmp_path, clock))
    async with at_work(agent) as client:
        waiting = asyncio.create_task(client.post("/run", json={"until": str(go)}, headers={"Prefer": "wait=30"}))
        while not agent.deadman.minds_a_run:
            await asyncio.sleep(0)
        clock.seconds += 10_000
        go.touch()
        assert (await waiting).json()["state"] == "SUCCEEDED"
        assert off_in(agent, clock) == 180


async def test_a_body_that_keeps_coming_is_a_word_and_a_caller_that_hangs_up_says_none(tmp_path: Path) -> None:
    clock = BootClock()
    agent = an_agent(tmp_path, deadman=a_deadman(tmp_path, clock))
    said = [{"type": "http.request", "body": b"RIFF", "more_body": True}, {"type": "http.disconnect"}]
    seen = []

    async def app(_: Scope, receive: Receive, __: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            seen.append(off_in(agent, clock))

    async def receive() -> Message:
        clock.seconds += 100
        return said.pop(0)

    door = Door(
        app, credentials=agent.credentials, attempts=agent.attempts, fence=agent.fence, heard=agent.deadman.word
    )
    headers = [(b"x-api-key", KEY.encode())]
    await door({"type": "http", "method": "PUT", "path": "/files/x", "headers": headers}, receive, nobody)
    assert (seen, off_in(agent, clock)) == ([180], 80)


async def test_a_run_is_minded_from_its_acceptance_to_its_end(tmp_path: Path) -> None:
    write_main(tmp_path, JOBS)
    clock = BootClock()
    agent = an_agent(tmp_path, deadman=a_deadman(tmp_path, clock))
    async with at_work(agent) as client:
        run = (await start(client, params={"until": str(tmp_path / "go")}, timeout_seconds=5000)).json()
        assert off_in(agent, clock) > 5000
        (tmp_path / "go").touch()
        await finished(client, run["id"])
        while agent.deadman.minds_a_run:
            await asyncio.sleep(0)
        assert off_in(agent, clock) == 180


async def test_while_a_run_is_in_progress_the_pulse_names_its_keeper(tmp_path: Path) -> None:
    write_main(tmp_path, JOBS)
    clock, file = StillClock(), PulseFile(tmp_path / "pulse")
    agent = an_agent(tmp_path, deadman=a_deadman(tmp_path, clock), power=PowerButton(["true"]))
    async with at_work(agent) as client:
        run = (await start(client, params={"until": str(tmp_path / "go")}, timeout_seconds=5000)).json()
        accepted = file.read()
        assert accepted is not None
        assert accepted.run > 10_000, "it is on record before anything is started"
        await until(lambda: (seen := file.read()) is not None and seen.keeper > 0)
        pulse, mark = file.read(), agent.runs.ledger.mark(run["id"])
        assert pulse is not None
        assert mark is not None
        assert (pulse.keeper, pulse.run) == (mark.pid, accepted.run)
        (tmp_path / "go").touch()
        await finished(client, run["id"])
        await until(lambda: (seen := file.read()) is not None and (seen.keeper, seen.run) == (0, 0))


async def test_a_run_that_cannot_be_started_is_minded_no_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = BootClock()
    agent = an_agent(tmp_path, deadman=a_deadman(tmp_path, clock))
    async with at_work(agent) as client:
        monkeypatch.setattr(sys, "executable", str(tmp_path / "nowhere"))
        run = (await start(client, timeout_seconds=5000)).json()
        assert (await finished(client, run["id"]))["state"] == "FAILED"
        assert not agent.deadman.minds_a_run


async def test_a_vm_that_turns_itself_off_accepts_nothing_more(tmp_path: Path) -> None:
    write_main(tmp_path, JOBS)
    button = PowerButton(["touch", str(tmp_path / "pressed")])
    clock = BootClock()
    agent = an_agent(tmp_path, deadman=a_deadman(tmp_path, clock), power=button)
    async with at_work(agent, wait=False) as client:  # on this clock the silence is over in a moment
        await until_there(tmp_path / "pressed")
        refused = await start(client, "test")
        assert (refused.status_code, refused.json()["code"]) == (503, "not-ready")
        assert (await client.get("/")).json()["stage"] == "leaving"


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[Emulator]:
    async with Emulator(seed=WORLD, folder=tmp_path / "disks") as emulator:
        yield emulator
        assert [entry for entry in emulator.history() if entry["kind"] == "violation"] == []


def metadata_of(cloud: Emulator) -> Metadata:
    return Metadata(f"{cloud.cloud.machines()[VM_KEY]}:{cloud.port}")


async def write_metadata(cloud: Emulator, **attributes: str) -> None:
    vm = f"{cloud.url}/compute/v1/{VM_KEY}"
    async with httpx.AsyncClient() as client:
        fingerprint = (await client.get(vm)).json()["metadata"]["fingerprint"]
        items = [{"key": name.replace("_", "-"), "value": value} for name, value in attributes.items()]
        (await client.post(f"{vm}/setMetadata", json={"fingerprint": fingerprint, "items": items})).raise_for_status()


async def test_a_new_lease_is_a_word_and_its_epoch_counts_before_anybody_calls(tmp_path: Path, cloud: Emulator) -> None:
    clock = StillClock()
    button = PowerButton(["touch", str(tmp_path / "pressed")])
    deadman = a_deadman(tmp_path, clock)
    agent = an_agent(tmp_path, deadman=deadman, metadata=metadata_of(cloud), power=button)
    async with at_work(agent) as client:
        await until(lambda: any(entry.get("verb") == "metadata.get" for entry in cloud.history()))
        clock.seconds += 100
        await write_metadata(cloud, mayfly_lease=a_lease(30))
        await until(lambda: agent.fence.ledger.epoch == 30)
        assert off_in(agent, clock) == 180
        assert (await client.get("/", headers={"Mayfly-Epoch": "29"})).json()["code"] == "stale-epoch"
        clock.seconds += 100
        await write_metadata(cloud, mayfly_lease=a_lease(29), mayfly_hold="2030-01-01T10:00:00Z")
        await until(lambda: off_in(agent, clock) > 180)
        assert agent.fence.ledger.epoch == 30, "it never falls"
    assert not (tmp_path / "pressed").exists()


async def test_metadata_that_cannot_be_read_are_silence_and_are_asked_for_again(
    tmp_path: Path, cloud: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "METADATA_PAUSE_SECONDS", 0.01)
    async with httpx.AsyncClient() as client:
        rule = {"on": "metadata.get", "times": 5, "reply": {"status": 503}}
        (await client.post(f"{cloud.url}/_emulator/faults", json=rule)).raise_for_status()
    clock = StillClock()
    metadata, button = metadata_of(cloud), PowerButton(["true"])
    agent = an_agent(tmp_path, deadman=a_deadman(tmp_path, clock), metadata=metadata, power=button)
    clock.seconds += 100
    async with at_work(agent, wait=False):
        await until(lambda: cloud.cloud.world.faults.rules[0].spent)
        assert off_in(agent, clock) == 80
        await write_metadata(cloud, mayfly_hold="2030-01-01T10:00:00Z")
        await until(lambda: off_in(agent, clock) > 180)


async def test_an_agent_whose_ledger_is_lost_hears_its_metadata_all_the_same(
    tmp_path: Path, cloud: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "METADATA_PAUSE_SECONDS", 0.01)
    clock = StillClock()
    metadata, button = metadata_of(cloud), PowerButton(["true"])
    agent = an_agent(tmp_path, deadman=a_deadman(tmp_path, clock), metadata=metadata, power=button)
    async with at_work(agent):
        agent.fence.ledger.close()
        for epoch in (30, 31, 32):
            clock.seconds += 100
            await write_metadata(cloud, mayfly_lease=a_lease(epoch))
            await until(lambda: off_in(agent, clock) == 180)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 200 OK\r\nETag: 1\r\n\r\n{", b"HTTP/1.1 200 OK\r\n\r\n[]", b""])
async def test_half_an_answer_is_none(answer: bytes) -> None:
    async with metadata_server(lambda _: answer) as host:
        with pytest.raises(OSError, match="metadata server"):
            await Metadata(host).attributes("")


@pytest.mark.parametrize(
    "trouble", ["a ledger that is none", "no metadata server", "a run that was cut off", "a full disk"]
)
async def test_an_agent_in_trouble_powers_its_vm_off_all_the_same(
    tmp_path: Path, request: pytest.FixtureRequest, trouble: str
) -> None:
    pressed = tmp_path / "pressed"
    disk: Path = request.getfixturevalue("small_disk") if trouble == "a full disk" else tmp_path
    write_main(disk, JOBS)
    known = {
        "MAYFLY_ROOT": str(disk / "root"),
        "MAYFLY_POWEROFF": f"touch {pressed}",
        "MAYFLY_DEADMAN_SILENCE_SECONDS": "2",
        "GCE_METADATA_HOST": "127.0.0.1:9",
        "MAYFLY_TLS": "off",  # without a certificate it would not listen, and startup.sh's own watch ends the VM
    }
    if trouble == "a ledger that is none":
        (disk / "state").mkdir()
        (disk / "state" / "ledger.db").write_text("not a database" * 1000)
    if trouble == "a run that was cut off":
        async with agent_process(disk) as agent:
            await start(agent.client, params={"until": str(tmp_path / "never")})
            await agent.kill()
    if trouble == "a full disk":
        fill(disk / "fill")
    well = trouble in {"no metadata server", "a run that was cut off"}
    async with agent_process(disk, until=200 if well else 503, **known) as agent:
        del agent.client.headers["X-API-Key"]
        await until_there(pressed)
        assert (await agent.client.get("/")).json()["status"] != "ok"


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0.01)


async def until_there(path: Path) -> None:
    await until(path.exists)
