"""Planted secrets: after runs of every kind none of them is in any argument, log, receipt, message or on the cloud."""

import asyncio
import os
import pty
import sys
from dataclasses import replace
from pathlib import Path

from gcp_emulator.exports import demo_exports, exports
from gcp_emulator.seed import SecretSeed, Seed, caller_email
from tests.e2e.boots import startup_script
from tests.journeys.command import mayfly
from tests.journeys.lab import CHECKOUT, Lab, a_lab, a_world
from tests.journeys.planted import AGENT_KEY, EXCHANGE, WRONG_KEY, Arguments, files_with, found_in, shown_by_the_cloud
from tests.journeys.webhook import SECRET, a_chat

HAS_IT = ["sh", "-c", "test -n \"$EXCHANGE_KEY\" && echo 'I have it' && sleep 0.3"]
TOKENS = ("ya29.", "eyJhbGciOi")  # how access tokens begin, and signed ones; Google's and the emulator's


def a_world_with_secrets() -> Seed:
    """startup.sh fetches the agent's key and one for the jobs."""
    world = a_world(startup_script())
    machine = world.instances[0]
    metadata = {**machine.metadata, "mayfly-secrets": "EXCHANGE_KEY=exchange-key"}
    metadata |= {"mayfly-auth": "both", "mayfly-callers": caller_email("demo")}
    secrets = (SecretSeed("mayfly-agent-key", versions=(AGENT_KEY,)), SecretSeed("exchange-key", versions=(EXCHANGE,)))
    return replace(world, instances=(replace(machine, metadata=metadata),), secrets=secrets)


async def test_no_planted_secret_turns_up_anywhere(tmp_path: Path) -> None:
    cwd, arguments = tmp_path / "cwd", Arguments()
    cwd.mkdir()
    async with a_lab(tmp_path / "disks", a_world_with_secrets()) as lab, a_chat(200) as chat:
        with arguments.watched():
            succeeded = await mayfly(lab, cwd, "run", "--", *HAS_IT, NOTIFY_URL=chat.url)
            on_a_terminal = await seen_on_a_terminal(lab, cwd, "run", "main:fail", NOTIFY_URL=chat.url)
            cut_off = await mayfly(
                lab, cwd, "run", "main:power_off", "--out", str(tmp_path / "out"), NOTIFY_URL=chat.url
            )
            refused = await mayfly(
                lab, cwd, "run", "main:run", AUTH="api-key", AGENT_KEY=WRONG_KEY, NOTIFY_URL=chat.url
            )
        cloud = await shown_by_the_cloud(lab)
        on_disk = files_with(lab.disk, *TOKENS)
    assert [succeeded.code, cut_off.code, refused.code] == [0, 5, 4]
    assert "I have it" in succeeded.said, "the job did get its secret"
    assert "about to fail" in on_a_terminal
    assert "must hold a key that the VM reads" in refused.said
    assert chat.posts, "the webhook was used"
    for said in (succeeded.said, on_a_terminal, cut_off.said, refused.said, cloud, *chat.texts):
        assert found_in(said, *TOKENS, SECRET) == []
    assert files_with(tmp_path / "out", *TOKENS, SECRET) == {}
    assert on_disk == {"etc/mayfly/agent.env": 0o600}
    for program in (b"curl", b"vm_agent", b"I have it"):
        assert any(program in line for line in arguments.seen), f"nobody looked while {program!r} ran"
    assert [line for line in arguments.seen if found_in(line, *TOKENS, SECRET)] == []


async def seen_on_a_terminal(lab: Lab, cwd: Path, *words: str, **variables: str) -> str:
    """What `mayfly` shows to a person, on stdout and stderr."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(CHECKOUT), "TIMEOUT": "60s", "TERM": "xterm"}
    environment |= exports(lab.emulator.port) | demo_exports() | variables
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mayfly", *words), env=environment, cwd=cwd, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    said = await asyncio.to_thread(_all_of, ours)
    assert await process.wait() == 1
    return said


def _all_of(terminal: int) -> str:
    said = b""
    try:
        while more := os.read(terminal, 1 << 16):
            said += more
    except OSError:  # so a terminal ends on Linux
        pass
    os.close(terminal)
    return said.decode(errors="replace")
