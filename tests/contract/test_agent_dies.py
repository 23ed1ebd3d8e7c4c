"""The agent is killed between every two steps of a run: its job begins at most once, and all is told."""

import contextlib
from pathlib import Path

import httpx
import pytest

from tests.contract.agent_at_work import agent_process, finished, start, write_main

# Each step; when the agent dies right after it, how often the job may have begun, and what may be known of the run.
STEPS: dict[str, tuple[set[int], list[list[str]]]] = {
    "vm_agent.asking.start_request": ({0}, [[]]),
    "vm_agent.ledger.Ledger.accept": ({0}, [["INTERRUPTED"]]),  # on disk, nothing spawned
    "vm_agent.process.LocalProcesses._prepare": ({0}, [["INTERRUPTED"]]),
    "vm_agent.process.LocalProcesses.start": ({0}, [["INTERRUPTED"]]),  # the keeper waits
    "vm_agent.ledger.Ledger.advance": ({0}, [["INTERRUPTED"]]),  # RUNNING, with the keeper's mark
    "vm_agent.process._Kept.go": (
        {0, 1},
        [["INTERRUPTED"], ["SUCCEEDED"]],
    ),  # it may end before the next agent
    "vm_agent.process._Kept.ended": ({1}, [["SUCCEEDED"]]),
    "vm_agent.runs.Runs._settle": ({1}, [["SUCCEEDED"]]),
}
DYING_AGENT = """
import importlib, inspect, os, signal, sys
from vm_agent import __main__, asking, run_routes
path = os.environ["DIES_AFTER"].split(".")
owner = importlib.import_module(".".join(path[:2]))
for part in path[2:-1]:
    owner = getattr(owner, part)
step = getattr(owner, path[-1])

def dies(*given, **named):
    done = step(*given, **named)
    if not inspect.isawaitable(done):
        os.kill(os.getpid(), signal.SIGKILL)
    async def later():
        await done
        os.kill(os.getpid(), signal.SIGKILL)
    return later()

setattr(owner, path[-1], dies)
if owner is asking:
    run_routes.start_request = dies
__main__.main()
"""


@pytest.mark.parametrize("step", STEPS)
async def test_an_agent_killed_after(step: str, tmp_path: Path) -> None:
    write_main(tmp_path, "def run():\n print('begun', file=open('begun', 'a'))\n return 5")
    async with agent_process(tmp_path, program=("-c", DYING_AGENT), DIES_AFTER=step) as agent:
        with contextlib.suppress(httpx.TransportError):
            await start(agent.client, key="k")
        await agent.process.wait()
    begun = tmp_path / "app" / "begun"
    async with agent_process(tmp_path) as agent:
        may_have_begun, may_be_known = STEPS[step]
        known = (await agent.client.get("/runs", params={"key": "k"})).json()["runs"]
        assert [run["state"] for run in known] in may_be_known
        times = len(begun.read_text().splitlines()) if begun.exists() else 0
        assert times in may_have_begun
        assert times or not any(run["state"] == "SUCCEEDED" for run in known)
        again = await finished(agent.client, (await start(agent.client, key="k")).json()["id"])
        assert [run["id"] for run in known] in ([], [again["id"]]), "the key still means the same run"
        assert again["state"] == (known[0]["state"] if known else "SUCCEEDED")
    assert (len(begun.read_text().splitlines()) if begun.exists() else 0) <= 1
