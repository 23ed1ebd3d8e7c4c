"""google-cloud-secret-manager over REST, Google's own library and the orchestrator's only way to secrets."""

import google.api_core.exceptions as google_errors
import google_crc32c
import pytest
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import secretmanager_v1 as secretmanager

from tests.contract.world import DENIED_SECRET, PAYLOAD, PROJECT, SECRET, Running

PARENT = f"projects/{PROJECT}"


@pytest.fixture
def secrets(emulator: Running) -> secretmanager.SecretManagerServiceClient:
    options = ClientOptions(api_endpoint=emulator.url)
    return secretmanager.SecretManagerServiceClient(
        transport="rest", credentials=AnonymousCredentials(), client_options=options
    )


Secrets = secretmanager.SecretManagerServiceClient


def test_the_latest_version_of_a_secret_comes_with_its_checksum(secrets: Secrets) -> None:
    answer = secrets.access_secret_version(name=f"{PARENT}/secrets/{SECRET}/versions/latest")
    assert answer.payload.data == PAYLOAD.encode()
    assert answer.payload.data_crc32c == google_crc32c.value(PAYLOAD.encode())
    assert answer.name.endswith(f"/secrets/{SECRET}/versions/2")


def test_an_older_version_can_still_be_read(secrets: Secrets) -> None:
    assert secrets.access_secret_version(name=f"{PARENT}/secrets/{SECRET}/versions/1").payload.data == b"old"


@pytest.mark.parametrize("name", ["nobody/versions/latest", f"{SECRET}/versions/9"])
def test_a_missing_secret_or_version_is_not_found(secrets: Secrets, name: str) -> None:
    with pytest.raises(google_errors.NotFound, match="not found"):
        secrets.access_secret_version(name=f"{PARENT}/secrets/{name}")


def test_a_secret_of_somebody_else_is_denied(secrets: Secrets) -> None:
    with pytest.raises(google_errors.Forbidden, match=r"secretmanager\.versions\.access"):
        secrets.access_secret_version(name=f"{PARENT}/secrets/{DENIED_SECRET}/versions/latest")


def test_a_payload_is_never_in_the_history(secrets: Secrets, emulator: Running) -> None:
    secrets.access_secret_version(name=f"{PARENT}/secrets/{SECRET}/versions/latest")
    assert PAYLOAD not in str(emulator.ask("history"))


def test_a_secret_is_made_listed_and_given_a_new_version(secrets: Secrets) -> None:
    replication = secretmanager.Replication(automatic=secretmanager.Replication.Automatic())
    made = secrets.create_secret(parent=PARENT, secret_id="new", secret=secretmanager.Secret(replication=replication))
    version = secrets.add_secret_version(parent=made.name, payload=secretmanager.SecretPayload(data=b"\x00\xff"))
    assert version.state == secretmanager.SecretVersion.State.ENABLED
    assert secrets.access_secret_version(name=version.name).payload.data == b"\x00\xff"
    assert made.name in [secret.name for secret in secrets.list_secrets(parent=PARENT)]
    assert [each.name for each in secrets.list_secret_versions(parent=made.name)] == [version.name]
    with pytest.raises(google_errors.Conflict):
        secrets.create_secret(parent=PARENT, secret_id="new", secret=secretmanager.Secret(replication=replication))
