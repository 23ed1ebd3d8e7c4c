"""Jobs cut off from the metadata server: by real rules of the kernel, in a network of their own."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.contract.agent_at_work import an_agent, at_work, result_of, write_main
from tests.contract.test_job_user import disk  # noqa: F401 - a fixture
from tests.tools import required_tool
from vm_agent import wall
from vm_agent.process import LocalProcesses
from vm_agent.settings import BadSetting, from_environment

METADATA = ("tcp 169.254.169.254 80", "tcp 169.254.169.254 443", "udp 169.254.169.254 80")
NAMES_AND_TIME = ("tcp 169.254.169.254 53", "udp 169.254.169.254 53", "udp 169.254.169.254 123")
ELSEWHERE = ("tcp 127.0.0.1 8080",)


@pytest.fixture
def tools() -> Iterator[None]:
    required_tool("nft", "apt-get install nftables")
    required_tool("ip", "apt-get install iproute2")
    return


def found(folder: Path, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.contract.opened", "--net", "-m", "tests.contract.walled", str(folder)]
    done = subprocess.run([*command, *arguments], check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_a_job_that_is_denied_it_reaches_no_metadata_but_names_time_and_all_else(tools: None, disk: Path) -> None:  # noqa: F811
    got = found(disk, "deny")
    for when in ("job", "job after a flush"):
        assert {got[when][place] for place in METADATA} <= {"ConnectionRefusedError", "PermissionError"}, when
        assert {got[when][place] for place in (*NAMES_AND_TIME, *ELSEWHERE)} == {"token"}, when
    assert set(got["root"].values()) == {"token"}, "the agent itself, and all other users, still reach it"


def test_a_job_that_is_allowed_it_reaches_the_metadata(tools: None, disk: Path) -> None:  # noqa: F811
    got = found(disk, "allow")
    assert {*got["root"].values(), *got["job"].values()} == {"token"}


async def test_where_there_is_no_nft_nothing_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(wall.NoWall, match="nft is not installed"):
        await wall.Wall(65534).stand()


async def test_where_the_rule_cannot_be_made_the_reason_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nft = tmp_path / "nft"
    nft.write_text("#!/bin/sh\ncat >/dev/null\necho 'Error: Operation not permitted (you must be root)'\nexit 1\n")
    nft.chmod(0o755)
    monkeypatch.setattr("shutil.which", lambda *_, **__: str(nft))
    with pytest.raises(wall.NoWall, match=r"nft: Error: Operation not permitted"):
        await wall.Wall(65534).stand()


async def test_a_run_whose_wall_has_fallen_and_cannot_be_raised_again_does_not_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_main(tmp_path, "def run(): open('ran', 'w')")
    agent = an_agent(tmp_path)
    assert isinstance(agent.runs.processes, LocalProcesses)
    agent.runs.processes = replace(agent.runs.processes, wall=wall.Wall(65534))
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    async with at_work(agent) as client:
        ended = await result_of(client)
    assert ended["state"] == "FAILED"
    assert "jobs cannot be cut off from the metadata server: nft is not installed" in ended["failure"]["detail"]
    assert not (tmp_path / "app" / "ran").exists()


def test_a_metadata_server_that_the_rule_would_not_cover_is_a_wrong_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    environment = {"MAYFLY_API_KEY": "k", "MAYFLY_JOB_USER": "nobody", "MAYFLY_JOB_METADATA": "deny"}
    with pytest.raises(BadSetting, match=r"but GCE_METADATA_HOST is 127\.0\.0\.5:8475"):
        from_environment({**environment, "GCE_METADATA_HOST": "127.0.0.5:8475"})
