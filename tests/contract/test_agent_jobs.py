"""What a job can be, what it is given, and how its end is told."""

import dataclasses
import os
import signal
from pathlib import Path

import pytest

from tests.contract.agent_at_work import alive, an_agent, at_work, finished, result_of, start, until_file, write_main
from tests.tools import with_control_groups
from vm_agent.cgroups import writable_group
from vm_agent.settings import from_environment


async def the_end_of(folder: Path, source: str, mode: str = "run", **request: object) -> dict[str, object]:
    """Run this main.py and give the run's view at its end, with its log as "log"."""
    write_main(folder, source)
    async with at_work(an_agent(folder)) as client:
        view = await result_of(client, mode, **request)
        return view | {"log": (await client.get(f"/runs/{view['id']}/logs")).text}


async def test_a_job_may_take_a_context(tmp_path: Path) -> None:
    ended = await the_end_of(
        tmp_path,
        """
        def run(context):
            context.log("said so")
            context.progress(2, "over the top")
            (context.artifacts / "made").write_text("x")
            return [context.mode, context.rehearsal, dict(context.params), context.deadline.isoformat()]
        """,
        params={"a": [1, None]},
        timeout_seconds=60,
    )
    assert ended["state"] == "SUCCEEDED"
    assert ended["result"] == ["run", False, {"a": [1, None]}, str(ended["deadline"]).replace("Z", "+00:00")]
    assert (ended["progress"], ended["log"]) == ({"fraction": 1.0, "message": "over the top"}, "said so\n")


async def test_a_job_may_be_a_coroutine(tmp_path: Path) -> None:
    ended = await the_end_of(tmp_path, "import asyncio\nasync def run():\n await asyncio.sleep(0)\n return 5")
    assert ended["result"] == 5


async def test_a_job_that_raises_has_its_traceback_in_the_log(tmp_path: Path) -> None:
    ended = await the_end_of(tmp_path, "def run():\n    raise RuntimeError('no such coin')")
    assert ended["state"] == "FAILED"
    assert ended["failure"] == {"detail": "RuntimeError: no such coin", "exit_code": 1, "signal": None}
    assert "Traceback (most recent call last)" in str(ended["log"])
    assert "line 2, in run" in str(ended["log"])


@pytest.mark.parametrize(
    ("source", "detail"),
    [
        ("def run(): return object()", "the job's result, a object, is not JSON"),
        ("def run(): return float('nan')", "the job's result, a float, is not JSON"),
        ("def run(): return 'x' * (1 << 20)", "write an artifact"),
        ("def run(a, b): pass", "main:run must take no argument, or one"),
        ("run = 3", "has no function 'run'"),
        ("import not_there\ndef run(): pass", "ModuleNotFoundError: No module named 'not_there'"),
        ("def run(: pass", "SyntaxError"),
        ("import sys\ndef run(): sys.exit('out of coins')", "out of coins"),
        ("import sys\ndef run(): sys.exit(3)", "the job ended with exit code 3"),
        ("import os\ndef run(): os.kill(os.getpid(), 9)", "the job was killed by SIGKILL"),
        ("import os\ndef run(): os.abort()", "the job was killed by SIGABRT"),
    ],
)
async def test_a_job_that_fails_says_why(tmp_path: Path, source: str, detail: str) -> None:
    ended = await the_end_of(tmp_path, source)
    assert ended["state"] == "FAILED"
    assert detail in ended["failure"]["detail"]  # type: ignore[index]


async def test_a_module_that_is_not_there_is_named(tmp_path: Path) -> None:
    ended = await the_end_of(tmp_path, "", job={"function": "elsewhere.deep:run"})
    assert "there is no module 'elsewhere'" in ended["failure"]["detail"]  # type: ignore[index]


async def test_the_rehearsal_of_an_explicit_job_is_told_to_it(tmp_path: Path) -> None:
    ended = await the_end_of(
        tmp_path, "def trade(context): return context.rehearsal", "test", job={"function": "main:trade"}
    )
    assert ended["result"] is True


async def test_a_job_that_cannot_know_that_it_is_a_rehearsal_is_not_called(tmp_path: Path) -> None:
    ended = await the_end_of(tmp_path, "def trade(): print('traded')", "test", job={"function": "main:trade"})
    assert ended["state"] == "FAILED"
    assert "traded" not in str(ended["log"])


async def test_a_job_may_be_a_command(tmp_path: Path) -> None:
    script = """
        cat "$MAYFLY_PARAMS"; echo " $MAYFLY_MODE $PWD" >&2
        echo '{"fraction": 0.25, "message": "a quarter"}' > "$MAYFLY_PROGRESS"
        echo made > "$MAYFLY_ARTIFACTS/made"; echo '[7]' > "$MAYFLY_RESULT"
    """
    ended = await the_end_of(tmp_path, "", job={"command": ["sh", "-c", script]}, params={"a": 1})
    assert (ended["state"], ended["result"]) == ("SUCCEEDED", [7])
    assert ended["log"] == f'{{"a": 1}} run {tmp_path / "app"}\n'
    assert ended["progress"] == {"fraction": 0.25, "message": "a quarter"}


async def test_a_command_that_fails_has_its_exit_code(tmp_path: Path) -> None:
    ended = await the_end_of(tmp_path, "", job={"command": ["sh", "-c", "exit 7"]})
    assert ended["failure"] == {"detail": "the job ended with exit code 7", "exit_code": 7, "signal": None}


async def test_a_command_that_is_not_there_fails(tmp_path: Path) -> None:
    ended = await the_end_of(tmp_path, "", job={"command": ["no-such-program"]})
    assert ended["failure"]["detail"] == "cannot start 'no-such-program': No such file or directory"  # type: ignore[index]


async def test_a_command_knows_its_run_by_key_mode_and_attempt(tmp_path: Path) -> None:
    script = """printf '["%s", "%s", %s]' "$MAYFLY_RUN_KEY" "$MAYFLY_MODE" "$MAYFLY_ATTEMPT" > "$MAYFLY_RESULT" """
    ended = await the_end_of(tmp_path, "", "test", key="monday/1d", attempt=2, job={"command": ["sh", "-c", script]})
    assert ended["result"] == ["monday/1d", "test", 2]


async def test_a_function_knows_its_run_by_key_and_attempt(tmp_path: Path) -> None:
    """By its context; and what it starts, by the environment."""
    source = """
        import os
        def run(context):
            return [context.run_key, context.attempt, os.environ["MAYFLY_RUN_KEY"], os.environ["MAYFLY_ATTEMPT"]]
    """
    ended = await the_end_of(tmp_path, source, key="monday", attempt=3)
    assert ended["result"] == ["monday", 3, "monday", "3"]


def test_a_job_does_not_learn_the_agents_key() -> None:
    settings = from_environment({"MAYFLY_AUTH": "api-key", "MAYFLY_API_KEY": "secret", "EXCHANGE_KEY": "theirs"})
    assert settings.job_environment == {"MAYFLY_AUTH": "api-key", "EXCHANGE_KEY": "theirs"}


async def test_a_job_past_its_deadline_is_killed_with_its_children(tmp_path: Path) -> None:
    write_main(tmp_path, STUBBORN)
    async with at_work(an_agent(tmp_path)) as client:
        run = (await start(client, timeout_seconds=5)).json()
        wanderer = int(await until_file(tmp_path / "app" / "wanderer"))
        ended = await finished(client, run["id"])
    assert (ended["state"], ended["failure"]["signal"]) == ("TIMED_OUT", "SIGKILL")
    assert not alive(wanderer)


async def test_cancel_kills_even_what_forked_twice_and_will_not_listen(tmp_path: Path) -> None:
    write_main(tmp_path, STUBBORN)
    async with at_work(an_agent(tmp_path)) as client:
        run = (await start(client)).json()
        wanderer = int(await until_file(tmp_path / "app" / "wanderer"))
        assert (await client.post(f"/runs/{run['id']}/cancel")).status_code == 202
        assert (await finished(client, run["id"]))["state"] == "CANCELLED"
        assert not alive(wanderer)
        again = await client.post(f"/runs/{run['id']}/cancel")
    assert (again.status_code, again.json()["state"]) == (202, "CANCELLED")


async def test_a_cancelled_job_may_tidy_up(tmp_path: Path) -> None:
    write_main(
        tmp_path,
        """
        import time
        def run():
            try:
                open("begun", "w").write("yes")
                time.sleep(3600)
            finally:
                print("positions closed")
        """,
    )
    async with at_work(an_agent(tmp_path)) as client:
        run = (await start(client)).json()
        await until_file(tmp_path / "app" / "begun")
        await client.post(f"/runs/{run['id']}/cancel")
        ended = await finished(client, run["id"])
        assert (await client.get(f"/runs/{run['id']}/logs")).text == "positions closed\n"
    assert (ended["state"], ended["failure"]["exit_code"]) == ("CANCELLED", 143)


async def test_a_run_that_is_cancelled_at_once_never_begins(tmp_path: Path) -> None:
    write_main(tmp_path, "def run(): open('begun', 'w').write('yes')")
    agent = an_agent(tmp_path)
    async with at_work(agent) as client:
        run = (await start(client)).json()
        agent.runs.cancel(run["id"])  # before its keeper was started
        assert (await finished(client, run["id"]))["state"] == "CANCELLED"
    assert not (tmp_path / "app" / "begun").exists()


async def test_what_a_finished_job_left_behind_is_ended_before_the_next(tmp_path: Path) -> None:
    write_main(tmp_path, STUBBORN.replace("time.sleep(3600)  # the job", "pass"))
    async with at_work(an_agent(tmp_path)) as client:
        ended = await result_of(client)
        assert ended["state"] == "SUCCEEDED"
        assert not alive(int(await until_file(tmp_path / "app" / "wanderer")))
        assert "the job left 1 processes behind" in (await client.get(f"/runs/{ended['id']}/logs")).text


async def test_a_run_whose_keeper_was_killed_is_interrupted_and_leaves_nothing(tmp_path: Path) -> None:
    write_main(tmp_path, STUBBORN)
    agent = an_agent(tmp_path)
    async with at_work(agent) as client:
        run = (await start(client)).json()
        wanderer = int(await until_file(tmp_path / "app" / "wanderer"))
        mark = agent.runs.ledger.mark(run["id"])
        assert mark
        os.kill(mark.pid, signal.SIGKILL)
        assert (await finished(client, run["id"]))["state"] == "INTERRUPTED"
        assert not alive(wanderer)


@with_control_groups
async def test_a_run_has_a_control_group_from_which_nothing_escapes(tmp_path: Path) -> None:
    write_main(
        tmp_path,
        """
        import subprocess, time
        def run():
            hides = "setsid env -i setsid sh -c 'echo $$ > hidden.new; mv hidden.new hidden; exec sleep 3600' &"
            subprocess.run(["sh", "-c", hides])
            time.sleep(3600)
        """,
    )
    base, agent = writable_group(), an_agent(tmp_path)
    agent.runs.processes = dataclasses.replace(agent.runs.processes, groups=base)  # type: ignore[type-var]
    async with at_work(agent) as client:
        run = (await start(client)).json()
        group = Path(f"{base}/mayfly-{run['id']}")
        hidden = int(await until_file(tmp_path / "app" / "hidden"))
        assert str(hidden) in (group / "cgroup.procs").read_text().split()
        await client.post(f"/runs/{run['id']}/cancel")
        await finished(client, run["id"])
    assert not alive(hidden)
    assert not group.exists()


# Its grandchild forks twice, takes a session of its own and ignores SIGTERM; so does the job.
STUBBORN = """
import os, signal, subprocess, sys, time

CHILD = '''
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.setsid()
if os.fork():
    os._exit(0)
os.setsid()
open("wanderer.new", "w").write(str(os.getpid()))
os.rename("wanderer.new", "wanderer")
time.sleep(3600)
'''

def run():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    subprocess.run([sys.executable, "-c", CHILD])
    while not os.path.exists("wanderer"):
        time.sleep(0.01)
    time.sleep(3600)  # the job
"""
