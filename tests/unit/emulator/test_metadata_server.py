"""What a VM reads and writes at its own metadata server."""

import json
from datetime import timedelta
from typing import Any

import jwt
import pytest

from gcp_emulator.identity import Signer
from gcp_emulator.seed import InstanceSeed, ProjectSeed, Seed
from gcp_emulator.wire import Held
from tests.unit.emulator.inside import ADDRESS, FLAVOR, NOON, SOME_TIME, VM, Inside


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer.new()


def text(inside: Inside, path: str) -> str:
    reply = inside.inquire(path)
    assert reply.status == 200, reply
    assert reply.headers["metadata-flavor"] == "Google"
    return str(reply.body.decode())


@pytest.mark.parametrize("headers", [{}, {"metadata-flavor": "Amazon"}, {**FLAVOR, "x-forwarded-for": "10.0.0.1"}])
def test_without_its_header_or_through_a_proxy_nothing_is_said(headers: dict[str, str]):
    reply = Inside().inquire("instance/id", headers=headers)
    assert reply.status == 403
    assert reply.headers["metadata-flavor"] == "Google"


def test_the_root_answers_a_ping_without_the_header():
    assert Inside().inquire("/", headers={}).status == 200


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("instance/name", "gpu-vm"),
        ("instance/zone", "projects/123456789012/zones/us-central1-a"),
        ("instance/hostname", "gpu-vm.us-central1-a.c.demo.internal"),
        ("instance/machine-type", "projects/123456789012/machineTypes/e2-standard-2"),
        ("instance/attributes/startup-script", "true"),
        ("instance/network-interfaces/0/ip", "127.33.27.2"),
        ("instance/scheduling/preemptible", "FALSE"),
        ("instance/maintenance-event", "NONE"),
        ("instance/preempted", "FALSE"),
        ("instance/service-accounts/default/email", "123456789012-compute@developer.gserviceaccount.com"),
        ("instance/service-accounts/default/scopes", "https://www.googleapis.com/auth/cloud-platform\n"),
        ("project/project-id", "demo"),
        ("project/numeric-project-id", "123456789012"),
        ("universe/universe-domain", "googleapis.com"),
        ("instance/attributes/", "startup-script\nenable-guest-attributes\n"),
        ("instance/network-interfaces/", "0/\n"),
    ],
)
def test_a_value_is_text_and_a_directory_lists_its_names(path: str, value: str):
    assert text(Inside(), path) == value


def test_the_id_is_the_one_that_the_api_shows():
    inside = Inside()
    assert text(inside, "instance/id") == inside.vm()["id"]


def test_the_external_ip_is_there_while_it_is_attached():
    inside = Inside()
    path = "instance/network-interfaces/0/access-configs/0/external-ip"
    assert inside.inquire(path).status == 404
    ip = inside.get(ADDRESS)["address"]
    inside.post(f"{VM}/addAccessConfig?networkInterface=nic0", {"natIP": ip})
    assert text(inside, path) == ip


def test_a_directory_without_its_slash_is_a_redirect():
    reply = Inside().inquire("instance/attributes")
    assert (reply.status, reply.headers["location"]) == (301, "/computeMetadata/v1/instance/attributes/")


def test_recursive_json_is_in_camel_case_but_for_the_users_own_names():
    document = json.loads(text(Inside(), "instance/?recursive=true"))
    assert document["networkInterfaces"][0]["ip"] == "127.33.27.2"
    assert document["serviceAccounts"]["default"]["aliases"] == ["default"]
    assert document["attributes"]["enable-guest-attributes"] == "TRUE"


def test_alt_chooses_between_json_and_text():
    inside = Inside()
    assert text(inside, "instance/name?alt=json") == '"gpu-vm"'
    assert text(inside, "instance/scheduling/?recursive=true&alt=text").splitlines()[2] == "preemptible FALSE"


def test_the_projects_attributes_are_there():
    seed = Seed(projects=(ProjectSeed("demo", metadata={"team": "x"}),), instances=(InstanceSeed("gpu-vm"),))
    assert text(Inside(seed), "project/attributes/team") == "x"


def test_what_is_not_there_is_404_and_other_methods_are_405():
    inside = Inside()
    assert inside.inquire("instance/attributes/none").status == 404
    assert inside.inquire("instance/network-interfaces/7/").status == 404
    assert inside.inquire("instance/id", method="POST").status == 405


# --- hanging GETs ------------------------------------------------------------------------------------------------


def set_lease(inside: Inside, value: str) -> None:
    have = inside.vm()["metadata"]
    items = [item for item in have["items"] if item["key"] != "lease"] + [{"key": "lease", "value": value}]
    inside.post(f"{VM}/setMetadata", {"items": items, "fingerprint": have["fingerprint"]})


def test_wait_for_change_is_held_until_the_value_changes():
    inside = Inside()
    set_lease(inside, "one")
    assert isinstance(inside.inquire("instance/attributes/lease?wait_for_change=true"), Held)
    waiting = inside.sent
    assert isinstance(inside.cloud.metadata(VM, waiting, inside.now, first_asked=NOON), Held)
    before = inside.cloud.changes
    set_lease(inside, "two")
    assert inside.cloud.changes > before
    reply: Any = inside.cloud.metadata(VM, waiting, inside.now, first_asked=NOON)
    assert reply.body == b"two"


def test_wait_for_change_with_an_old_etag_answers_at_once():
    inside = Inside()
    set_lease(inside, "one")
    etag = inside.inquire("instance/attributes/lease").headers["etag"]
    path = f"instance/attributes/lease?wait_for_change=true&last_etag={etag}"
    assert isinstance(inside.inquire(path), Held)
    set_lease(inside, "two")
    assert inside.inquire(path).body == b"two"


def test_wait_for_change_ends_at_its_time_out_with_what_there_is():
    inside = Inside()
    held = inside.inquire("instance/name?wait_for_change=true&timeout_sec=30")
    assert held == Held(NOON + timedelta(seconds=30))
    inside.passes(30)
    assert inside.cloud.metadata(VM, inside.sent, inside.now, first_asked=NOON).body == b"gpu-vm"  # type: ignore[union-attr]


# --- guest attributes --------------------------------------------------------------------------------------------


def test_what_the_guest_puts_the_api_shows():
    inside = Inside()
    assert inside.inquire("instance/guest-attributes/mayfly/boot", "PUT", b"ready").status == 200
    assert text(inside, "instance/guest-attributes/mayfly/boot") == "ready"
    shown = inside.get(f"{VM}/getGuestAttributes?queryPath=mayfly/")
    assert shown["queryValue"]["items"] == [{"namespace": "mayfly", "key": "boot", "value": "ready"}]
    assert inside.get(f"{VM}/getGuestAttributes?variableKey=mayfly/boot")["variableValue"] == "ready"
    assert inside.inquire("instance/guest-attributes/mayfly/boot", "DELETE").status == 200
    status, _, message = inside.refused("GET", f"{VM}/getGuestAttributes?queryPath=mayfly/boot")
    assert (status, message) == (404, "The resource 'mayfly/boot' of type 'Guest Attribute' was not found.")


def test_guest_attributes_are_refused_unless_the_metadata_enables_them():
    inside = Inside(Seed(instances=(InstanceSeed("gpu-vm"),)))
    for method in ("GET", "PUT"):
        assert inside.inquire("instance/guest-attributes/mayfly/boot", method, b"x").status == 403
    assert inside.refused("GET", f"{VM}/getGuestAttributes?queryPath=mayfly/boot")[0] == 404


def test_a_guest_attribute_needs_a_namespace_and_a_key():
    assert Inside().inquire("instance/guest-attributes/mayfly", "PUT", b"x").status == 400


# --- tokens ------------------------------------------------------------------------------------------------------


def test_an_identity_token_says_which_vm_it_is_and_checks_against_the_published_keys(signer: Signer):
    inside = Inside(signer=signer, latency=SOME_TIME)
    token = text(inside, "instance/service-accounts/default/identity?audience=nonce-1&format=full")
    key = jwt.PyJWKSet.from_dict(inside.get("/oauth2/v3/certs")).keys[0].key
    claims = jwt.decode(token, key, ["RS256"], audience="nonce-1", options={"verify_exp": False, "verify_iat": False})
    engine = claims["google"]["compute_engine"]
    assert engine["instance_id"] == inside.vm()["id"]
    assert (engine["project_id"], engine["project_number"], engine["zone"]) == ("demo", 123456789012, "us-central1-a")
    assert (claims["iss"], claims["exp"] - claims["iat"]) == ("https://accounts.google.com", 3600)
    assert claims["email_verified"] is True
    [(key_id, certificate)] = inside.get("/oauth2/v1/certs").items()
    assert jwt.get_unverified_header(token)["kid"] == key_id
    assert certificate.startswith("-----BEGIN CERTIFICATE-----")


def test_an_identity_token_needs_an_audience_and_the_standard_one_names_no_vm(signer: Signer):
    inside = Inside(signer=signer)
    assert inside.inquire("instance/service-accounts/default/identity").status == 400
    token = text(inside, "instance/service-accounts/default/identity?audience=a")
    assert "google" not in jwt.decode(token, options={"verify_signature": False})


def test_an_access_token_is_a_bearer_token():
    token = json.loads(text(Inside(), "instance/service-accounts/default/token"))
    assert (token["token_type"], token["expires_in"]) == ("Bearer", 3599)
