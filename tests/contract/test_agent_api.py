"""What callers can rely on when they talk to the agent."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.contract.agent_at_work import Gpus, an_agent, at_work, finished, result_of, start, write_main
from vm_agent.power import PowerButton
from vm_agent.protocol import PARAMS_BYTES_MAX, RunView

WAITS = """
    import time, pathlib
    def run(context):
        print("working", flush=True)
        while not pathlib.Path(context.params["until"]).exists():
            time.sleep(0.01)
        return {"did": context.params}
    def test():
        return "rehearsed"
"""


async def test_the_plain_form_answers_as_the_original_did(tmp_path: Path) -> None:
    write_main(tmp_path, "def run(): return {'placed': 3}\ndef test(): raise ValueError('no such coin')")
    async with at_work(an_agent(tmp_path)) as client:
        done, failed = await client.get("/run"), await client.get("/test")
    assert (done.status_code, done.json()) == (200, {"status": "ok", "result": {"placed": 3}})
    assert (failed.status_code, failed.json()) == (500, {"status": "error", "detail": "ValueError: no such coin"})


async def test_a_caller_with_credentials_is_greeted(tmp_path: Path) -> None:
    gpu = {"name": "NVIDIA L4", "memory_bytes": 24 << 30, "driver": "570.1", "ecc_errors": 0}
    async with at_work(an_agent(tmp_path, gpu_probe=Gpus([gpu]))) as client:
        greeting = (await client.get("/", headers={"Mayfly-Epoch": "7"})).json()
    assert greeting["gpu"] == [gpu]
    assert {
        "status": "ok",
        "protocol": 1,
        "boot_id": "boot-1",
        "instance_id": None,
        "epoch": 7,
    }.items() <= greeting.items()


async def test_where_a_gpu_is_required_health_says_why_it_is_not_ready(tmp_path: Path) -> None:
    write_main(tmp_path, "def run(): pass")
    async with at_work(an_agent(tmp_path, gpu_required=True), wait=False) as client:
        while (health := (await client.get("/")).json())["stage"] != "gpu":
            await asyncio.sleep(0.01)
        assert {"status": "starting", "detail": "the driver is not loaded"}.items() <= health.items()
        assert (await client.get("/")).status_code == 503
        refused = await client.post("/run")
    assert (refused.status_code, refused.json()["code"]) == (503, "not-ready")


async def test_the_same_key_means_the_same_run(tmp_path: Path) -> None:
    write_main(tmp_path, WAITS)
    go = tmp_path / "go"
    async with at_work(an_agent(tmp_path)) as client:
        first = await start(client, key="k", params={"until": str(go)})
        again = await start(client, key="k", params={"until": str(go)}, timeout_seconds=999)
        assert (first.status_code, again.status_code) == (202, 202)
        assert first.headers["Location"] == f"/runs/{first.json()['id']}" == again.headers["Location"]
        other = await start(client, key="k", params={"until": "elsewhere"})
        assert (other.status_code, other.json()["code"]) == (422, "key-reused")
        busy = await start(client, "test", key="another")
        assert (busy.status_code, busy.json()["code"]) == (409, "busy")
        go.touch()
        done = await finished(client, first.json()["id"])
        assert (done["state"], done["result"]) == ("SUCCEEDED", {"did": {"until": str(go)}})
        late = await start(client, key="k", params={"until": str(go)})
        assert (late.status_code, late.json()["id"]) == (200, done["id"])
        assert [run["id"] for run in (await client.get("/runs", params={"key": "k"})).json()["runs"]] == [done["id"]]


async def test_a_run_in_rehearsal_is_another_run(tmp_path: Path) -> None:
    write_main(tmp_path, WAITS)
    (tmp_path / "go").touch()
    async with at_work(an_agent(tmp_path)) as client:
        real = await result_of(client, key="k", params={"until": str(tmp_path / "go")})
        rehearsal = await result_of(client, "test", key="k")
    assert real["id"] != rehearsal["id"]
    assert rehearsal["result"] == "rehearsed"


async def test_a_caller_may_prefer_to_wait(tmp_path: Path) -> None:
    write_main(tmp_path, WAITS)
    go = tmp_path / "go"
    async with at_work(an_agent(tmp_path)) as client:
        impatient = await client.post("/run", json={"until": str(go)}, headers={"Prefer": "wait=0"})
        assert (impatient.status_code, impatient.headers["Preference-Applied"]) == (202, "wait=0")
        go.touch()
        await finished(client, impatient.json()["id"])
        patient = await client.post("/test", headers={"Prefer": "respond-async, wait=30"})
    assert (patient.status_code, patient.json()["result"]) == (200, "rehearsed")


async def test_a_follower_hears_of_each_change(tmp_path: Path) -> None:
    write_main(
        tmp_path,
        """
        import time, pathlib
        def run(context):
            context.progress(0.5, "half way")
            while not pathlib.Path(context.params["until"]).exists():
                time.sleep(0.01)
        """,
    )
    go, seen = tmp_path / "go", -1
    told: list[RunView] = []
    async with at_work(an_agent(tmp_path)) as client:
        run = (await start(client, params={"until": str(go)})).json()
        while not told or not told[-1].state.finished:
            answer = await client.get(f"/runs/{run['id']}", params={"wait": 30, "seen": seen})
            told.append(RunView.model_validate(answer.json()))
            seen = told[-1].version
            if told[-1].progress.message == "half way":
                go.touch()
    assert [view.version for view in told] == sorted({view.version for view in told})
    assert told[-1].progress.fraction == 0.5


async def test_a_body_that_is_too_large_is_refused_while_it_comes(tmp_path: Path) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 100 << 20:
            sent += 1 << 16
            yield b" " * (1 << 16)

    async with at_work(an_agent(tmp_path)) as client:
        refused = await client.post("/run", content=endless())
        assert (refused.status_code, refused.json()["code"]) == (413, "too-large")
        assert (await client.post("/run", json={"a": "x" * PARAMS_BYTES_MAX})).status_code == 413
        assert (await client.get("/runs")).json() == {"runs": []}


@pytest.mark.parametrize(
    ("request_body", "about"),
    [
        ({"params": {}, "timeout": 3}, "timeout"),
        ({"job": {"function": "no colon"}}, "function"),
        ({"attempt": 0}, "attempt"),
    ],
)
async def test_a_start_that_is_misspelt_is_refused(tmp_path: Path, request_body: dict[str, Any], about: str) -> None:
    async with at_work(an_agent(tmp_path)) as client:
        refused = await start(client, **request_body)
    assert (refused.status_code, refused.json()["code"]) == (400, "bad-request")
    assert about in refused.json()["detail"]


async def test_what_is_not_json_or_not_an_object_is_refused(tmp_path: Path) -> None:
    async with at_work(an_agent(tmp_path)) as client:
        for body in (
            b"{",
            b"[1]",
            b"\xff",
            b"[" * 100_000,
            b'{"a": NaN}',
            b'{"a": 1e999}',
            b'{"a": "\\ud800"}',
            b"null",
        ):
            assert (await client.post("/run", content=body)).json()["code"] == "bad-request", body[:20]
        assert (await client.post("/run", headers={"Idempotency-Key": "x" * 256})).status_code == 400


async def test_what_is_not_there_is_said_to_be_not_there(tmp_path: Path) -> None:
    async with at_work(an_agent(tmp_path)) as client:
        for path in ("/runs/none", "/runs/none/logs", "/runs/none/artifacts", "/runs/..%2f..%2fetc"):
            assert (await client.get(path)).status_code == 404
        assert (await client.get("/runs/none")).json()["code"] == "unknown-run"
        assert (await client.post("/runs/none/cancel")).json()["code"] == "unknown-run"
        assert (await client.delete("/runs/none")).headers["Content-Type"] == "application/problem+json"
        assert (await client.get("/runs/none", params={"wait": 61})).json()["code"] == "bad-request"


async def test_the_machine_is_turned_off_only_when_no_run_is_live(tmp_path: Path) -> None:
    write_main(tmp_path, WAITS)
    off = tmp_path / "off"
    async with at_work(an_agent(tmp_path, power=PowerButton(["touch", str(off)]))) as client:
        run = (await start(client, params={"until": str(tmp_path / "never")})).json()
        assert (await client.post("/poweroff")).json()["code"] == "busy"
        await client.post(f"/runs/{run['id']}/cancel")
        await finished(client, run["id"])
        assert (await client.post("/poweroff")).status_code == 202
        while not off.exists():
            await asyncio.sleep(0.01)


async def test_a_machine_that_is_not_ours_is_not_turned_off(tmp_path: Path) -> None:
    async with at_work(an_agent(tmp_path)) as client:
        assert (await client.post("/poweroff")).status_code == 404


async def test_health_answers_while_a_call_waits(tmp_path: Path) -> None:
    write_main(tmp_path, WAITS)
    async with at_work(an_agent(tmp_path)) as client:
        waiting = asyncio.create_task(start_and_wait(client, tmp_path / "go"))
        while not (greeting := (await client.get("/")).json())["run"]:
            await asyncio.sleep(0)
        assert greeting["run"]["state"] in {"ACCEPTED", "RUNNING"}
        (tmp_path / "go").touch()
        assert (await waiting).json()["state"] == "SUCCEEDED"


async def start_and_wait(client: httpx.AsyncClient, go: Path) -> httpx.Response:
    return await client.post("/run", json={"until": str(go)}, headers={"Prefer": "wait=30"})
