"""What a person did by hand in the project: a deploy sees it, says so where it matters, and leaves it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.journeys.deploying import VALUES, Project, a_project, done

ACCOUNTS = "@demo.iam.gserviceaccount.com"


@pytest.fixture
async def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Project]:
    """As Google hands it over; afterwards nothing is on, and every fault was met."""
    async with a_project(tmp_path, monkeypatch) as project:
        yield project
        await project.all_is_well()


async def test_what_you_granted_your_account_on_a_secret_stays_whatever_is_deployed_or_destroyed(
    project: Project,
) -> None:
    mine = f"mine-mine{ACCOUNTS}"
    for api in ("iam", "secretmanager"):
        await project.post(f"v1/projects/demo/services/{api}.googleapis.com:enable", {})
    await project.post("v1/projects/demo/serviceAccounts", {"accountId": "mine-mine"})
    project.describe(vm={**VALUES["vm"], "service_account": mine}, job={**VALUES["job"], "service_account": mine})
    for name in ("exchange", "notify-url"):
        await project.post(f"v1/projects/demo/secrets?secretId={name}", {"replication": {"automatic": {}}})
        grant = {"role": "roles/secretmanager.secretAccessor", "members": [f"serviceAccount:{mine}"]}
        await project.post(f"v1/projects/demo/secrets/{name}:setIamPolicy", {"policy": {"bindings": [grant]}})
    await project.deploy()
    assert done((await project.deploy()).steps) == []
    await project.destroy()
    for name in ("exchange", "notify-url"):
        [binding] = (await project.ask(f"v1/projects/demo/secrets/{name}:getIamPolicy"))["bindings"]
        assert binding["members"] == [f"serviceAccount:{mine}"]
