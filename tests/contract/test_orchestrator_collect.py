"""Copying out what a run left, from an agent that is not to be trusted."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from orchestrator.agent_client import AgentClient
from orchestrator.agent_credentials import ApiKey
from orchestrator.clock import SystemClock
from orchestrator.collect import collect
from orchestrator.policy import Policy
from orchestrator.seen import Seen
from orchestrator.trip import Trip
from tests.contract.wires import Asked, http, serving
from tests.unit.orchestrator.sightings import ADDRESS, a_machine, a_run, a_view


async def copied(out: Path, names: list[str], *, run_id: str = "r1", sha256: str | None = None) -> Trip:
    """The trip that has collected from an agent which shows files of these names."""

    async def say(asked: Asked) -> bytes:
        if asked.path.endswith("/logs"):
            return http(200, b"the log", Mayfly_Log_Complete="true", Mayfly_Log_Next="7")
        if asked.path.endswith("/artifacts"):
            return http(200, {"artifacts": [{"path": name, "size": 4, "sha256": sha256} for name in names]})
        return http(200, b"file")

    policy, clock, told = Policy(), SystemClock(), list[Any]()
    async with serving(say) as url:
        client = AgentClient(url, ApiKey("key"), policy, clock)
        world: Any = SimpleNamespace(policy=policy, clock=clock, output=lambda *_: client, tell=told.append)
        trip = Trip(a_run(out=out), world, asyncio.Event())
        await collect(Seen(a_machine(), ADDRESS, run=a_view(id=run_id)), trip)
        await client.aclose()
    return trip


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


async def test_names_that_lead_out_of_the_folder_are_refused_and_the_others_copied(tmp_path: Path):
    names = ["../../evil", "/etc/evil", "", "a/../../evil", "nul\0byte", "x" * 300, "good.txt"]
    trip = await copied(tmp_path / "out", names)
    assert files(tmp_path) == {"out/r1/run.json", "out/r1/log.txt", "out/r1/artifacts/good.txt"}
    assert [file.path for file in trip.copied] == ["log.txt", "good.txt"]
    assert len(trip.not_copied) == len(names) - 1


async def test_a_run_whose_id_leads_out_of_the_folder_is_not_copied(tmp_path: Path):
    for run_id in ("../evil", "/evil", "..", "a/b"):
        trip = await copied(tmp_path / "out", [], run_id=run_id)
        assert trip.not_copied
        assert files(tmp_path) == set()


async def test_no_artifact_is_written_over_by_another_that_is_still_arriving(tmp_path: Path):
    await copied(tmp_path, ["a.part", "a", ".incoming", "log.txt"])
    assert files(tmp_path / "r1") == {
        "run.json",
        "log.txt",
        "artifacts/a.part",
        "artifacts/a",
        "artifacts/.incoming",
        "artifacts/log.txt",
    }


async def test_a_name_that_is_a_file_and_a_folder_costs_that_one_alone(tmp_path: Path):
    trip = await copied(tmp_path, ["a", "a/b", "c"])
    assert files(tmp_path / "r1" / "artifacts") == {"a", "c"}
    assert len(trip.not_copied) == 1


async def test_a_file_that_arrives_damaged_is_said_to_be(tmp_path: Path):
    trip = await copied(tmp_path, ["a"], sha256="0" * 64)
    assert "damaged" in trip.not_copied[0]


async def test_a_folder_that_cannot_be_made_is_told_not_raised(tmp_path: Path):
    (tmp_path / "r1").write_text("a file where the folder should be")
    trip = await copied(tmp_path, ["a"])
    assert trip.copied == []
    assert len(trip.not_copied) == 1
