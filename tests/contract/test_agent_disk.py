"""A disk that is full, spoiled or not ours: the agent says so, and never that there was no run."""

from pathlib import Path

import pytest

from tests.contract.agent_at_work import agent_process, an_agent, at_work, ready, result_of, start, write_main

FILLS = """
import os
def run():
    with open("fill", "wb", buffering=0) as file:
        for size in (65536, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                pass
    raise RuntimeError("no room left")
def test():
    return os.path.exists("fill")
"""


async def test_when_a_job_fills_the_disk_its_end_is_still_told(small_disk: Path) -> None:
    write_main(small_disk, FILLS)
    async with at_work(an_agent(small_disk)) as client:
        ended = await result_of(client, key="k")
        assert (ended["state"], ended["failure"]["exit_code"]) == ("FAILED", 1)
        assert (await client.get("/")).status_code == 200
        (small_disk / "app" / "fill").unlink()
        assert (await result_of(client, "test", key="later"))["result"] is False
        again = await start(client, key="k")
        assert (again.status_code, again.json()["state"]) == (200, "FAILED")


async def test_when_the_disk_stays_full_a_start_is_refused_with_the_reason(small_disk: Path) -> None:
    write_main(small_disk, "def run(): return 5")
    async with at_work(an_agent(small_disk)) as client:
        fill(small_disk / "fill")
        refused = await start(client, key="k")
        assert (refused.status_code, refused.json()["code"]) == (503, "not-ready")
        assert "disk is full" in refused.json()["detail"]
        assert (await client.get("/runs")).json() == {"runs": []}
        (small_disk / "fill").unlink()
        assert (await result_of(client, key="k"))["result"] == 5


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        for size in (65536, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                pass


@pytest.mark.parametrize("spoiled", ["not a database", None])
async def test_an_agent_whose_ledger_cannot_be_opened_says_so_and_knows_of_no_run(
    tmp_path: Path, spoiled: str | None
) -> None:
    write_main(tmp_path, "def run(): pass")
    kept = tmp_path / "state" / "runs" / "precious"
    kept.mkdir(parents=True)
    ledger = tmp_path / "state" / "ledger.db"
    ledger.write_text(spoiled * 1000) if spoiled else ledger.mkdir()
    async with agent_process(tmp_path, until=503) as agent:
        health = (await ready(agent.client, 503)).json()
        while health["status"] == "starting":
            health = (await agent.client.get("/")).json()
        assert (health["status"], health["stage"]) == ("failed", "ledger")
        assert "ledger.db cannot be opened" in health["detail"]
        for method, path in (("POST", "/run"), ("GET", "/run"), ("GET", "/runs"), ("GET", "/runs/1")):
            assert (await agent.client.request(method, path)).status_code == 503, (method, path)
    assert kept.exists()


async def test_a_ledger_that_is_spoiled_under_a_run_fails_the_agents_health(tmp_path: Path) -> None:
    write_main(tmp_path, "import time\ndef run(): print(1, flush=True); time.sleep(0.3)")
    agent = an_agent(tmp_path)
    async with at_work(agent) as client:
        await start(client)
        agent.runs.ledger._db.execute("DROP TABLE runs")
        while (health := await client.get("/")).status_code == 200:
            pass
        assert health.json()["stage"] == "ledger"
        assert "can no longer be followed" in health.json()["detail"]
