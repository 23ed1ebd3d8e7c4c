"""As tests/journeys/test_permissions.py, for who looks on: begun with no permission, each asks for what it needs."""

import asyncio
import os
import re
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta

import pytest

from gcp_emulator.exports import demo_exports, exports
from gcp_emulator.seed import PERSON
from mayfly.cloud_logs import CloudLog
from mayfly.deploy import roles
from mayfly.deploy.config import Config, read_config
from mayfly.doctor.examine import examine
from mayfly.doctor.findings import Level
from mayfly.executions import deployed_executions
from mayfly.google import google_of
from orchestrator.clock import SystemClock
from orchestrator.errors import Forbidden
from orchestrator.settings import Settings
from tests.journeys.deploying import IMAGE
from tests.journeys.ward import Ward, a_ward, write_config

LACKS = re.compile(r"lacks the permission ([\w.]+\w)\.")
ROLE = "v1/projects/demo/roles/looker"


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    folder = tmp_path_factory.mktemp("ward")
    with a_ward(folder / "disks") as ward, pytest.MonkeyPatch.context() as patch:
        for name in Settings.model_fields:
            patch.delenv(name.upper(), raising=False)
        for name in exports(ward.port).keys() - demo_exports().keys():
            patch.setenv(name, exports(ward.port)[name])
        patch.chdir(folder)
        write_config(folder)
        ward.deploy()
        ward.send("_emulator/images", {"uri": IMAGE})
        ward.send("v1/projects/demo/roles", {"roleId": "looker", "role": {}})
        policy = ward.send("v1/projects/demo:getIamPolicy", {})
        others = [one for one in policy["bindings"] if f"user:{PERSON}" not in one["members"]]
        mine = {"role": "projects/demo/roles/looker", "members": [f"user:{PERSON}"]}
        ward.send("v1/projects/demo:setIamPolicy", {"policy": {**policy, "bindings": [*others, mine]}})
        yield ward


def grant(ward: Ward, permissions: set[str]) -> None:
    body = {"includedPermissions": sorted(permissions)}
    ward.send(f"{ROLE}?updateMask=includedPermissions", body, "PATCH")


def test_the_doctor_needs_these_to_see_everything_and_no_other(deployed: Ward):
    granted: set[str] = set()
    while True:
        grant(deployed, granted)
        found = asyncio.run(examine(lambda: read_config(os.environ), SystemClock()))
        lacking = {name for one in found for name in LACKS.findall(one.finding.says)} - granted
        if not lacking:
            break
        granted |= lacking
    assert granted == set(roles.LOOKER)
    wrong = [one for one in found if one.finding.level is not Level.OK]
    assert {one.check for one in wrong} == {"permissions"}, "all was seen, and is well, but that we may start no run"
    assert "compute.instances.start" in wrong[0].finding.says


async def test_a_remote_run_needs_these_and_no_other(deployed: Ward):
    granted: set[str] = set()
    config = read_config(os.environ)

    async def until_it_succeeds(attempt: Callable[[], Awaitable[object]]) -> object:
        while True:
            grant(deployed, granted)
            (outcome,) = await asyncio.gather(attempt(), return_exceptions=True)
            if not isinstance(outcome, BaseException):
                return outcome
            assert isinstance(outcome, Forbidden), outcome
            (lacking,) = LACKS.findall(str(outcome))
            assert lacking not in granted, outcome
            granted.add(lacking)

    async with google_of(config.settings) as google:
        executions = deployed_executions(google, config)
        started = await until_it_succeeds(lambda: executions.start(["--version"], timedelta(minutes=1)))
        name = str(started)
        for attempt in (
            lambda: executions.look(name),
            executions.variables,
            lambda: executions.live("k", []),
            lambda: executions.last_attempt(name),
            lambda: _said(config, name),
        ):
            await until_it_succeeds(attempt)
        other = await executions.start(["--version"])
        await until_it_succeeds(lambda: _cancelled(config, other))
    assert granted == set(roles.REMOTE)


async def _said(config: Config, name: str) -> None:
    async with google_of(config.settings) as google:
        async for _ in CloudLog(google, config.project, config.job.name, name).news():
            pass


async def _cancelled(config: Config, name: str) -> None:
    async with google_of(config.settings) as google:
        await deployed_executions(google, config).cancel(name)
