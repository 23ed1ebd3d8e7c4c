"""A run in a container lives as any other run does: on a real Docker Engine."""

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import pytest

from tests.contract.agent_at_work import finished, result_of, start
from tests.contract.contained import an_agent_with, log_of, until_it_says
from tests.engines import TestEngine, script


async def test_it_gets_its_params_and_gives_progress_artifacts_and_a_result(engine: TestEngine, tmp_path: Path) -> None:
    job = script("""
        echo '{"fraction": 0.5, "message": "half way"}' >$MAYFLY_PROGRESS
        mkdir $MAYFLY_ARTIFACTS/deep && echo kept >$MAYFLY_ARTIFACTS/deep/file
        echo "to stderr" >&2; echo "$MAYFLY_MODE $MAYFLY_RUN_KEY $MAYFLY_ATTEMPT"
        cp $MAYFLY_PARAMS $MAYFLY_RESULT
    """)
    async with an_agent_with(engine, tmp_path) as client:
        run = await result_of(client, "test", key="monday", job=job, params={"coin": "BTC"})
        log = await log_of(client, run)
        assert (run["state"], run["result"], run["failure"]) == ("SUCCEEDED", {"coin": "BTC"}, None), log
        assert run["progress"] == {"fraction": 0.5, "message": "half way"}
        assert "to stderr\n" in log
        assert "test monday 1\n" in log
        artifacts = (await client.get(f"/runs/{run['id']}/artifacts")).json()["artifacts"]
        assert [one["path"] for one in artifacts] == ["deep/file"]
        assert (await client.get(f"/runs/{run['id']}/artifacts/deep/file")).text == "kept\n"


async def test_it_reads_the_files_that_were_brought_for_it_and_changes_nothing_there(
    engine: TestEngine, tmp_path: Path
) -> None:
    digest = hashlib.sha256(b"la la la").hexdigest()
    job = script(
        """
        cp $MAYFLY_PARAMS $MAYFLY_RESULT; cat "/mayfly/uploads/$ONE/my song.txt" "/mayfly/uploads/$ONE/again"; echo
        cd /mayfly/uploads/$ONE && for try in "echo x >again" "ln again b" "rm again" "mkdir new"; do
            (eval "$try") 2>&1 | grep -o "Read-only file system"
        done
    """.replace("$ONE", digest)
    )
    async with an_agent_with(engine, tmp_path) as client:
        await client.put(f"/files/{digest}", params={"size": 8, "offset": 0}, content=b"la la la")
        params = {"a": f"mayfly-upload:{digest}/my song.txt", "b": f"mayfly-upload:{digest}/again", "c": 1}
        run = await result_of(client, job=job, params=params)
        assert run["result"] == {
            "a": f"/mayfly/uploads/{digest}/my song.txt", "b": f"/mayfly/uploads/{digest}/again", "c": 1,
        }  # fmt: skip
        assert "la la lala la la\n" in await log_of(client, run)
        assert (await log_of(client, run)).count("Read-only file system\n") == 4
    assert not list(tmp_path.glob(f"state/**/{digest}*")), "they go with the run"


async def test_the_very_image_that_ran_is_told(engine: TestEngine, tmp_path: Path) -> None:
    async with an_agent_with(engine, tmp_path) as client:
        run = await result_of(client, job=script("true"))
        assert run["image"] == engine.api.inspect_image("box:1")["Id"]
        assert f"the image is {run['image']}\n" in await log_of(client, run)


async def test_its_progress_is_told_while_it_works(engine: TestEngine, tmp_path: Path) -> None:
    async with an_agent_with(engine, tmp_path) as client:
        job = script("""echo '{"fraction": 0.25}' >$MAYFLY_PROGRESS; sleep 600""")
        view = (await start(client, job=job)).json()
        async with asyncio.timeout(60):
            while view["progress"]["fraction"] != 0.25:
                view = (await client.get(f"/runs/{view['id']}", params={"wait": 5, "seen": view["version"]})).json()
        assert view["state"] == "RUNNING"
        await client.post(f"/runs/{view['id']}/cancel")
        assert (await finished(client, view["id"]))["progress"]["fraction"] == 0.25


async def test_it_fails_with_its_exit_code(engine: TestEngine, tmp_path: Path) -> None:
    async with an_agent_with(engine, tmp_path) as client:
        run = await result_of(client, job=script("exit 3"))
        assert run["state"] == "FAILED"
        assert run["failure"] == {"detail": "the job ended with exit code 3", "exit_code": 3, "signal": None}


async def test_one_that_takes_too_much_memory_is_told_so(engine: TestEngine, tmp_path: Path) -> None:
    async with an_agent_with(engine, tmp_path, memory_bytes=16 << 20) as client:
        run = await result_of(client, job=script("exec dd if=/dev/zero of=/dev/null bs=64M count=1"))
        assert run["state"] == "FAILED"
        assert run["failure"]["exit_code"] == 137
        said = (
            "killed at its memory limit of 16 MiB (",
            "killed by SIGKILL, most likely at its memory limit of 16 MiB (",
        )
        assert run["failure"]["detail"].startswith(said), "the engine itself may not have noticed why"


async def test_one_that_is_cancelled_gets_a_sigterm_first(engine: TestEngine, tmp_path: Path) -> None:
    async with an_agent_with(engine, tmp_path, stop_grace_seconds=60) as client:
        job = script("""trap 'echo closing; exit 4' TERM; echo ready; sleep 600 & wait""")
        run = (await start(client, job=job)).json()
        await until_it_says(client, run["id"], "ready\n")
        await client.post(f"/runs/{run['id']}/cancel")
        ended = await finished(client, run["id"])
        assert (ended["state"], ended["failure"]["exit_code"]) == ("CANCELLED", 4)
        assert (await log_of(client, run)).count("closing\n") == 1


async def test_one_that_does_not_hear_sigterm_is_killed(engine: TestEngine, tmp_path: Path) -> None:
    async with an_agent_with(engine, tmp_path) as client:
        run = (await start(client, job=script("trap '' TERM; echo deaf; while true; do sleep 1; done"))).json()
        await until_it_says(client, run["id"], "deaf\n")
        await client.post(f"/runs/{run['id']}/cancel")
        assert (await finished(client, run["id"]))["state"] == "CANCELLED"


async def test_one_that_is_cancelled_at_once_leaves_nothing(engine: TestEngine, tmp_path: Path) -> None:
    async with an_agent_with(engine, tmp_path) as client:
        for _ in range(5):
            run = (await start(client, job=script("sleep 600"))).json()
            await client.post(f"/runs/{run['id']}/cancel")
            assert (await finished(client, run["id"]))["state"] == "CANCELLED"


async def test_one_past_its_deadline_is_ended(engine: TestEngine, tmp_path: Path) -> None:
    async with an_agent_with(engine, tmp_path) as client:
        run = await result_of(client, job=script("sleep 600"), timeout_seconds=2)
        assert (run["state"], run["failure"]["detail"]) == ("TIMED_OUT", "killed at its deadline")


async def test_its_volumes_go_with_it(engine: TestEngine, tmp_path: Path) -> None:
    api = engine.api
    made = api.create_container("box:1", ["/bin/sh"])
    api.commit(made["Id"], "volumed", "1", conf={"Volumes": {"/data": {}}})
    api.remove_container(made["Id"])
    async with an_agent_with(engine, tmp_path) as client:
        run = await result_of(client, job=script("ls -d /data", image="volumed:1"))
        assert run["state"] == "SUCCEEDED"
    assert engine.left()["volumes"] == []


async def test_all_of_a_long_output_is_in_the_log(engine: TestEngine, tmp_path: Path) -> None:
    async with an_agent_with(engine, tmp_path) as client:
        run = await result_of(client, job=script("dd if=/dev/zero bs=1M count=20; echo; echo the end"))
        folder = tmp_path / "state" / "runs" / run["id"]
        log = (folder / "log").read_bytes()
        assert log.count(b"\0") == 20 << 20
        assert b"the end\n" in log


@pytest.mark.parametrize("left", ["ln -s /etc/passwd", "mkdir", "mkfifo"])
async def test_a_result_that_is_no_file_is_not_followed(engine: TestEngine, tmp_path: Path, left: str) -> None:
    async with an_agent_with(engine, tmp_path) as client:
        run = await result_of(client, job=script(f"{left} $MAYFLY_RESULT; ln -s /etc/passwd $MAYFLY_PROGRESS"))
        assert (run["state"], run["result"]) == ("FAILED", None)
        assert run["failure"]["detail"] == "the result cannot be kept: it is not a regular file"
        run = await result_of(client, job=script(f"{left} $MAYFLY_RESULT; exit 3"))
        assert run["failure"]["exit_code"] == 3, "of a job that failed nobody wants a result"


async def test_fifty_runs_in_a_row(engine: TestEngine, tmp_path: Path) -> None:
    async with an_agent_with(engine, tmp_path, network=False) as client:
        for number in range(50):
            run = await result_of(client, job=script("cp $MAYFLY_PARAMS $MAYFLY_RESULT"), params={"number": number})
            assert (run["state"], run["result"]) == ("SUCCEEDED", {"number": number})


async def test_eight_at_once_under_eight_agents(engine: TestEngine, tmp_path: Path) -> None:
    async def one(number: int) -> dict[str, Any]:
        async with an_agent_with(engine, tmp_path / str(number)) as client:
            job = script("cp $MAYFLY_PARAMS $MAYFLY_RESULT; exit $(($(cat $MAYFLY_PARAMS | grep -c odd) * 3))")
            return await result_of(client, job=job, params={"kind": "odd" if number % 2 else "even"})

    runs = await asyncio.gather(*map(one, range(8)))
    assert [run["state"] for run in runs] == ["SUCCEEDED", "FAILED"] * 4
