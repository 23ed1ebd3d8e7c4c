"""As tests/journeys/test_permissions.py, for people: who deploys with nothing is told permission by permission what it takes.

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
LACKS = re.compile(r"lacks the permission ([\w.]+[\w])\.")


@pytest.fixture
async def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Project]:
    async with a_project(tmp_path, monkeypatch) as project:
        yield project
        await project.all_is_well()


async def nothing_allowed(project: Project, *already: str) -> None:
    """From here on its owner is one no more, and may do what his own role says."""
    await project.post("v1/projects/demo/roles", {"roleId": "deployer", "role": {"includedPermissions": [*already]}})
    policy = await project.post("v1/projects/demo:getIamPolicy", {})
    others = [one for one in policy["bindings"] if one["role"] != "roles/owner"]
    mine = {"role": "projects/demo/roles/deployer", "members": ["user:user@example.com"]}
    await project.post("v1/projects/demo:setIamPolicy", {"policy": {"bindings": [*others, mine]}})


async def granted_one_by_one(project: Project, attempt: Callable[[], Awaitable[Any]], *already: str) -> list[str]:
    """Try, grant what is said to be missing, try again; what it took in the end."""
    granted = list(already)
    while True:
        try:
            await attempt()
        except MayflyError as refused:
            named = LACKS.search(str(refused))
            assert named, f"no permission is named: {refused}"
            assert named[1] not in granted, f"it is granted: {refused}"
            granted.append(named[1])
            body = {"includedPermissions": granted}
            await project.post(f"{ROLE}?updateMask=includedPermissions", body, "PATCH")
        else:
            return granted


async def test_x(project: Project) -> None:
    await project.post("v1/projects/demo/services:batchEnable", {"serviceIds": ["iam.googleapis.com"]})
    await nothing_allowed(project)
    a = await granted_one_by_one(project, lambda: project.deploy(values={"exchange": b"x"}))
    print("FRESH", len(a), a)
    project.describe(
        vm={**VALUES["vm"], "machine_type": "e2-small", "ref": "v2"},
        timeout="40m",
        firewall={"source_ranges": ["10.0.0.0/8"]},
        schedule=[{**VALUES["schedule"][0], "cron": "0 7 * * *", "paused": True}],
    )
    b = await granted_one_by_one(project, project.deploy, *a)
    print("CHANGE", b[len(a) :])
    c = await granted_one_by_one(project, project.destroy, *b)
    print("DESTROY", c[len(b) :])
    d = await granted_one_by_one(project, project.deploy, *c)
    print("AGAIN", d[len(c) :])
    assert 0
