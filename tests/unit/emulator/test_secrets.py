"""Secret Manager: versions, checksums, and what is denied."""

import base64
from typing import Any

import google_crc32c
import pytest

from tests.unit.emulator.inside import Inside

SECRETS = "/v1/projects/demo/secrets"
KEY = f"{SECRETS}/mayfly-agent-key"
OWN_NAME = "projects/123456789012/secrets/mayfly-agent-key"


def payload(text: str) -> dict[str, Any]:
    return {"payload": {"data": base64.b64encode(text.encode()).decode()}}


@pytest.mark.parametrize(("version", "number", "value"), [("latest", 2, b"second"), ("1", 1, b"first")])
def test_a_version_is_handed_over_with_its_checksum(version: str, number: int, value: bytes):
    shown = Inside().get(f"{KEY}/versions/{version}:access")
    assert shown["name"] == f"{OWN_NAME}/versions/{number}"
    assert base64.b64decode(shown["payload"]["data"]) == value
    assert shown["payload"]["dataCrc32c"] == str(google_crc32c.value(value))


@pytest.mark.parametrize(
    ("path", "code", "status", "message"),
    [
        (
            f"{SECRETS}/none/versions/1:access",
            404,
            "NOT_FOUND",
            "Secret [projects/123456789012/secrets/none] not found",
        ),
        (f"{KEY}/versions/9:access", 404, "NOT_FOUND", f"Secret Version [{OWN_NAME}/versions/9] not found."),
        (
            f"{SECRETS}/others/versions/latest:access",
            403,
            "PERMISSION_DENIED",
            "Permission 'secretmanager.versions.access' denied for resource 'projects/demo/secrets/others/",
        ),
        ("/v1/projects/none/secrets/x", 403, "PERMISSION_DENIED", "Permission denied on resource project none."),
    ],
)
def test_what_cannot_be_read_is_refused_in_googles_words(path: str, code: int, status: str, message: str):
    refused = Inside().refused("GET", path)
    assert refused[:2] == (code, status)
    assert refused[2].startswith(message)


@pytest.mark.parametrize(("change", "state"), [("disable", "DISABLED"), ("destroy", "DESTROYED")])
def test_a_version_that_is_off_or_destroyed_is_a_failed_precondition(change: str, state: str):
    inside = Inside()
    assert inside.post(f"{KEY}/versions/2:{change}", {})["state"] == state
    code, status, message = inside.refused("GET", f"{KEY}/versions/latest:access")
    assert (code, status) == (400, "FAILED_PRECONDITION")
    assert message == f"Secret Version [{OWN_NAME}/versions/2] is in {state} state."


def test_a_disabled_version_can_be_enabled_again_and_a_destroyed_one_cannot():
    inside = Inside()
    inside.post(f"{KEY}/versions/2:disable", {})
    inside.post(f"{KEY}/versions/2:enable", {})
    assert "payload" in inside.get(f"{KEY}/versions/2:access")
    inside.post(f"{KEY}/versions/2:destroy", {})
    assert inside.refused("POST", f"{KEY}/versions/2:enable", {})[1] == "FAILED_PRECONDITION"


def test_a_secret_is_made_filled_and_listed():
    inside = Inside()
    inside.post(f"{SECRETS}?secretId=new", {"replication": {"automatic": {}}})
    assert inside.refused("GET", f"{SECRETS}/new/versions/latest:access")[0] == 404
    inside.post(f"{SECRETS}/new:addVersion", payload("value"))
    assert inside.get(f"{SECRETS}/new/versions/1")["state"] == "ENABLED"
    assert [one["name"][-1] for one in inside.get(f"{KEY}/versions")["versions"]] == ["2", "1"]
    assert inside.get(SECRETS)["totalSize"] == 3
    assert inside.refused("POST", f"{SECRETS}?secretId=new", {})[:2] == (409, "ALREADY_EXISTS")


@pytest.mark.parametrize(
    "body", [{"payload": {"data": "no base64!"}}, {"payload": {}}, {"payload": {"data": "eA==", "dataCrc32c": "1"}}]
)
def test_a_payload_that_is_broken_is_refused(body: Any):
    assert Inside().refused("POST", f"{KEY}:addVersion", body)[:2] == (400, "INVALID_ARGUMENT")


def test_payloads_never_reach_the_history():
    inside = Inside()
    inside.post(f"{KEY}:addVersion", payload("a very secret value"))
    inside.get(f"{KEY}/versions/latest:access")
    told = str(inside.get("/_emulator/history")) + str(inside.get("/_emulator/state"))
    assert "secrets.addVersion" in told
    assert "a very secret value" not in told
    assert base64.b64encode(b"a very secret value").decode() not in told
