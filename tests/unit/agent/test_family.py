"""A run's processes are found wherever they hide, and strangers are left alone."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psutil
import pytest

from tests.tools import with_control_groups
from vm_agent.cgroups import writable_group
from vm_agent.family import COOKIE, Family, started

SLEEPS = "import time; print(1, flush=True); time.sleep(3600)"
DEAF = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(3600)"
WANDERS = """
import os, time
os.setsid()
if os.fork(): os._exit(0)
os.setsid()
print(os.getpid(), flush=True)
time.sleep(3600)
"""


@pytest.fixture
def run_id() -> Iterator[str]:
    run_id = uuid4().hex
    yield run_id
    Family(run_id).end(0)


def a_process(source: str, environment: dict[str, str]) -> tuple[subprocess.Popen[str], int]:
    """It has begun, and printed a number."""
    process = subprocess.Popen([sys.executable, "-c", source], env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    return process, int(process.stdout.readline())


def test_a_process_that_forked_twice_into_a_session_of_its_own_is_found_and_ended(run_id: str) -> None:
    process, wanderer = a_process(WANDERS, {COOKIE: run_id})
    process.wait()
    family = Family(run_id)
    assert [member.pid for member in family.members()] == [wanderer]
    assert family.end(5) == 1
    assert not psutil.pid_exists(wanderer) or psutil.Process(wanderer).status() == psutil.STATUS_ZOMBIE


def test_a_process_that_will_not_listen_is_killed_after_the_grace(run_id: str) -> None:
    process, _ = a_process(DEAF, {COOKIE: run_id})
    Family(run_id).end(0.05)
    assert process.wait() == -signal.SIGKILL


def test_a_process_that_listens_is_not_killed(run_id: str) -> None:
    process, _ = a_process(SLEEPS, {COOKIE: run_id})
    Family(run_id).end(30)
    assert process.wait() == -signal.SIGTERM


def test_a_descendant_that_forgot_its_environment_is_found(run_id: str) -> None:
    source = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SLEEPS!r}], env={{}})"
    process, _ = a_process(source, {COOKIE: run_id})
    family = Family(run_id)
    assert len(family.members()) == 2
    family.end(1)
    process.wait()


def test_a_recorded_process_is_known_by_its_start_time_and_a_stranger_with_its_number_is_not(run_id: str) -> None:
    process, _ = a_process(SLEEPS, {})
    right, wrong = started(process.pid), "1"
    assert [member.pid for member in Family(run_id, leader=(process.pid, right)).members()] == [process.pid]
    stranger = Family(run_id, leader=(process.pid, wrong))
    assert stranger.members() == []
    assert stranger.end(0) == 0
    assert process.poll() is None
    process.kill()
    process.wait()


def test_another_runs_processes_are_left_alone(run_id: str) -> None:
    process, _ = a_process(SLEEPS, {COOKIE: run_id + "0"})
    Family(run_id).end(0)
    assert process.poll() is None
    process.kill()
    process.wait()


def test_who_is_spared_is_not_signalled_but_its_children_are(run_id: str) -> None:
    keeper = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SLEEPS!r}]); sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", keeper], env={COOKIE: run_id}, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout
    process.stdout.readline()
    Family(run_id, spared=frozenset({process.pid})).end(5)
    assert process.poll() is None
    process.kill()
    process.communicate()


@with_control_groups
def test_a_control_group_holds_what_hides_its_environment_and_is_removed_when_empty(run_id: str) -> None:
    base = writable_group()
    assert base
    group = base / f"mayfly-{run_id}"
    (group / "inner").mkdir(parents=True)
    process, _ = a_process(DEAF, {})
    (group / "inner" / "cgroup.procs").write_text(str(process.pid))
    family = Family(run_id, group=group)
    assert [member.pid for member in family.members()] == [process.pid]
    family.end(0.05)
    assert process.wait() == -signal.SIGKILL
    assert not group.exists()


async def test_a_start_time_belongs_to_one_process() -> None:
    first = started(os.getpid())
    assert first
    assert first == started(os.getpid())
    gone = await asyncio.create_subprocess_exec("true")
    await gone.wait()
    assert started(gone.pid) == ""


def test_a_group_that_is_not_there_is_nothing(run_id: str, tmp_path: Path) -> None:
    assert Family(run_id, group=tmp_path / "none").end(0) == 0
