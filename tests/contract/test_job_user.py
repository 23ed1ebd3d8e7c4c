"""Jobs as another user than the agent: what is the agent's is out of their reach, and they are as well as before."""

import hashlib
import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.agent_at_work import (
    KEY,
    AgentProcess,
    agent_process,
    alive,
    finished,
    result_of,
    start,
    until_file,
    write_main,
)
from tests.tools import require_other_users, with_control_groups
from vm_agent.job_user import job_user
from vm_agent.settings import BadSetting, from_environment

SOMEBODY = "nobody"  # Debian has no other that is nobody else's
OPENED = ("-m", "tests.contract.opened", "-m", "vm_agent")


@pytest.fixture
def disk() -> Iterator[Path]:
    """pytest's own folders are closed to other users."""
    require_other_users()
    folder = Path(tempfile.mkdtemp(prefix="mayfly-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def an_agent_of_another_user(disk: Path, **environment: str) -> Any:
    return agent_process(disk, program=OPENED, MAYFLY_JOB_USER=SOMEBODY, **environment)


async def what_it_finds(disk: Path, agent: AgentProcess, source: str, **request: Any) -> dict[str, Any]:
    """How a job ends that is this source."""
    write_main(disk, source)
    return await result_of(agent.client, **request)


async def test_a_job_is_another_user_with_that_users_groups_home_and_no_way_back(disk: Path) -> None:
    source = """
        import os, pathlib
        def run():
            status = dict(line.split(":", 1) for line in pathlib.Path("/proc/self/status").read_text().splitlines())
            os.close(os.open("/dev/stdout", os.O_WRONLY))
            return {
                "ids": os.getresuid() + os.getresgid(), "groups": sorted(os.getgroups()),
                "home": os.environ["HOME"], "user": os.environ["USER"], "umask": status["Umask"].strip(),
                "capabilities": status["CapEff"].strip(), "no new privileges": status["NoNewPrivs"].strip(),
            }
    """
    them = pwd.getpwnam(SOMEBODY)
    async with an_agent_of_another_user(disk) as agent:
        ended = await what_it_finds(disk, agent, source)
    assert ended["state"] == "SUCCEEDED", ended
    assert ended["result"] == {
        "ids": [them.pw_uid] * 3 + [them.pw_gid] * 3,
        "groups": sorted(os.getgrouplist(SOMEBODY, them.pw_gid)),
        "home": them.pw_dir,
        "user": SOMEBODY,
        "umask": "0022",
        "capabilities": "0" * 16,
        "no new privileges": "1",
    }


async def test_what_is_the_agents_is_out_of_a_jobs_reach(disk: Path) -> None:
    source = """
        import os, pathlib
        def run(context):
            folder = context.artifacts.parent
            agent = pathlib.Path("/proc", context.params["agent"])
            def tried(what, *given):
                try: return str(what(*given))
                except OSError as refused: return type(refused).__name__
            return {
                "read": [tried(path.read_bytes) for path in (
                    pathlib.Path(context.params["env"]), folder.parent.parent / "ledger.db",
                    folder.parent.parent / "ledger.db-wal", agent / "environ", agent / "mem",
                    folder / "reserve")],
                "listed": [tried(os.listdir, path) for path in (folder, folder.parent, folder.parent.parent)],
                "written": [tried(open, folder / name, "w") for name in (
                    "order.json", "params.json", "outcome.json", "outcome.new", "artifacts.json", "artifacts.new")],
                "moved": [tried(os.rename, folder / name, folder / "x") for name in (
                    "own", "artifacts", "log", "order.json")],
                "killed": [tried(os.kill, os.getppid(), 9), tried(os.kill, int(agent.name), 9)],
                "environment": dict(os.environ),
            }
    """
    secret = disk / "agent.env"
    secret.write_text(f"MAYFLY_API_KEY={KEY}")
    secret.chmod(0o600)
    async with an_agent_of_another_user(disk) as agent:
        params = {"env": str(secret), "agent": str(agent.process.pid)}
        ended = await what_it_finds(disk, agent, source, params=params)
    found = ended["result"]
    assert set(found["read"]) | set(found["listed"]) | set(found["written"]) | set(found["moved"]) == {
        "PermissionError"
    }
    assert found["killed"] == ["PermissionError"] * 2
    assert KEY not in json.dumps(found["environment"])


async def test_a_job_of_another_user_works_as_any_other(disk: Path) -> None:
    source = """
        import helping
        def run(context):
            context.progress(0.5, "half way")
            (context.artifacts / "deep").mkdir()
            (context.artifacts / "deep" / "a").write_text("made")
            print(helping.word)
            return context.params
        def test(): raise ValueError("no such coin")
    """
    async with an_agent_of_another_user(disk) as agent:
        (disk / "app").mkdir()
        (disk / "app" / "helping.py").write_text("word = 'helped'")
        ended = await what_it_finds(disk, agent, source, params={"a": 1})
        folder = f"/runs/{ended['id']}"
        log = (await agent.client.get(f"{folder}/logs")).text
        artifact = await agent.client.get(f"{folder}/artifacts/deep/a")
        failed = await result_of(agent.client, "test")
        command = {"command": ["sh", "-c", "id -un; echo 7 > $MAYFLY_RESULT; echo mine > $MAYFLY_ARTIFACTS/b"]}
        told = await result_of(agent.client, job=command)
    assert (ended["state"], ended["result"], ended["progress"]) == (
        "SUCCEEDED", {"a": 1}, {"fraction": 0.5, "message": "half way"},
    )  # fmt: skip
    assert (log, artifact.text) == ("helped\n", "made")
    assert failed["failure"]["detail"] == "ValueError: no such coin"
    assert told["result"] == 7


async def test_a_job_of_another_user_reads_the_file_that_was_brought_for_it(disk: Path) -> None:
    source = "def run(context): return open(context.params['audio']).read()"
    digest = hashlib.sha256(b"la la la").hexdigest()
    async with an_agent_of_another_user(disk) as agent:
        await agent.client.put(f"/files/{digest}", params={"size": 8, "offset": 0}, content=b"la la la")
        ended = await what_it_finds(disk, agent, source, params={"audio": f"mayfly-upload:{digest}/song.txt"})
    assert (ended["state"], ended["result"]) == ("SUCCEEDED", "la la la")


async def test_links_that_a_job_puts_in_place_of_its_word_show_nothing_that_is_the_agents(disk: Path) -> None:
    (disk / "secret.json").write_text('{"detail": "planted", "message": "planted"}')
    (disk / "secret.json").chmod(0o600)
    script = "for f in $MAYFLY_RESULT $MAYFLY_PROGRESS ${MAYFLY_RESULT%/*}/failure.json; do ln -sf SECRET $f; done"
    async with an_agent_of_another_user(disk) as agent:
        job = {"command": ["sh", "-c", script.replace("SECRET", str(disk / "secret.json"))]}
        ended = await what_it_finds(disk, agent, "", job=job)
        artifacts = await agent.client.get(f"/runs/{ended['id']}/artifacts")
    assert "planted" not in json.dumps(ended) + artifacts.text
    assert ended["failure"]["detail"] == "the result cannot be kept: it is not a regular file"


@with_control_groups
async def test_all_processes_of_another_users_job_are_ended_with_it(disk: Path) -> None:
    source = """
        import os, subprocess
        def run(context):
            child = subprocess.Popen(["setsid", "sleep", "3600"], env={})
            (context.artifacts / "child").write_text(f"{os.getpid()} {child.pid}")
            child.wait()
    """
    write_main(disk, source)
    async with an_agent_of_another_user(disk) as agent:
        run = (await start(agent.client)).json()
        pids = await until_file(disk / "state" / "runs" / run["id"] / "artifacts" / "child")
        await agent.client.post(f"/runs/{run['id']}/cancel")
        assert (await finished(agent.client, run["id"]))["state"] == "CANCELLED"
    assert not [pid for pid in pids.split() if alive(int(pid))]


async def test_a_job_of_another_user_dies_with_its_agent(disk: Path) -> None:
    source = """
        import os, time
        def run(context):
            (context.artifacts / 'pid').write_text(str(os.getpid()))
            time.sleep(3600)
    """
    write_main(disk, source)
    async with an_agent_of_another_user(disk) as agent:
        run = (await start(agent.client)).json()
        pid = await until_file(disk / "state" / "runs" / run["id"] / "artifacts" / "pid")
        await agent.kill()
    async with an_agent_of_another_user(disk) as agent:
        assert (await finished(agent.client, run["id"]))["state"] == "INTERRUPTED"
    assert not alive(int(pid))


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"MAYFLY_JOB_USER": "no-such-user"}, "there is no user 'no-such-user' here"),
        ({"MAYFLY_JOB_METADATA": "no"}, "neither allow nor deny"),
        ({"MAYFLY_JOB_METADATA": "deny"}, "needs MAYFLY_JOB_USER"),
        ({"MAYFLY_JOB_METADATA": "deny", "MAYFLY_JOB_USER": "root"}, "needs MAYFLY_JOB_USER"),
    ],
)
def test_a_user_that_jobs_cannot_be_is_a_wrong_setting(wrong: dict[str, str], sentence: str) -> None:
    with pytest.raises(BadSetting, match=sentence):
        from_environment({"MAYFLY_AUTH": "api-key", "MAYFLY_API_KEY": "k", **wrong})


@pytest.mark.parametrize("group", ["disk", "docker", "lxd"])
def test_a_user_whose_groups_can_make_it_root_is_refused(disk: Path, group: str) -> None:
    told = job_user_on_a_machine_with(disk, f"{group}:x:4711:{SOMEBODY}", f"sound:x:4712:{SOMEBODY}")
    refused = f"MAYFLY_JOB_USER: '{SOMEBODY}' is in the group {group}, whose members can be root"
    assert refused in told, told
    assert "4712)" in job_user_on_a_machine_with(disk, f"sound:x:4712:{SOMEBODY}"), "a GPU's group, say"


def job_user_on_a_machine_with(disk: Path, *groups: str) -> str:
    """The groups of the job user where /etc/group has these lines as well, or why it cannot be that user."""
    (disk / "group").write_text("\n".join([Path("/etc/group").read_text().rstrip("\n"), *groups, ""]))
    agent = """
from vm_agent.settings import BadSetting, from_environment
try: print(from_environment().job_user.groups)
except BadSetting as problem: print(problem)
"""
    within = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/group && exec "$@"', str(disk / "group")]
    settings = {"MAYFLY_AUTH": "api-key", "MAYFLY_API_KEY": KEY, "MAYFLY_JOB_USER": SOMEBODY}
    return subprocess.run(
        [*within, sys.executable, "-c", agent],
        env={**os.environ, **settings},
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def test_only_root_makes_somebody_else_of_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    assert job_user("") is None
    assert job_user(pwd.getpwuid(os.geteuid()).pw_name) is None
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    with pytest.raises(BadSetting, match="only root can run jobs as 'nobody'"):
        from_environment({"MAYFLY_AUTH": "api-key", "MAYFLY_API_KEY": "k", "MAYFLY_JOB_USER": SOMEBODY})
