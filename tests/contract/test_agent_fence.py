"""Who may command an agent: the holder of the newest lease, or a person while there is none."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.contract.agent_at_work import LeaseBoard, an_agent, at_work, write_main

JOBS = "def run(): pass\ndef test(): return 'rehearsed'"


def a_lease(epoch: int, *, minutes: float = 3) -> str:
    until = datetime.now(UTC) + timedelta(minutes=minutes)
    return json.dumps({"epoch": epoch, "holder": "somebody", "expires_at": until.isoformat()})


async def test_an_epoch_that_is_over_is_refused_everywhere(tmp_path: Path) -> None:
    write_main(tmp_path, JOBS)
    async with at_work(an_agent(tmp_path)) as client:
        await client.get("/", headers={"Mayfly-Epoch": "20"})
        for method, path in (("GET", "/"), ("POST", "/test"), ("GET", "/runs"), ("POST", "/poweroff")):
            refused = await client.request(method, path, headers={"Mayfly-Epoch": "19"})
            assert (refused.status_code, refused.json()["code"]) == (409, "stale-epoch"), path
        assert (await client.get("/", headers={"Mayfly-Epoch": "x"})).status_code == 400
        assert (await client.post("/test", headers={"Mayfly-Epoch": "20"})).status_code == 202


async def test_the_epoch_outlives_the_agent(tmp_path: Path) -> None:
    async with at_work(an_agent(tmp_path)) as client:
        await client.get("/", headers={"Mayfly-Epoch": "20"})
    async with at_work(an_agent(tmp_path)) as client:
        assert (await client.get("/", headers={"Mayfly-Epoch": "19"})).status_code == 409


async def test_while_a_lease_is_live_only_its_holder_commands(tmp_path: Path) -> None:
    write_main(tmp_path, JOBS)
    board = LeaseBoard()
    board.value = a_lease(30)
    async with at_work(an_agent(tmp_path, metadata=board)) as client:
        for method, path in (("GET", "/test"), ("POST", "/test"), ("POST", "/poweroff")):
            refused = await client.request(method, path)
            assert (refused.status_code, refused.json()["code"]) == (409, "lease-live"), path
        stale = await client.post("/test", headers={"Mayfly-Epoch": "29"})
        assert stale.json()["code"] == "stale-epoch", "the lease in the metadata raises the epoch"
        assert (await client.get("/runs")).status_code == 200, "anybody with credentials may look"
        assert (await client.post("/test", headers={"Mayfly-Epoch": "30"})).status_code == 202


async def test_a_person_may_command_when_the_lease_is_over(tmp_path: Path) -> None:
    write_main(tmp_path, JOBS)
    board = LeaseBoard()
    async with at_work(an_agent(tmp_path, metadata=board)) as client:
        for value in (None, a_lease(30, minutes=-1), json.dumps({"epoch": 30}), "not a lease", "[" * 100_000):
            board.value = value
            assert (await client.get("/test")).status_code == 200, value


async def test_a_lease_that_cannot_be_read_counts_as_live_for_whoever_shows_no_epoch(tmp_path: Path) -> None:
    write_main(tmp_path, JOBS)
    board = LeaseBoard()
    board.readable = False
    async with at_work(an_agent(tmp_path, metadata=board)) as client:
        assert (await client.get("/test")).json()["code"] == "lease-live"
        assert (await client.post("/test", headers={"Mayfly-Epoch": "1"})).status_code == 202


async def test_an_epoch_that_became_stale_while_the_lease_was_read_is_refused(tmp_path: Path) -> None:
    class Slow(LeaseBoard):
        async def lease(self) -> str | None:
            agent.fence.hear(21)
            raise OSError("no answer")

    write_main(tmp_path, JOBS)
    agent = an_agent(tmp_path, metadata=Slow())
    async with at_work(agent) as client:
        refused = await client.post("/test", headers={"Mayfly-Epoch": "20"})
    assert (refused.status_code, refused.json()["code"]) == (409, "stale-epoch")


@pytest.mark.parametrize("epoch", [10**30, -5, True, "7", 1.5, None])
async def test_a_lease_with_a_senseless_epoch_stops_nobody(tmp_path: Path, epoch: object) -> None:
    write_main(tmp_path, JOBS)
    board = LeaseBoard()
    board.value = json.dumps({"epoch": epoch})
    async with at_work(an_agent(tmp_path, metadata=board)) as client:
        assert (await client.get("/test", headers={"Mayfly-Epoch": "20"})).status_code == 200
