"""As tests/journeys/test_permissions.py, for people: with no permission at all, deploy and destroy ask for one by one.

Each round lacks one permission more than the next, and names it: so each is needed, and together they suffice.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from mayfly.deploy import roles
from orchestrator.errors import MayflyError
from tests.journeys.deploying import VALUES, Project, a_project, done

ROLE = "v1/projects/demo/roles/deployer"
TAGGED = "us-central1-docker.pkg.dev/demo/mayfly/orchestrator:v2"
LACKS = re.compile(r"lacks the permission ([\w.]+[\w])\.")


@pytest.fixture
async def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Project]:
    async with a_project(tmp_path, monkeypatch) as project:
        yield project
        await project.all_is_well()


class Grown:
    """The project's owner is one no more: he may do what his own role says, which begins with nothing."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self.granted: list[str] = []

    async def begin(self) -> None:
        project = self._project
        await project.post("v1/projects/demo/services:batchEnable", {"serviceIds": ["iam.googleapis.com"]})
        await project.post("v1/projects/demo/roles", {"roleId": "deployer", "role": {}})
        mine = {"role": "projects/demo/roles/deployer", "members": ["user:user@example.com"]}
        await project.post("v1/projects/demo:setIamPolicy", {"policy": {"bindings": [mine]}})

    async def until_it_succeeds(self, attempt: Callable[[], Awaitable[Any]]) -> None:
        """Try, grant what is said to be missing, try again."""
        while (refusal := await _refusal(attempt)) is not None:
            named = LACKS.search(refusal)
            assert named, f"no permission is named: {refusal}"
            assert named[1] not in self.granted, f"it is granted: {refusal}"
            self.granted.append(named[1])
            body = {"includedPermissions": self.granted}
            await self._project.post(f"{ROLE}?updateMask=includedPermissions", body, "PATCH")


async def _refusal(attempt: Callable[[], Awaitable[Any]]) -> str | None:
    try:
        await attempt()
    except MayflyError as refused:
        return str(refused)
    return None


async def test_a_deployer_needs_each_of_what_is_listed_and_no_more(project: Project) -> None:
    of_ones_own = {**VALUES["vm"], "image": "demo/mine"}
    project.describe(vm=of_ones_own)
    may = Grown(project)
    await may.begin()
    await may.until_it_succeeds(lambda: project.deploy(values={"exchange": b"its key"}))

    await _somebody_changes_what_we_made(project)
    daily = VALUES["schedule"][0]
    changed = {"vm": {**of_ones_own, "machine_type": "e2-small", "ref": "v2"}, "timeout": "40m"}
    project.describe(
        **changed, firewall={"source_ranges": ["10.0.0.0/8"]}, schedule=[{**daily, "cron": "0 7 * * *", "paused": True}]
    )
    await project.post("_emulator/images", {"uri": TAGGED})
    await may.until_it_succeeds(lambda: project.deploy(image=TAGGED))
    project.describe(**changed, schedule=[{**daily, "paused": False}])
    await may.until_it_succeeds(project.deploy)
    deployer = set(may.granted)

    await may.until_it_succeeds(project.destroy)
    destroyer = set(may.granted) - deployer
    before = set(may.granted)

    from_template = {"template": "gpu-template", "instance": "gpu-worker", "state_url": "gs://mayfly-state"}
    project.describe(**from_template)
    await may.until_it_succeeds(project.deploy)
    project.describe(**from_template, vm={**VALUES["vm"], "ref": "v3"})
    await may.until_it_succeeds(project.deploy)
    assert done((await project.deploy()).steps) == []
    deployer |= set(may.granted) - before
    before = set(may.granted)
    await project.store("mayfly-state", "demo/us-central1-a/gpu-worker/lease.json")
    await may.until_it_succeeds(project.destroy)
    destroyer |= set(may.granted) - before

    assert deployer == set(roles.DEPLOYER) - roles.UNPROVEN
    assert destroyer == set(roles.DESTROYER)


async def _somebody_changes_what_we_made(project: Project) -> None:
    """So that it has to be mended."""
    mark = "Made by mayfly deploy: something else"
    repository = "v1/projects/demo/locations/us-central1/repositories/mayfly"
    await project.post(f"{repository}?updateMask=description", {"description": mark}, "PATCH")
    account = "v1/projects/demo/serviceAccounts/mayfly-vm@demo.iam.gserviceaccount.com"
    body = {"serviceAccount": {"description": mark}, "updateMask": "description"}
    await project.post(account, body, "PATCH")
