"""What the emulator says before and beside its model: the front end of Google, batches, its own page and identity."""

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import jwt
import pytest

from gcp_emulator.discovery import Method, defect, method_of
from gcp_emulator.exports import exports
from gcp_emulator.wire import Reply, Request
from tests.contract.world import PROJECT, VM, ZONE, Running

INSTANCES = f"/compute/v1/projects/{PROJECT}/zones/{ZONE}/instances"


def _method(verb: str, path: str) -> Method:
    method = method_of(verb, path)
    assert method is not None
    return method


_ASKED = Request("GET", f"{INSTANCES}/{VM}")
_INSTANCES_GET = _method("GET", f"{INSTANCES}/{VM}")


@pytest.fixture
def http(emulator: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=emulator.url) as client:
        yield client


def _error(reply: httpx.Response) -> tuple[int, str]:
    return reply.status_code, reply.json()["error"]["message"]


def test_an_unknown_query_parameter_is_refused(http: httpx.Client) -> None:
    message = "Cannot bind query parameter. Field 'colour' could not be found in request message."
    assert _error(http.get(f"{INSTANCES}?colour=red")) == (
        400,
        f'Invalid JSON payload received. Unknown name "colour": {message}',
    )


def test_an_unknown_field_is_refused_where_it_stands(http: httpx.Client) -> None:
    reply = http.post(f"{INSTANCES}/{VM}/setLabels", json={"label": {}})
    assert _error(reply) == (400, 'Invalid JSON payload received. Unknown name "label": Cannot find field.')
    assert reply.json()["error"]["details"][0]["@type"] == "type.googleapis.com/google.rpc.BadRequest"


def test_a_value_of_the_wrong_type_is_refused(http: httpx.Client) -> None:
    reply = http.post(f"{INSTANCES}/{VM}/setMetadata", json={"items": [{"key": 5}]})
    assert _error(reply) == (400, "Invalid value at 'items[0].key' (TYPE_STRING), 5")


def test_a_missing_query_parameter_is_refused(http: httpx.Client) -> None:
    reply = http.post(f"{INSTANCES}/{VM}/addAccessConfig", json={})
    assert _error(reply) == (400, "Required field 'networkInterface' not specified")


def test_a_name_that_cannot_be_one_is_refused(http: httpx.Client) -> None:
    status, message = _error(http.get(f"{INSTANCES}/Not_A_Name"))
    assert (status, message.startswith("Invalid value for field 'instance': 'Not_A_Name'. Must be a match of")) == (
        400,
        True,
    )


def test_a_body_that_is_not_json_is_refused(http: httpx.Client) -> None:
    status, message = _error(http.post(f"{INSTANCES}/{VM}/setLabels", content=b"{"))
    assert (status, message.startswith("Invalid JSON payload received.")) == (400, True)


def test_a_path_that_google_does_not_have_is_a_page_and_not_json(http: httpx.Client) -> None:
    reply = http.post(f"{INSTANCES}/{VM}/levitate")
    assert (reply.status_code, reply.headers["content-type"]) == (404, "text/html; charset=UTF-8")
    assert "was not found on this server" in reply.text


def test_refused_requests_are_in_the_history_too(http: httpx.Client, emulator: Running) -> None:
    http.post(f"{INSTANCES}/{VM}/setLabels", json={"label": {}})
    assert [(entry["verb"], entry["status"]) for entry in emulator.history("request")] == [("instances.setLabels", 400)]


def test_a_compressed_body_is_read(http: httpx.Client) -> None:
    fingerprint = http.get(f"{INSTANCES}/{VM}").json()["labelFingerprint"]
    body = gzip.compress(json.dumps({"labels": {"a": "b"}, "labelFingerprint": fingerprint}).encode())
    reply = http.post(f"{INSTANCES}/{VM}/setLabels", content=body, headers={"content-encoding": "gzip"})
    assert reply.status_code == 200
    broken = http.post(f"{INSTANCES}/{VM}/setLabels", content=b"no", headers={"content-encoding": "gzip"})
    assert broken.status_code == 400


def test_the_parameters_that_all_methods_have_are_taken(http: httpx.Client) -> None:
    reply = http.get(f"{INSTANCES}/{VM}?alt=json&prettyPrint=false&quotaUser=x&$alt=json;enum-encoding=int")
    assert reply.status_code == 200


def test_a_part_of_a_batch_may_fail_by_itself(http: httpx.Client) -> None:
    parts = "".join(
        f"--edge\r\nContent-Type: application/http\r\nContent-ID: <{name}>\r\n\r\n"
        f"GET {INSTANCES}/{name}?alt=json HTTP/1.1\r\naccept: application/json\r\n\r\n\r\n"
        for name in (VM, "nobody")
    )
    headers = {"content-type": 'multipart/mixed; boundary="edge"'}
    reply = http.post("/batch/compute/v1", content=f"{parts}--edge--\r\n", headers=headers)
    found, missing = reply.text.split("HTTP/1.1 ")[1:]
    assert (found[:3], missing[:3]) == ("200", "404")
    assert f"content-id: <response-{VM}>" in reply.text
    assert http.post("/batch/compute/v1", content=b"", headers=headers).status_code == 400


def test_the_live_page_needs_nothing_from_elsewhere(http: httpx.Client) -> None:
    page = http.get("/")
    assert page.headers["content-type"] == "text/html; charset=UTF-8"
    assert "http://" not in page.text
    assert "https://" not in page.text


def test_callers_have_an_identity_as_on_cloud_run(emulator: Running) -> None:
    """Google's own library reads its environment when it is imported, so it gets a process of its own."""
    program = (
        "import google.auth, google.auth.transport.requests as transport, google.oauth2.id_token as id_token\n"
        "credentials, project = google.auth.default()\n"
        "request = transport.Request()\n"
        "credentials.refresh(request)\n"
        "print(project, credentials.service_account_email, bool(credentials.token))\n"
        "print(id_token.fetch_id_token(request, 'somebody'))\n"
    )
    environment = {"PATH": os.environ["PATH"], **exports(emulator.port)}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    who, token = done.stdout.splitlines()
    assert who == f"{PROJECT} mayfly-orchestrator@{PROJECT}.iam.gserviceaccount.com True"
    keys = {key.key_id: key.key for key in jwt.PyJWKSet.from_dict(_keys(emulator)).keys}
    key = keys[jwt.get_unverified_header(token)["kid"]]
    claims = jwt.decode(token, key, algorithms=["RS256"], audience="somebody", issuer="https://accounts.google.com")
    assert claims["email_verified"] is True


def _keys(emulator: Running) -> Any:
    return httpx.get(f"{emulator.url}/oauth2/v3/certs").raise_for_status().json()


def test_a_metadata_request_without_its_header_is_refused(http: httpx.Client) -> None:
    assert http.get("/computeMetadata/v1/project/project-id").status_code == 403


@pytest.mark.parametrize(
    ("spoiled", "what"),
    [
        ({"colour": "red"}, "must not contain {'colour'}"),
        ({"id": 5}, "data.id must be string"),
        ({"status": "ASLEEP"}, "data.status must be one of"),
        ({"name": None}, "data.name must be string"),
    ],
)
def test_a_reply_that_google_could_not_send_is_found_out(
    http: httpx.Client, spoiled: dict[str, Any], what: str
) -> None:
    vm = http.get(f"{INSTANCES}/{VM}").json()
    assert what in (defect(Reply(200, json.dumps(vm | spoiled).encode(), {}), _ASKED, _INSTANCES_GET) or "")


def test_a_reply_must_have_the_fields_that_are_always_there() -> None:
    assert "must contain ['cpuPlatform'," in (defect(Reply(200, b"{}", {}), _ASKED, _INSTANCES_GET) or "")


def test_an_error_body_needs_a_reason() -> None:
    assert defect(Reply(404, b'{"error": {"code": 404, "message": "no"}}', {}), _ASKED, _INSTANCES_GET)


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "http://evil.example:8475", "null", "http://127.0.0.1.evil.example"]
)
def test_a_page_of_somebody_elses_can_make_a_browser_ask_nothing(http: httpx.Client, origin: str) -> None:
    container = {"image": "x", "command": ["true"]}
    body = json.dumps({"template": {"template": {"containers": [container]}}})
    jobs = f"/v2/projects/{PROJECT}/locations/us-central1/jobs"
    sent = {"Origin": origin, "Content-Type": "text/plain"}  # what a page may send without asking first
    assert http.post(f"{jobs}?jobId=evil", content=body, headers=sent).status_code == 403
    assert http.post("/_emulator/reset", headers=sent).status_code == 403
    assert http.get(jobs).json() == {}
    own = {"Origin": str(http.base_url).rstrip("/")}
    assert http.post(f"{jobs}?jobId=ours", content=body, headers=own).status_code == 200
