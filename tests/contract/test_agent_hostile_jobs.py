"""Whatever a job does to itself, to its files and to its keeper, the agent stays well and says how the run ended."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.contract.agent_at_work import (
    agent_process,
    alive,
    an_agent,
    at_work,
    finished,
    result_of,
    start,
    until_file,
    write_main,
)
from tests.tools import with_control_groups
from vm_agent.cgroups import writable_group
from vm_agent.family import Family


@pytest.mark.parametrize(
    ("source", "state", "detail"),
    [
        ("import ctypes\ndef run(): ctypes.string_at(0)", "FAILED", "the job was killed by SIGSEGV"),
        ("def run(): run()", "FAILED", "RecursionError: maximum recursion depth exceeded"),
        ("def run(): return b'bytes'", "FAILED", "is not JSON"),
        ("def run():\n a = []\n a.append(a)\n return a", "FAILED", "is not JSON: Circular reference"),
        ("def run(): return '\\udcff'", "FAILED", "the result is not JSON"),
        ("import os\ndef run(): os._exit(0)", "SUCCEEDED", None),
        ("import sys\ndef run(): sys.exit(0)", "SUCCEEDED", None),
        ("import sys\ndef run(): sys.stdout.close(); return 1", "SUCCEEDED", None),
        ("import sys\ndef run():\n sys.stderr.close(); raise ValueError('unheard')", "FAILED", "ValueError: unheard"),
        ("import os\ndef run():\n os.close(2); raise ValueError('unheard')", "FAILED", "ValueError: unheard"),
        ("import sys\nsys.exit('at import')\ndef run(): pass", "FAILED", "at import"),
        ("def run():\n e = ValueError('no'); e.add_note('a hint'); raise e", "FAILED", "ValueError: no"),
        ("class E(Exception):\n def __str__(self): 1 / 0\ndef run(): raise E", "FAILED", "E: <exception str() failed>"),
    ],
)
async def test_a_job_that_ends_strangely_is_told_apart(
    tmp_path: Path, source: str, state: str, detail: str | None
) -> None:
    write_main(tmp_path, source)
    async with at_work(an_agent(tmp_path)) as client:
        ended = await result_of(client)
    said = ended["failure"]["detail"] if ended["failure"] else None
    assert ended["state"] == state
    assert detail == said or (detail and said and detail in said), said


@pytest.mark.parametrize(
    ("script", "state", "detail"),
    [
        ("mkdir $MAYFLY_RESULT", "FAILED", "the result cannot be kept: it is not a regular file"),
        ("mkfifo $MAYFLY_RESULT $MAYFLY_PROGRESS", "FAILED", "the result cannot be kept: it is not a regular file"),
        ("ln -s /dev/zero $MAYFLY_RESULT", "FAILED", "the result cannot be kept: it is not a regular file"),
        ("echo 1e999 > $MAYFLY_RESULT", "FAILED", "the result is not JSON"),
        ("printf '\"\\377\"' > $MAYFLY_RESULT", "FAILED", "the result is not JSON"),
        ("cd $MAYFLY_ARTIFACTS/..; echo '{}' > failure.json; exit 3", "FAILED", "the job ended with exit code 3"),
        ("cd $MAYFLY_ARTIFACTS/..; echo '{}' > outcome.json; echo x > order.json", "SUCCEEDED", None),
        ("cd $MAYFLY_ARTIFACTS/..; mkdir outcome.json", "INTERRUPTED", "cut off"),
        ("rm -rf $(dirname $MAYFLY_ARTIFACTS)", "INTERRUPTED", "cut off"),
    ],
)
async def test_a_job_that_tampers_with_its_files_harms_only_itself(
    tmp_path: Path, script: str, state: str, detail: str | None
) -> None:
    write_main(tmp_path, "def test(): return 'well'")
    async with at_work(an_agent(tmp_path)) as client:
        ended = await result_of(client, job={"command": ["sh", "-c", script]})
        assert (await result_of(client, "test"))["result"] == "well"
    assert ended["state"] == state
    assert ended["failure"] is None if detail is None else detail in ended["failure"]["detail"]


async def test_a_forked_child_that_returns_from_the_job_does_not_answer_for_it(tmp_path: Path) -> None:
    write_main(tmp_path, "import os\ndef run():\n if os.fork(): os.wait(); return 'parent'\n return 'child'")
    async with at_work(an_agent(tmp_path)) as client:
        ended = await result_of(client)
    assert ended["result"] == "parent"


async def test_threads_may_tell_progress_at_once(tmp_path: Path) -> None:
    write_main(
        tmp_path,
        """
        import threading
        def run(context):
            failed = []
            threading.excepthook = lambda what: failed.append(repr(what.exc_value))
            threads = [threading.Thread(target=tell, args=(context,)) for _ in range(8)]
            [thread.start() for thread in threads], [thread.join() for thread in threads]
            context.progress(1, "x" * (1 << 20))
            return failed
        def tell(context):
            for index in range(200):
                context.progress(index / 200)
        """,
    )
    async with at_work(an_agent(tmp_path)) as client:
        ended = await result_of(client)
    assert (ended["result"], ended["progress"]["fraction"]) == ([], 1.0)
    assert ended["progress"]["message"] == "x" * 1000


async def test_a_job_whose_folder_is_missing_is_said_to_have_none(tmp_path: Path) -> None:
    async with at_work(an_agent(tmp_path)) as client:
        ended = await result_of(client)
    assert ended["failure"]["detail"] == f"cannot enter the job's folder {tmp_path}/app: No such file or directory"


async def test_a_job_that_stops_its_keeper_is_ended_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vm_agent.policy.KEEPER_GRACE_SECONDS", 0.2)
    write_main(
        tmp_path,
        """
        import os, signal, time
        def run():
            os.kill(os.getppid(), signal.SIGSTOP)
            open("mine.new", "w").write(str(os.getpid()))
            os.rename("mine.new", "mine")
            time.sleep(3600)
        """,
    )
    async with at_work(an_agent(tmp_path)) as client:
        run = (await start(client)).json()
        pid = int(await until_file(tmp_path / "app" / "mine"))
        await client.post(f"/runs/{run['id']}/cancel")
        assert (await finished(client, run["id"]))["state"] == "INTERRUPTED"
    assert not alive(pid)


async def test_what_is_left_of_a_run_is_cleared_away_even_if_its_job_spoiled_the_order(tmp_path: Path) -> None:
    write_main(
        tmp_path,
        """
        import os, signal, time
        def run(context):
            (context.artifacts.parent / "order.json").write_text("{")
            open("mine.new", "w").write(str(os.getpid()))
            os.rename("mine.new", "mine")
            time.sleep(3600)
        """,
    )
    async with agent_process(tmp_path) as agent:
        run = (await start(agent.client)).json()
        await until_file(tmp_path / "app" / "mine")
        await agent.kill()
    async with agent_process(tmp_path) as agent:
        assert (await finished(agent.client, run["id"]))["state"] == "INTERRUPTED"
    base = writable_group()
    assert not (base and (base / f"mayfly-{run['id']}").exists())


async def test_a_job_does_not_find_the_agents_key_in_its_environment(tmp_path: Path) -> None:
    """As root it could still read it in /proc or in agent.env: jobs are trusted, but their dumps and logs are not."""
    write_main(tmp_path, "import os\ndef run(): return dict(os.environ)")
    async with agent_process(tmp_path, EXCHANGE_KEY="theirs") as agent:
        environment = (await result_of(agent.client))["result"]
    assert environment["EXCHANGE_KEY"] == "theirs"
    assert "open sesame" not in str(environment)


# One process at a time, each gone before anybody can look twice; by itself it ends after half a minute.
RUNS_AWAY = """
import os, time
until = time.monotonic() + 30
print(1, flush=True)
while time.monotonic() < until:
    if os.fork():
        os._exit(0)
    SESSION
"""


def test_what_forks_faster_than_one_can_look_is_killed_at_once(tmp_path: Path) -> None:
    run_id, began = tmp_path.name + str(time.time_ns()), time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-c", RUNS_AWAY.replace("SESSION", "")],
        env={"MAYFLY_RUN_ID": run_id}, stdout=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    assert process.stdout
    process.stdout.readline()
    Family(run_id).end(0.1)
    process.wait()
    assert time.monotonic() - began < 25, "it was killed, and did not just end"


@with_control_groups
@pytest.mark.parametrize("version", [1, 2])
def test_a_control_group_holds_even_what_takes_a_new_session_each_time(tmp_path: Path, version: int) -> None:
    """Without groups nothing could: this is the one kind of job that only they can end."""
    base = writable_group() if version == 2 else Path("/sys/fs/cgroup/pids")
    if not base or (version == 1) != (base / "cgroup.clone_children").exists():
        pytest.skip(f"no control groups of version {version} here")
    group, began = base / f"mayfly-{tmp_path.name}", time.monotonic()
    group.mkdir()
    enter = f"open('{group}/cgroup.procs', 'w').write('0')\n"
    process = subprocess.Popen(
        [sys.executable, "-c", enter + RUNS_AWAY.replace("SESSION", "os.setsid()")], env={}, stdout=subprocess.PIPE
    )
    assert process.stdout
    process.stdout.readline()
    Family("nobody", group=group).end(0.1)
    process.wait()
    assert time.monotonic() - began < 25
    assert not group.exists()
