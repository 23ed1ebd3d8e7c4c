"""Secrets against the emulator: Google's client library, our words."""

import pytest

from orchestrator.errors import BadUsage, Forbidden, NotFound
from orchestrator.policy import Policy
from orchestrator.secrets import Secrets, open_secrets, secret_name, version_name
from tests.clocks import JumpingClock
from tests.contract.wires import Asked, http, serving
from tests.contract.world import DENIED_SECRET, PAYLOAD, PROJECT, SECRET, Running

NOTHING: dict[str, str] = {}


def secrets_at(endpoint: str | None, environment: dict[str, str]) -> Secrets:
    return open_secrets(PROJECT, Policy(), JumpingClock(), environment=environment, endpoint=endpoint)


async def test_the_environment_comes_first_and_nobody_is_asked() -> None:
    assert await secrets_at("127.0.0.1:1", {"KEY": "given"}).read("KEY", SECRET) == "given"


@pytest.mark.parametrize(
    ("secret", "value"),
    [
        (SECRET, PAYLOAD),
        (f"{SECRET}/1", "old"),
        (f"projects/{PROJECT}/secrets/{SECRET}", PAYLOAD),
        (f"projects/{PROJECT}/secrets/{SECRET}/versions/1", "old"),
    ],
)
async def test_a_secret_is_read_by_each_of_its_names(emulator: Running, secret: str, value: str) -> None:
    assert await secrets_at(f"127.0.0.1:{emulator.port}", NOTHING).read("KEY", secret) == value


async def test_a_secret_that_does_not_exist_is_named(emulator: Running) -> None:
    with pytest.raises(NotFound, match=r"There is no projects/demo/secrets/nothing/versions/latest: create") as caught:
        await secrets_at(emulator.url, NOTHING).read("KEY", "nothing")
    assert "http" not in str(caught.value)


async def test_a_secret_we_may_not_read_names_the_permission(emulator: Running) -> None:
    with pytest.raises(Forbidden, match=r"lacks the permission secretmanager\.versions\.access"):
        await secrets_at(emulator.url, NOTHING).read("KEY", DENIED_SECRET)


async def test_what_passes_is_tried_again() -> None:
    asked: list[Asked] = []

    async def busy_at_first(request: Asked) -> bytes:
        asked.append(request)
        if len(asked) == 1:
            return http(503, {"error": {"code": 503, "message": "Busy.", "status": "UNAVAILABLE"}})
        return http(200, {"name": "v", "payload": {"data": "c2VzYW1lCg=="}})

    async with serving(busy_at_first) as url:
        assert await secrets_at(url, NOTHING).read("KEY", SECRET) == "sesame"
    assert len(asked) == 2


@pytest.mark.parametrize("name", ["", "a b", "a/b/c", "projects/p/secrets", "projects/p/secrets/s/versions/"])
def test_what_names_no_secret_is_refused_before_anybody_is_asked(name: str) -> None:
    with pytest.raises(BadUsage, match="does not name a secret"):
        version_name(PROJECT, name)


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("key", f"projects/{PROJECT}/secrets/key/versions/latest"),
        ("key/3", f"projects/{PROJECT}/secrets/key/versions/3"),
        ("key/versions/3", f"projects/{PROJECT}/secrets/key/versions/3"),
        ("projects/other/secrets/key", "projects/other/secrets/key/versions/latest"),
        ("projects/other/secrets/key/3", "projects/other/secrets/key/versions/3"),
        ("projects/other/secrets/key/versions/3", "projects/other/secrets/key/versions/3"),
    ],
)
def test_a_secret_is_named_in_every_way_that_a_deploy_and_a_vm_take(name: str, version: str) -> None:
    assert version_name(PROJECT, name) == version
    assert secret_name(PROJECT, name) == version.partition("/versions/")[0]
