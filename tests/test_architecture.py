"""The rules of tests/architecture.py hold in every file, and each of them can fail."""

import pytest

from tests.architecture import PACKAGES, RULES, File, files, violations


@pytest.mark.parametrize("file", files(), ids=lambda file: file.path)
def test_every_file_keeps_the_rules(file: File) -> None:
    assert violations(file) == []


def test_the_files_are_where_the_rules_look_for_them() -> None:
    assert {file.package for file in files()} == set(PACKAGES)


PLANTED = [
    # arrows
    ("orchestrator/moves.py", "import vm_agent.ledger", "imports vm_agent.ledger: orchestrator may import"),
    ("orchestrator/moves.py", "from vm_agent import ledger", "imports vm_agent.ledger"),
    ("orchestrator/wiring.py", "from gcp_emulator.cloud import Cloud", "imports gcp_emulator.cloud.Cloud"),
    ("vm_agent/app.py", "import orchestrator", "vm_agent may import vm_agent, nothing else"),
    ("vm_agent/jobs/trade.py", "from mayfly.cli import main", "imports mayfly.cli.main"),
    ("gcp_emulator/guest/init.py", "import vm_agent.protocol", "gcp_emulator may import gcp_emulator"),
    ("vm_agent/protocol.py", "from vm_agent import ledger", "what both sides share stands alone"),
    ("vm_agent/signed.py", "from vm_agent.protocol import Health", "what both sides share stands alone"),
    ("vm_agent/protocol.py", "from .ledger import Ledger", "imports vm_agent.ledger.Ledger"),
    # layers
    ("orchestrator/seen.py", "from orchestrator.goal import Goal", "seen sees errors, run, seen, attested, policy"),
    ("orchestrator/goal.py", "from orchestrator import moves", "goal sees errors"),
    ("orchestrator/ports.py", "from . import ladder", "ports sees errors"),
    ("orchestrator/sweep.py", "from orchestrator.google_compute import open", "verbs see ports, never an adaptor"),
    ("orchestrator/drive.py", "def f():\n    import orchestrator.secrets", "orchestrator/drive.py:2 imports"),
    ("orchestrator/a_new_verb.py", "from orchestrator.settings import Settings", "never an adaptor or an edge"),
    ("orchestrator/agent_client.py", "from orchestrator.moves import perform", "agent_client sees"),
    # borders
    ("orchestrator/moves.py", "from google.cloud import compute_v1", "google stays behind orchestrator/google_*.py"),
    ("mayfly/deploy/project.py", "import google.auth", "google stays behind"),
    ("vm_agent/process.py", "import httpx", "httpx stays behind"),
    ("orchestrator/google_calls.py", "from tenacity import retry", "tenacity stays behind orchestrator/patience.py"),
    ("orchestrator/agent_client.py", "import jwt", "jwt stays behind vm_agent/signed.py"),
    ("vm_agent/containers/run.py", "from docker import errors", "docker stays behind vm_agent/containers/engine.py"),
    ("vm_agent/jobs/trade/buying.py", "import ccxt.async_support", "ccxt stays behind vm_agent/jobs/trade/binance.py"),
    # privileges
    ("orchestrator/wiring.py", "import os\nzone = os.environ['ZONE']", "py:2 uses os.environ: only settings.py does"),
    ("orchestrator/wiring.py", "import os\nzone = os.environ.get('ZONE')", "uses os.environ"),
    ("orchestrator/telemetry.py", "from os import getenv as e", "uses os.getenv"),
    ("orchestrator/follow.py", "import asyncio as a\na.sleep(1)", "py:2 uses asyncio.sleep: only clock.py does"),
    ("orchestrator/patience.py", "from asyncio import sleep", "call `clock.sleep`"),
    ("orchestrator/threads.py", "import time\ntime.monotonic()", "uses time.monotonic"),
    ("orchestrator/run.py", "from datetime import datetime as d\nd.now()", "uses datetime.datetime.now"),
    ("orchestrator/run.py", "import datetime\ndatetime.datetime.utcnow()", "uses datetime.datetime.utcnow"),
    # spending
    ("orchestrator/boot.py", "async def f(trip):\n    await trip.world.machines.stop(x)", "py:2 calls machines.stop"),
    ("orchestrator/drive.py", "leases.write(machine, lease)", "calls leases.write: only lease_keeper may"),
    ("mayfly/cli.py", "world.addresses.detach(machine)", "calls addresses.detach: only moves may; make it a move"),
    # judgement
    ("orchestrator/ladder.py", "async def next_move(): ...", "py:1 waits: judgement is pure"),
    ("orchestrator/goal.py", "import logging", "imports logging: judgement is pure"),
    ("orchestrator/abandoned.py", "from random import random", "imports random.random"),
    ("orchestrator/placement.py", "def f():\n    return (x async for x in y)", "waits"),
    # sizes and ports
    ("vm_agent/big.py", "x = 1\n" * 301, "has 301 lines"),
    ("mayfly/deploy/utils.py", "", "is called utils, which says nothing"),
    ("gcp_emulator/handlers/__init__.py", "", "is called handlers"),
    (
        "orchestrator/ports.py",
        "class Machines:\n" + "".join(f"    async def verb{i}(self): ...\n" for i in range(7)),
        "py:1 Machines has 7 verbs",
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "text", "message"), PLANTED, ids=[f"{path} {text[:30]!r}" for path, text, _ in PLANTED]
)
def test_a_planted_violation_is_found(path: str, text: str, message: str) -> None:
    assert message in "\n".join(violations(File(path, text)))


def test_every_rule_has_been_seen_to_fail() -> None:
    planted = [File(path, text) for path, text, _ in PLANTED]
    assert [rule.__name__ for rule in RULES if not any(list(rule(file)) for file in planted)] == []


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("orchestrator/moves.py", "from vm_agent.protocol import RunView\nworld.machines.stop(vm)"),
        ("orchestrator/moves.py", "from vm_agent import protocol"),
        ("orchestrator/agent_client.py", "from vm_agent.signed import GoogleKeys"),
        ("orchestrator/goal.py", "from orchestrator import lease, run\nfrom datetime import datetime, timedelta"),
        ("orchestrator/clock.py", "import asyncio, time\nfrom datetime import datetime\ndatetime.now()"),
        ("orchestrator/google_machines.py", "from google.cloud import compute_v1\nself.machines.stop(vm)"),
        ("orchestrator/wiring.py", "import os, orchestrator.google_compute\nos.getpid()"),
        ("orchestrator/run.py", "def f(time):\n    return time.now()"),
        ("vm_agent/gateway.py", "import os, time\ntime.sleep(os.environ['X'])"),
        ("mayfly/cli.py", "import httpx, gcp_emulator.cloud\nfrom orchestrator.drive import drive"),
        ("gcp_emulator/serve.py", "import googleapiclient, google_crc32c"),
    ],
)  # fmt: skip
def test_what_is_allowed_is_left_alone(path: str, text: str) -> None:
    assert violations(File(path, text)) == []
